"""Kubeconfigs of every kind: read as others read them, and named when they cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from contract.cluster.control_plane.certificates import Authority
from contract.kube.conftest import MakeClient
from contract.kube.hostile_server import (
    HostileServer,
    Json,
    kubeconfig,
    refuses,
    running,
    says,
)
from contract.kube.identities import PATH, SECRET, knowing, nowhere
from contract.kube.tls import HERE, context, inline, showing, trusting
from ibdra_adapters.kube import connection
from ibdra_adapters.kube.client import KubeClient
from ibdra_domain.errors import KubeFailed

CONTEXTS: Json = {"contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}]}
NO_KUBECONFIG: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "no YAML": b"a: b: c\n- [",
    "binary": bytes(range(256)),
    "a list": b"[]",
    "a text": b"kubeconfig",
    "a number": b"7",
    "no contexts": b"current-context: there\nclusters: []\n",
    "no current context": json.dumps(CONTEXTS).encode(),
    "contexts of a number": b"{contexts: 7}",
    "contexts of numbers": b"{contexts: [7]}",
    "no such cluster": json.dumps({**CONTEXTS, "current-context": "there"}).encode(),
    "deep": b"[" * 2000,
}


@pytest.mark.parametrize("content", NO_KUBECONFIG.values(), ids=NO_KUBECONFIG)
def test_what_is_no_kubeconfig_is_named(
    make_client: MakeClient, tmp_path: Path, content: bytes | None
) -> None:
    """At once, with the file's path and what to give."""
    path = tmp_path / "config"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KubeFailed, match=f"no way to the API server in {path} .*--kubeconfig") as e:
        make_client(path)
    assert str(e.value).isprintable()


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"token": 7}, {"server": 7}),
        ({"client-certificate": "none", "client-key": "none"}, {"server": "https://127.0.0.1"}),
        ({"client-certificate-data": "abc"}, {"server": "https://127.0.0.1"}),
        ({"tokenFile": "none"}, {}),
        ({"exec": {"command": "x"}, "client-key": []}, {"server": "https://x"}),
    ],
)
def test_a_kubeconfig_of_nonsense_is_named(
    make_client: MakeClient, tmp_path: Path, user: Json, cluster: Json
) -> None:
    """Whatever the official client makes of it."""
    with pytest.raises(KubeFailed, match=str(tmp_path)):
        make_client(kubeconfig(tmp_path / "config", "http://127.0.0.1", user=user, cluster=cluster))


def test_a_context_that_is_not_there_is_named(server: HostileServer, tmp_path: Path) -> None:
    """It is looked for in the file's list."""
    config = kubeconfig(tmp_path / "config", server.url)
    with pytest.raises(KubeFailed, match=r"with name elsewhere in .*contexts"):
        KubeClient(kubeconfig=config, context="elsewhere", observe=lambda *_: None)
    KubeClient(kubeconfig=config, context="there", observe=lambda *_: None).call("GET", PATH)


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://x", "http://[::1", "http://a b/", "nonsense"]
)
def test_an_address_of_nonsense_is_our_error(
    make_client: MakeClient, tmp_path: Path, url: str
) -> None:
    """When it is read, or when it is used."""
    with pytest.raises(KubeFailed):
        make_client(kubeconfig(tmp_path / "config", url)).kube.call("GET", PATH)


def test_relative_paths_begin_at_the_kubeconfig(
    server: HostileServer, make_client: MakeClient, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the driver was started."""
    config = kubeconfig(token.with_name("config"), server.url, user={"tokenFile": "token"})
    monkeypatch.chdir("/")
    server.does(knowing("first"))
    make_client(config).kube.call("GET", PATH)


def test_a_password_is_an_identity(
    server: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Name and password go as HTTP says."""
    user = {"username": "me", "password": SECRET}
    make_client(kubeconfig(tmp_path / "config", server.url, user=user)).kube.call("GET", PATH)
    assert server.requests[0].token.startswith("Basic ")


def plugin(folder: Path, program: str) -> Json:
    """Give a user whose identity a program tells."""
    path = folder / "plugin"
    path.write_text(f"#!{sys.executable}\nimport json, sys\n{program}\n", encoding="utf-8")
    path.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(path), "interactiveMode": "Never"}}


def tells(status: Json) -> str:
    said = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": status,
    }
    return f"print({json.dumps(said)!r})"


