"""What the client makes of an answer, whatever it is: a body, or one of our errors, in time."""

from __future__ import annotations

import gc
import gzip
import time
from typing import Any

import pytest

from contract.kube.conftest import Client
from contract.kube.hostile_server import (
    Act,
    HostileServer,
    Talk,
    chunk,
    connections_to,
    hangs,
    head,
    refuses,
    says,
    sends,
)
from ibdra_adapters.kube import answers, client
from ibdra_adapters.kube.server import ServerClaims, ServerSlices
from ibdra_domain.errors import (
    KubeConflict,
    KubeFailed,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)

PATH = "/apis/x"


def test_asks_as_it_should(server: HostileServer, there: Client) -> None:
    """Method, path, query, body and who we are arrive as they were given."""
    body = {"name": "x", "values": [1, "ü"]}
    answer = there.kube.call("PATCH", PATH, query={"a": "b=c&d"}, body=body, content_type="x/y")
    (asked,) = server.requests
    assert b"{}" == answer
    assert ("PATCH", f"{PATH}?a=b%3Dc%26d", body) == (asked.method, asked.target, asked.json)
    expected = {
        "accept": "application/json",
        "authorization": "Bearer s3cr3t",
        "content-type": "x/y",
        "user-agent": "ibdra",
    }
    assert expected == {name: asked.headers[name] for name in expected}
    assert [("PATCH", "200")] == there.seen


def test_one_connection_serves_many_calls(server: HostileServer, there: Client) -> None:
    """Answers are read to their end, refusals too, and the connection is used again."""
    server.does(says(200), refuses(404, "gone", reason="NotFound"), says(200))
    for _ in range(10):
        try:
            there.kube.call("GET", PATH)
        except KubeNotFound:
            continue
    assert [10, 1] == [len(server.requests), server.connections]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes_is_not_seen(server: HostileServer, there: Client, status: int) -> None:
    """What may go well the next time is tried again; every try is told."""
    server.does(refuses(status, "busy"), refuses(status, "busy"), says(200, b'"well"'))
    assert b'"well"' == there.kube.call("POST", PATH, body={})
    assert [("POST", str(status))] * 2 + [("POST", "200")] == there.seen


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_stays_is_unavailable(
    server: HostileServer, there: Client, status: int
) -> None:
    """Three tries, ever later, and the server's words."""
    server.does(refuses(status, "come back later"))
    with pytest.raises(KubeUnavailable, match=rf"GET {PATH}: {status}, come back later: try again"):
        there.kube.call("GET", PATH)
    assert [client.TRIES] * 2 == [len(server.requests), len(there.seen)]
    first, second = there.pauses
    assert 0 < first < second < 1


@pytest.mark.parametrize(("luck", "pauses"), [(0.0, [0.15, 0.3]), (1.0, [0.45, 0.9])])
def test_clients_of_one_server_do_not_come_back_together(
    server: HostileServer, there: Client, luck: float, pauses: list[float]
) -> None:
    """Each waits its own time, half to one and a half of the usual."""
    there.luck = luck
    server.does(refuses(503, "busy"), refuses(503, "busy"), says(200))
    there.kube.call("GET", PATH)
    assert pytest.approx(pauses) == there.pauses


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("asked_for", "soonest", "latest"),
    [("1", 1, 1.5), ("0", 0, 0), ("5", 5, 7.5), ("3600", 1.5, 4.5), ("9" * 5000, 1.5, 4.5)],
    ids=["1", "0", "5", "hour", "huge"],
)
@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_waits_as_the_server_asks_but_never_long(
    server: HostileServer,
    there: Client,
    *,
    status: int,
    asked_for: str,
    soonest: float,
    latest: float,
    luck: float,
) -> None:
    """Retry-After is waited for whole, and by each client a little longer; an hour is not."""
    there.luck = luck
    server.does(refuses(status, "busy", Retry_After=asked_for), says(200))
    there.kube.call("GET", PATH)
    assert [latest if luck else soonest] == there.pauses


def test_luck_does_not_make_a_wait_too_long_for_the_call(
    server: HostileServer, there: Client
) -> None:
    """What the server asks for fits, half as much more would not."""
    there.luck = 1.0
    server.does(refuses(503, "busy", Retry_After="9"), says(200))
    there.kube.call("GET", PATH)
    (pause,) = there.pauses
    assert 9 <= pause <= client.CALL_SECONDS


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1e9", "Mon, 01 Jan 99999 00:00:00 GMT", "²"])
def test_a_retry_after_of_nonsense_is_passed_over(
    server: HostileServer, there: Client, nonsense: str
) -> None:
    """Then the pause is ours."""
    server.does(refuses(503, "busy", Retry_After=nonsense), says(200))
    there.kube.call("GET", PATH)
    (pause,) = there.pauses
    assert 0 < pause < 1


