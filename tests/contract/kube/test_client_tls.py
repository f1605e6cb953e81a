"""TLS: whoever is not who he should be is not talked to, and the cause is in the message."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.cluster.control_plane.certificates import Authority, Certificate
from contract.kube.conftest import Client, MakeClient
from contract.kube.hostile_server import HostileServer, Json, kubeconfig, running, says, sends
from contract.kube.test_client_watch import closing_wakes
from contract.kube.tls import HERE, context, inline, out_of_date, showing, trusting
from ibdra_adapters.kube import client
from ibdra_domain.errors import KubeFailed, KubeUnavailable

PATH = "/apis/x"


@pytest.fixture(scope="session")
def serving(authority: Authority) -> Certificate:
    """Give a certificate for this machine."""
    return authority.serving("good", hosts=HERE)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Authority:
    """Give a CA that nobody trusts, of the same kind."""
    return type(authority)(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(params=[True, False], ids=["TLS 1.3", "TLS 1.2"])
def secured(request: pytest.FixtureRequest, serving: Certificate) -> Iterator[HostileServer]:
    """Give a server of each version."""
    with running(HostileServer(tls=context(serving, newest=request.param))) as started:
        yield started


def connected(
    make_client: MakeClient, tmp_path: Path, server: HostileServer, **parts: Json
) -> Client:
    return make_client(kubeconfig(tmp_path / "config", server.url, **parts))


@pytest.mark.parametrize("inlined", [False, True], ids=["files", "inline"])
def test_both_show_certificates(
    make_client: MakeClient,
    authority: Authority,
    serving: Certificate,
    tmp_path: Path,
    *,
    inlined: bool,
) -> None:
    """They are files or stand in the kubeconfig; one connection serves all calls."""
    user = showing(authority.client("user"), inlined=inlined)
    cluster = trusting(authority)
    if inlined:
        cluster = {"certificate-authority-data": inline(authority.ca.certificate)}
    with running(HostileServer(tls=context(serving, clients=authority))) as server:
        there = connected(make_client, tmp_path, server, user=user, cluster=cluster)
        for _ in range(3):
            there.kube.call("GET", PATH)
        assert 1 == server.connections


def test_relative_certificates_begin_at_the_kubeconfig(
    make_client: MakeClient,
    authority: Authority,
    serving: Certificate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also for the authority."""
    shown = authority.client("user")
    for name, path in {
        "ca": authority.ca.certificate,
        "c": shown.certificate,
        "k": shown.key,
    }.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    monkeypatch.chdir("/")
    user = {"client-certificate": "c", "client-key": "./k"}
    with running(HostileServer(tls=context(serving, clients=authority))) as server:
        connected(
            make_client, tmp_path, server, user=user, cluster={"certificate-authority": "ca"}
        ).kube.call("GET", PATH)


def refused(server: HostileServer, there: Client, *, because: str) -> None:
    with pytest.raises(KubeUnavailable, match=because):
        there.kube.call("GET", PATH)
    assert [] == server.requests
    assert {("GET", "unreachable")} == set(there.seen)


@pytest.mark.parametrize("newest", [True, False], ids=["TLS 1.3", "TLS 1.2"])
def test_a_server_out_of_date_is_refused(
    make_client: MakeClient,
    authority: Authority,
    serving: Certificate,
    tmp_path: Path,
    *,
    newest: bool,
) -> None:
    """Nothing is asked of it."""
    old = out_of_date(authority, serving)
    with running(HostileServer(tls=context(old, newest=newest))) as server:
        there = connected(make_client, tmp_path, server, cluster=trusting(authority))
        refused(server, there, because="certificate has expired")


def test_a_server_of_a_stranger_is_refused(
    make_client: MakeClient, stranger: Authority, tmp_path: Path, secured: HostileServer
) -> None:
    """A CA that we do not trust, and none at all, which is that of the system."""
    for cluster in (trusting(stranger), {}):
        there = connected(make_client, tmp_path, secured, cluster=cluster)
        refused(secured, there, because="certificate verify failed")


def test_a_server_of_another_name_is_refused(
    make_client: MakeClient, authority: Authority, tmp_path: Path
) -> None:
    """Unless the kubeconfig says that it has that name."""
    elsewhere = authority.serving("elsewhere", hosts=["elsewhere.example"])
    trust = trusting(authority)
    with running(HostileServer(tls=context(elsewhere))) as server:
        there = connected(make_client, tmp_path, server, cluster=trust)
        refused(server, there, because="not valid for '127.0.0.1'")
        named = {**trust, "tls-server-name": "elsewhere.example"}
        connected(make_client, tmp_path, server, cluster=named).kube.call("GET", PATH)


