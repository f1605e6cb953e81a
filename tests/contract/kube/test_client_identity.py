"""Who we are to the server: read anew when it is refused, by however many at once."""

from __future__ import annotations

import datetime as dt
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.config import incluster_config

from contract.cluster.control_plane.certificates import Authority
from contract.kube.conftest import Client, MakeClient
from contract.kube.hostile_server import (
    HostileServer,
    Talk,
    connections_to,
    kubeconfig,
    refuses,
    running,
    says,
)
from contract.kube.identities import PATH, knowing, nowhere, with_file, with_text
from contract.kube.tls import HERE, context
from ibdra_adapters.kube import client, connection
from ibdra_domain.errors import KubeFailed, KubeUnavailable


@pytest.mark.parametrize("write", [with_file, with_text])
def test_a_token_that_was_rotated_is_read_anew(
    server: HostileServer,
    make_client: MakeClient,
    token: Path,
    write: Callable[[Path, HostileServer], Path],
) -> None:
    """One refusal, and from then on the new one, without a pause."""
    there = make_client(write(token, server))
    server.does(knowing("first", "second"))
    there.kube.call("GET", PATH)
    token.write_text("second\n", encoding="utf-8")
    write(token, server)
    server.does(knowing("second"))
    there.kube.call("GET", PATH)
    there.kube.call("GET", PATH)
    assert ["Bearer first", "Bearer second", "Bearer second"] == [
        seen.token for seen in server.requests
    ]
    assert ["200", "401", "200", "200"] == [status for _, status in there.seen]
    assert [] == there.pauses


def test_a_token_that_stays_refused_is_said(
    server: HostileServer, make_client: MakeClient, token: Path
) -> None:
    """The second refusal stands, and says what to look for."""
    there = make_client(with_file(token, server))
    server.does(refuses(401, "Unauthorized"))
    with pytest.raises(KubeFailed, match="401, Unauthorized: its token or certificate has run out"):
        there.kube.call("GET", PATH)
    assert 2 == len(server.requests)


@pytest.mark.parametrize("status", [401, 403])
def test_without_any_identity_it_says_so(
    server: HostileServer, make_client: MakeClient, tmp_path: Path, status: int
) -> None:
    """It is not the server's rules that need a look."""
    there = make_client(kubeconfig(tmp_path / "config", server.url))
    server.does(refuses(status, "no"))
    with pytest.raises(KubeFailed, match="neither a token nor a certificate to show: check the ku"):
        there.kube.call("GET", PATH)


def test_threads_share_one_new_identity(
    server: HostileServer, make_client: MakeClient, token: Path
) -> None:
    """Sixteen at once, and the token is rotated under them: every call succeeds."""
    there = make_client(with_file(token, server))
    known = ["Bearer first"]
    lock = threading.Lock()

    def act(talk: Talk) -> None:
        with lock:
            is_known = talk.request.token == known[-1]
        (says(200) if is_known else refuses(401, "Unauthorized"))(talk)

    def call(number: int) -> bytes:
        if number % 100 == 50:
            fresh = token.with_name("fresh")
            fresh.write_text(f"token-{number}\n", encoding="utf-8")
            with lock:
                fresh.replace(token)
                known.append(f"Bearer token-{number}")
        return there.kube.call("GET", PATH)

    server.does(act)
    with ThreadPoolExecutor(16) as pool:
        for begin in range(0, 400, 100):
            assert [b"{}"] * 100 == list(pool.map(call, range(begin, begin + 100)))
    assert 5 == len(known)
    assert len(server.requests) == len(there.seen)
    assert 400 == [status for _, status in there.seen].count("200")


def test_the_server_may_move(
    server: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Who finds nobody at an address looks it up again."""
    with running(HostileServer()) as gone:
        there = make_client(kubeconfig(tmp_path / "config", gone.url))
        there.kube.call("GET", PATH)
    kubeconfig(tmp_path / "config", server.url)
    there.kube.call("GET", PATH)
    assert ["200", "unreachable", "200"] == [status for _, status in there.seen]


def test_a_kubeconfig_that_broke_does_not_hide_what_failed(
    server: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """The server is away, and that is what is said."""
    there = make_client(kubeconfig(tmp_path / "config", server.url))
    (tmp_path / "config").write_text("{", encoding="utf-8")
    server.stop()
    with pytest.raises(KubeUnavailable, match="refused"):
        there.kube.call("GET", PATH)


class Pod:
    """The files and the environment that a pod has of its service account."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.token = folder / "token"
        self.ca = folder / "ca.crt"
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(self.token))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(self.ca))

    def has(self, *, token: str, authority: Authority, port: int) -> None:
        self.token.write_text(token, encoding="utf-8")
        self.ca.write_bytes(authority.ca.certificate.read_bytes())
        self._monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        self._monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    """Give a pod without a service account."""
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    return Pod(tmp_path, monkeypatch)