@pytest.mark.usefixtures("server")
def test_no_try_begins_after_the_last_moment(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of tries, all of them together have their time."""
    monkeypatch.setattr(client, "CALL_SECONDS", 0.5)
    server.does(refuses(503, "busy", Retry_After="1"))
    with pytest.raises(KubeUnavailable):
        there.kube.call("GET", PATH)
    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (refuses(404, "x not found", reason="NotFound"), KubeNotFound, "x not found: it was"),
        (refuses(409, "exists", reason="AlreadyExists"), KubeConflict, "409, exists"),
        (refuses(409, "modified", reason="Conflict"), KubeConflict, "409, modified"),
        (refuses(403, 'user "u" cannot'), KubeFailed, r'user "u" cannot: .*RBAC'),
        (refuses(400, "bad thing"), KubeFailed, "400, bad thing"),
        (refuses(422, "spec.x: Invalid"), KubeInvalid, "422, spec.x: Invalid"),
        (refuses(410, "too old"), KubeUnavailable, "410, too old"),
        (refuses(501, "not me"), KubeUnavailable, "501, not me"),
        (says(418, b""), KubeFailed, "418, no reason given"),
        (says(413, b"<html>\n too\x1b[31m big</html>"), KubeFailed, r"<html> too \[31m big</html>"),
        (says(302, b"", Location="http://127.0.0.1:1/"), KubeFailed, "302"),
        (says(101, b""), KubeFailed, "101"),
        (says(400, b"\xff\xfe"), KubeFailed, "400"),
        (says(400, b'{"message": null}'), KubeFailed, "400"),
        (says(400, b"[" * 100_000), KubeFailed, "400"),
        (refuses(422, "long " * 300_000), KubeInvalid, r"long \.\.\.|long\.\.\."),
    ],
)
def test_a_refusal_is_the_error_that_it_should_be(
    server: HostileServer, there: Client, act: Act, kind: type[KubeFailed], text: str
) -> None:
    """Each is asked for once, and the server's words are in one printable line."""
    server.does(act)
    with pytest.raises(KubeFailed, match=text) as caught:
        there.kube.call("GET", PATH)
    assert kind is type(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert 1 == len(server.requests)


def test_a_path_that_is_not_served_is_no_claim_that_is_gone(
    server: HostileServer, there: Client
) -> None:
    """A server without our API, or a proxy, answers 404 too: that says nothing about claims."""
    server.does(says(404, b"404 page not found\n", Content_Type="text/plain"))
    with pytest.raises(KubeFailed, match=r"page not found: .*1\.34") as caught:
        ServerClaims(there.kube).get("ns", "name")
    assert KubeFailed is type(caught.value)


def drips(talk: Talk) -> bool:
    """Send a body for ever, now and then a little of it."""
    talk.send(head(200, None, Transfer_Encoding="chunked"))
    while not talk.stopped.wait(0.05):
        talk.send(chunk(b" "))
    return True


BROKEN: dict[str, Act] = {
    "never answers": hangs(),
    "accepts and closes": sends(b""),
    "half a status line": sends(b"HTTP/1.1 2"),
    "half a header": sends(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "half a header, stays": hangs(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a head, no body": hangs(head(200, 10)),
    "half a body": sends(head(200, 10) + b"12345"),
    "half a body, stays": hangs(head(200, 10) + b"12345"),
    "half a chunk": sends(head(200, None, Transfer_Encoding="chunked") + b"ff\r\n{"),
    "a bad chunk": sends(head(200, None, Transfer_Encoding="chunked") + b"xyz\r\n{}"),
    "a body without end": drips,
    "no HTTP": sends(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "endless header": sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
    "many headers": sends(b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n"),
    "two lengths": sends(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n{}"),
    "an empty body": says(200, b""),
    "no gzip": says(200, b"{}", Content_Encoding="gzip"),
    "half a refusal": sends(head(404, 100) + b'{"kind": "St'),
}


@pytest.mark.parametrize("act", BROKEN.values(), ids=BROKEN)
def test_no_answer_is_unavailable_and_in_time(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """Whatever breaks, it is our error, tried again, told as unreachable, and never hangs."""
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(client, "CALL_SECONDS", 0.6)
    server.does(act)
    began = time.monotonic()
    with pytest.raises(KubeUnavailable, match=f"GET {PATH}: the API server cannot be reached"):
        there.kube.call("GET", PATH)
    assert time.monotonic() - began < 3
    assert {("GET", "unreachable")} == set(there.seen)
    assert len(there.seen) == len(server.requests) >= 1


def test_a_server_that_is_not_there_is_unavailable(server: HostileServer, there: Client) -> None:
    """A refused connection is tried again too."""
    server.stop()
    with pytest.raises(KubeUnavailable, match="refused"):
        there.kube.call("GET", PATH)
    assert [("GET", "unreachable")] * client.TRIES == there.seen


def test_what_broke_once_is_not_seen(server: HostileServer, there: Client) -> None:
    """A connection that dies in the middle of an answer is one try."""
    server.does(sends(head(200, 10) + b"123"), says(200, b"1"))
    assert b"1" == there.kube.call("GET", PATH)
    assert ["unreachable", "200"] == [status for _, status in there.seen]


def test_an_answer_has_a_greatest_length(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a body without end nor one that unpacks to it fills the memory."""
    monkeypatch.setattr(answers, "LONGEST", 1_000_000)
    bomb = gzip.compress(b" " * 20_000_000)
    server.does(says(200, b" " * 1_000_001), says(200, bomb, Content_Encoding="gzip"))
    for _ in range(2):
        with pytest.raises(KubeFailed, match="longer than 1000000 bytes"):
            there.kube.call("GET", PATH)


NOT_A_CLAIM: dict[str, bytes] = {
    "no JSON": b"<html>",
    "not UTF-8": b'{"metadata": {"name": "\xff"}}',
    "half": b'{"metadata": {"name": "a"',
    "null": b"null",
    "a list": b"[]",
    "wrong shape": b'{"metadata": 7}',
    "wrong deep": b'{"status": {"allocation": {"devices": {"results": [{"request": 1}]}}}}',
    "nested": b'{"x":' * 100_000 + b"1" + b"}" * 100_000,
}


@pytest.mark.parametrize("body", NOT_A_CLAIM.values(), ids=NOT_A_CLAIM)
def test_what_is_no_claim_is_not_understood(
    server: HostileServer, there: Client, body: bytes
) -> None:
    """A well-formed answer of nonsense is our error, at once."""
    server.does(says(200, body))
    with pytest.raises(KubeFailed, match="ResourceClaim from the API server is not understood"):
        ServerClaims(there.kube).get("ns", "name")
    assert 1 == len(server.requests)


def test_an_object_of_a_newer_version_is_read(server: HostileServer, there: Client) -> None:
    """Fields that we do not know, also 10 MiB of them, are passed over."""
    body: dict[str, Any] = {
        "apiVersion": "resource.k8s.io/v9",
        "metadata": {"name": "a", "uid": "u", "novelty": {"deep": [1, 2, {}]}},
        "spec": {"devices": {"requests": [], "wishes": 7}, "novelty": "x" * (10 << 20)},
        "novelty": None,
    }
    server.does(says(200, body))
    claim = ServerClaims(there.kube).get("ns", "a")
    assert ("a", "u") == (claim.metadata.name, claim.metadata.uid)


@pytest.mark.parametrize("items", ['"items": []', '"items": null', '"kind": "List"'])
def test_a_list_of_nothing_is_empty(server: HostileServer, there: Client, items: str) -> None:
    """However the server writes it."""
    server.does(says(200, f'{{"metadata": {{}}, {items}}}'.encode()))
    assert () == ServerSlices(there.kube, driver="d", node="n").list()


FAILING: dict[str, Act] = {
    **{name: act for name, act in BROKEN.items() if act is not drips},
    "refusal": refuses(403, "no"),
    "trouble": refuses(503, "busy"),
    "redirect": says(302, b"over there", Location="/"),
    "too long": says(200, b" " * 2000),
}


@pytest.mark.parametrize("act", FAILING.values(), ids=FAILING)
def test_failing_calls_leave_no_connection(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """A hundred that fail hold no more sockets than one, without the garbage collector's help."""
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.02)
    monkeypatch.setattr(client, "TRIES", 1)
    monkeypatch.setattr(answers, "LONGEST", 1000)

    server.does(act)
    gc.disable()
    try:
        for _ in range(100):
            with pytest.raises(KubeFailed):
                there.kube.call("GET", PATH)
        assert connections_to(server.port) <= 1
    finally:
        gc.enable()