@pytest.mark.parametrize("newest", [True, False], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("shown", ["out of date", "a stranger's", "none"])
def test_a_certificate_of_ours_that_is_refused_is_named(
    make_client: MakeClient,
    authority: Authority,
    stranger: Authority,
    serving: Certificate,
    tmp_path: Path,
    *,
    shown: str,
    newest: bool,
) -> None:
    """A server that ends the handshake for it is heard."""
    users: dict[str, Json] = {
        "out of date": showing(out_of_date(authority, authority.client("old"))),
        "a stranger's": showing(stranger.client("user")),
        "none": {},
    }
    tls = context(serving, clients=authority, newest=newest)
    with running(HostileServer(tls=tls)) as server:
        there = connected(
            make_client, tmp_path, server, user=users[shown], cluster=trusting(authority)
        )
        refused(server, there, because="(?i)alert|certificate (expired|required)|unknown ca")


def test_a_certificate_that_was_renewed_is_shown(
    make_client: MakeClient, authority: Authority, serving: Certificate, tmp_path: Path
) -> None:
    """The kubeconfig is read again when the handshake fails, not only at a 401."""
    old = out_of_date(authority, authority.client("user"))
    parts = {"cluster": trusting(authority)}
    with running(HostileServer(tls=context(serving, clients=authority))) as server:
        user = showing(old, inlined=True)
        there = connected(make_client, tmp_path, server, user=user, **parts)
        user = showing(authority.client("user"), inlined=True)
        kubeconfig(tmp_path / "config", server.url, user=user, **parts)
        there.kube.call("GET", PATH)
        assert ["unreachable", "200"] == [status for _, status in there.seen]


def test_an_authority_that_was_renewed_is_trusted(
    make_client: MakeClient,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    secured: HostileServer,
) -> None:
    """So is one that stands in the kubeconfig."""
    inlined = [
        {"certificate-authority-data": inline(one.ca.certificate)} for one in (stranger, authority)
    ]
    there = connected(make_client, tmp_path, secured, cluster=inlined[0])
    kubeconfig(tmp_path / "config", secured.url, cluster=inlined[1])
    there.kube.call("GET", PATH)


@pytest.mark.parametrize("spoilt", ["certificate", "key", "authority"])
def test_files_that_are_no_certificates_are_our_error(
    make_client: MakeClient,
    authority: Authority,
    tmp_path: Path,
    secured: HostileServer,
    spoilt: str,
) -> None:
    """When they are used."""
    good = authority.client("user")
    files = {
        "certificate": good.certificate,
        "key": good.key,
        "authority": authority.ca.certificate,
    }
    files[spoilt] = tmp_path / "spoilt"
    files[spoilt].write_bytes(b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    user = showing(Certificate(files["certificate"], files["key"]))
    cluster = {"certificate-authority": str(files["authority"])}
    with pytest.raises(KubeFailed, match=r"PEM|SSL|certificate"):
        connected(make_client, tmp_path, secured, user=user, cluster=cluster).kube.call("GET", PATH)


@pytest.mark.parametrize(
    ("greeting", "text"),
    [(b"HTTP/1.1 400 Bad\r\n\r\n", "SSL"), (b"220 mail\r\n", "SSL"), (b"", "timed out")],
    ids=["HTTP", "mail", "silent"],
)
def test_a_server_without_tls_is_unavailable(
    make_client: MakeClient,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    greeting: bytes,
    text: str,
) -> None:
    """Whatever it says to a handshake, or if it says nothing."""
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.2)
    with running(HostileServer(greeting=greeting)) as server:
        url = server.url.replace("http:", "https:")
        config = kubeconfig(tmp_path / "config", url, cluster=trusting(authority))
        with pytest.raises(KubeUnavailable, match=text):
            make_client(config).kube.call("GET", PATH)


def test_a_connection_cut_without_farewell_is_no_answer(
    make_client: MakeClient, authority: Authority, tmp_path: Path, secured: HostileServer
) -> None:
    """Half a body over TLS is half a body."""
    there = connected(make_client, tmp_path, secured, cluster=trusting(authority))
    secured.does(sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), says(200, b"1"))
    assert b"1" == there.kube.call("GET", PATH)
    assert ["unreachable", "200"] == [status for _, status in there.seen]


@pytest.mark.parametrize("quiet", [0, 0.1], ids=["at once", "while it waits"])
def test_closing_wakes_the_reader_of_a_watch(
    make_client: MakeClient,
    authority: Authority,
    tmp_path: Path,
    secured: HostileServer,
    quiet: float,
) -> None:
    """Also where the reader waits in the TLS library."""
    there = connected(make_client, tmp_path, secured, cluster=trusting(authority))
    for _ in range(5):
        closing_wakes(secured, there.kube, quiet=quiet)


def test_what_is_trusted_is_no_secret_and_told_in_one_line(
    make_client: MakeClient, authority: Authority, tmp_path: Path, secured: HostileServer
) -> None:
    """The message is one printable line, without our key."""
    user = showing(authority.client("user"), inlined=True)
    there = connected(make_client, tmp_path, secured, user=user)
    with pytest.raises(KubeUnavailable) as caught:
        there.kube.call("GET", PATH)
    assert str(caught.value).isprintable()
    assert user["client-key-data"][:20] not in json.dumps(str(caught.value))
    assert isinstance(caught.value.__cause__, Exception)
    assert not isinstance(caught.value, ssl.SSLError)