def test_outside_of_a_pod_it_says_what_to_give(pod: Pod, make_client: MakeClient) -> None:
    """Without a kubeconfig there must be a service account."""
    assert not pod.token.exists()
    with pytest.raises(KubeFailed, match=r"the pod's service account .*give --kubeconfig FILE"):
        make_client(None)


def test_a_pods_token_that_was_rotated_is_read_anew(
    pod: Pod, make_client: MakeClient, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet writes another one into the same file; no other file is written."""
    monkeypatch.setattr(connection, "_folder", nowhere)
    serving = authority.serving("pods-server", hosts=HERE)
    with running(HostileServer(tls=context(serving))) as server:
        pod.has(token="first", authority=authority, port=server.port)
        there = make_client(None)
        server.does(knowing("first"))
        there.kube.call("GET", PATH)
        pod.token.write_text("second\n", encoding="utf-8")
        server.does(knowing("second"))
        there.kube.call("GET", PATH)
        assert ["first", "second"] == [seen.token.split()[1] for seen in server.requests]


@pytest.fixture
def reads_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the minute pass at once after which the official client reads a pod's token again."""
    at_once = SimpleNamespace(datetime=dt.datetime, timedelta=lambda **_: dt.timedelta(0))
    monkeypatch.setattr(incluster_config, "datetime", at_once)


@pytest.mark.usefixtures("reads_always")
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"], ids=["missing", "empty", "binary"])
def test_a_pods_token_that_is_away_is_unavailable(
    pod: Pod, make_client: MakeClient, authority: Authority, content: bytes | None
) -> None:
    """Until it is there again; nothing is sent without it."""
    serving = authority.serving("away-server", hosts=HERE)
    with running(HostileServer(tls=context(serving))) as server:
        pod.has(token="first", authority=authority, port=server.port)
        there = make_client(None)
        if content is None:
            pod.token.unlink()
        else:
            pod.token.write_bytes(content)
        with pytest.raises(KubeUnavailable, match="token for the API server cannot be read"):
            there.kube.call("GET", PATH)
        assert [] == server.requests
        pod.token.write_text("second", encoding="utf-8")
        server.does(knowing("second"))
        there.kube.call("GET", PATH)
        assert "200" == there.seen[-1][1]


def test_reading_the_identity_anew_leaves_no_connection(
    server: HostileServer, make_client: MakeClient, token: Path
) -> None:
    """The connections of the old one go with it."""
    there = make_client(with_file(token, server))
    gc.disable()
    try:
        for _ in range(50):
            server.does(refuses(401, "Unauthorized"), says(200))
            there.kube.call("GET", PATH)
        assert connections_to(server.port) <= 1
    finally:
        gc.enable()


def test_two_at_once_read_the_identity_once(
    server: HostileServer, make_client: MakeClient, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused together, the second finds what the first has read."""
    read: list[object] = []
    real = connection.Connection

    def counted(**given: Any) -> connection.Connection:
        read.append(given)
        return real(**given)

    monkeypatch.setattr(client, "Connection", counted)
    there = make_client(with_file(token, server))
    together = threading.Barrier(2)

    def act(talk: Talk) -> None:
        if talk.request.token == "Bearer second":
            says(200)(talk)
            return
        together.wait(5)
        refuses(401, "Unauthorized")(talk)

    server.does(act)
    token.write_text("second", encoding="utf-8")
    with ThreadPoolExecutor(2) as pool:
        assert [b"{}"] * 2 == list(pool.map(lambda _: there.kube.call("GET", PATH), range(2)))
    assert 2 == len(read)


def test_closing_twice_and_calling_again(server: HostileServer, there: Client) -> None:
    """Close ends what is idle; nothing else changes."""
    for _ in range(2):
        there.kube.call("GET", PATH)
        there.kube.close()
        there.kube.close()
    assert 2 == server.connections