def test_a_plugin_tells_a_token(
    server: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """And tells another one when the first was refused."""
    user = plugin(tmp_path, tells({"token": "first"}))
    there = make_client(kubeconfig(tmp_path / "config", server.url, user=user))
    plugin(tmp_path, tells({"token": "second"}))
    server.does(knowing("second"))
    there.kube.call("GET", PATH)
    assert ["Bearer first", "Bearer second"] == [seen.token for seen in server.requests]


@pytest.mark.parametrize(
    "program", ["sys.exit('no login')", "print('?')", tells({}), "print('{}')"], ids=range(4)
)
def test_a_plugin_that_fails_is_named(
    server: HostileServer, make_client: MakeClient, tmp_path: Path, program: str
) -> None:
    """The server refuses who shows nothing; the message leads to the plugin."""
    config = kubeconfig(tmp_path / "config", server.url, user=plugin(tmp_path, program))
    server.does(refuses(401, "Unauthorized"))
    with pytest.raises(KubeFailed, match="the plugin that it may name"):
        make_client(config).kube.call("GET", PATH)


def inline_user(authority: Authority, name: str) -> Json:
    return showing(authority.client(name), inlined=True)


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that temporary files go to."""
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(connection, "_folder", lambda: str(folder))
    return folder


def test_what_a_kubeconfig_holds_inline_leaves_no_files(
    make_client: MakeClient, authority: Authority, tmp_path: Path, temp: Path
) -> None:
    """Certificates are rotated for years: the files are those of the last, and only ours."""
    serving = authority.serving("inline-server", hosts=HERE)
    cluster = {"certificate-authority-data": inline(authority.ca.certificate)}
    with running(HostileServer(tls=context(serving, clients=authority))) as server:
        path = tmp_path / "config"
        there = make_client(
            kubeconfig(path, server.url, user=inline_user(authority, "u"), cluster=cluster)
        )
        for number in range(5):
            there.kube.call("GET", PATH)
            kubeconfig(path, server.url, user=inline_user(authority, f"u{number}"), cluster=cluster)
            server.does(refuses(401, "Unauthorized"), says(200))
            there.kube.call("GET", PATH)
            assert 3 == len(list(temp.iterdir()))
        for _ in range(20):
            server.does(refuses(401, "Unauthorized"), says(200))
            there.kube.call("GET", PATH)
        assert 3 == len(list(temp.iterdir()))
        assert {0o600} == {one.stat().st_mode & 0o777 for one in temp.iterdir()}
    assert authority.ca.certificate.exists()


def test_without_a_place_for_files_a_kubeconfig_is_our_error(
    server: HostileServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what is missing."""
    monkeypatch.setattr(connection, "_folder", nowhere)
    with pytest.raises(KubeFailed, match="No usable temporary directory"):
        make_client(kubeconfig(tmp_path / "config", server.url))


def test_two_clients_of_one_kubeconfig_do_not_take_each_others_files(
    make_client: MakeClient, authority: Authority, tmp_path: Path, temp: Path
) -> None:
    """One is rotated away from it; the other finds its own again."""
    serving = authority.serving("shared-server", hosts=HERE)
    shared = inline_user(authority, "shared")
    cluster = trusting(authority)
    with running(HostileServer(tls=context(serving, clients=authority))) as server:
        first, second = (
            make_client(kubeconfig(tmp_path / name, server.url, user=shared, cluster=cluster))
            for name in "ab"
        )
        kubeconfig(
            tmp_path / "a", server.url, user=inline_user(authority, "other"), cluster=cluster
        )
        server.does(refuses(401, "Unauthorized"), says(200))
        first.kube.call("GET", PATH)
        second.kube.call("GET", PATH)
        assert 4 == len(list(temp.iterdir()))


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_a_proxy_of_the_environment_is_heeded(
    server: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """As by every other client, and so is the list of what needs none."""
    config = kubeconfig(tmp_path / "config", server.url)
    with running(HostileServer()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        make_client(config).kube.call("GET", PATH)
        assert [f"{server.url}{PATH}"] == [seen.target for seen in proxy.requests]
        assert [] == server.requests
        monkeypatch.setenv(name, "127.0.0.1,10.0.0.0/8")
        make_client(config).kube.call("GET", PATH)
        assert 1 == len(proxy.requests) == len(server.requests)


def test_a_proxy_of_nonsense_is_our_error(
    server: HostileServer, make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is met where the kubeconfig is read."""
    monkeypatch.setenv("http_proxy", "gopher://nonsense")
    with pytest.raises(KubeFailed, match=r"no way to the API server.*gopher"):
        make_client(kubeconfig(tmp_path / "config", server.url))
