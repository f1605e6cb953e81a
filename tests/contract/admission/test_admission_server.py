"""The webhook over HTTPS: reviews, probes, and whatever else comes in."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from contract.admission.conftest import Pair
from contract.admission.webhook_calls import JSON, UID, Client, a_review_of, ask, head, heard
from ibdra_adapters.admission import wire
from ibdra_adapters.admission.certificates import CertificateFiles
from ibdra_adapters.admission.server import LARGE, AdmissionServer
from ibdra_domain.admission import ALLOWED, Review, Verdict
from ibdra_domain.errors import WebhookFailed
from unit.domain.admission_facts import BAD, CONFIG, EVERY_SHAPE, an_object, an_opaque

Observed = list[tuple[str, str]]
Pairs = tuple[Pair, Pair]


@pytest.mark.parametrize(("kind", "version"), EVERY_SHAPE)
async def test_a_review_gets_its_verdict(
    client: Client, observed: Observed, kind: str, version: str
) -> None:
    """For its own UID; a refusal has fields, reasons and a message with all of them."""
    good = await client.review(a_review_of(an_object(kind, version, config=[an_opaque()])))
    assert {"uid": UID, "allowed": True} == good.response
    bad = await client.review(a_review_of(an_object(kind, version, config=[an_opaque(BAD)])))
    status = bad.response["status"]
    assert (UID, 422, "Failure") == (bad.response["uid"], status["code"], status["status"])
    assert "reason" not in status
    causes = status["details"]["causes"]
    where = f"{CONFIG[kind]}[0].opaque.parameters"
    assert [f"{where}.mtu", f"{where}.trafficclass"] == [c["field"] for c in causes]
    first, *lines = status["message"].splitlines()
    assert "2 problems:" == first
    assert [f"* {c['field']}: {c['message']}" for c in causes] == lines
    assert ("job", "resource.k8s.io", kind) == tuple(
        status["details"][key] for key in ("name", "group", "kind")
    )
    assert [(kind, "allowed"), (kind, "refused")] == observed


async def test_one_problem_is_one_line(client: Client) -> None:
    """As most refusals are, and as events and logs like it."""
    said = await client.review(a_review_of(an_object(config=[an_opaque(None)])))
    assert said.response["status"]["message"].startswith(
        "spec.devices.config[0].opaque.parameters: the parameters are null, not an object: give an"
    )


async def test_what_is_not_ours_passes_with_a_warning(client: Client, observed: Observed) -> None:
    """The API server hands the warning to whoever wrote the object."""
    said = await client.review(a_review_of({"apiVersion": "apps/v1", "kind": "Deployment"}))
    assert said.response["allowed"]
    (warning,) = said.response["warnings"]
    assert "apps/v1 Deployment is none of ib.sigs.k8s.io's business" in warning
    assert [("other", "allowed")] == observed


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_are_answered_on_the_same_port(client: Client, path: str) -> None:
    """With GET and HEAD, and nothing else."""
    assert (200, b"ok\n") == ((said := await client.call("GET", path)).status, said.body)
    assert 405 == (await client.call("POST", path, b"")).status


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/validate", {}, 405),
        ("PUT", "/validate", JSON, 405),
        ("POST", "/", JSON, 404),
        ("POST", "/validate/", JSON, 404),
        ("POST", "/../validate", JSON, 404),
        ("POST", "/validate", {}, 415),
        ("POST", "/validate", {"Content-Type": "application/yaml"}, 415),
        ("POST", "/validate", {"Content-Type": "application/json2"}, 415),
        ("POST", "/validate", JSON | {"Content-Encoding": "gzip"}, 415),
        ("POST", "/validate", JSON, 200),
        ("POST", "/validate", {"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_what_is_no_review_is_told_so(
    client: Client, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    """Method, path and content type each have their own answer."""
    body = json.dumps(a_review_of(an_object())).encode()
    said = await client.call(method, path, body, headers)
    assert status == said.status
    assert ("allow" in said.headers) == (status == 405)


def _with(old: bytes, new: bytes) -> bytes:
    body = json.dumps(a_review_of(an_object(config=[an_opaque()]))).encode()
    assert 1 == body.count(old)
    return body.replace(old, new)


UNREADABLE = {
    "cut short": json.dumps(a_review_of(an_object())).encode()[:-20],
    "not UTF-8": _with(b"4096", b'"\xff"'),
    "nested too deeply": _with(b"4096", b"[" * 50_000 + b"]" * 50_000),
    "a number too long": _with(b"4096", b"9" * 5000),
    "two bodies": json.dumps(a_review_of(an_object())).encode() * 2,
    "the object twice": _with(b'"oldObject": null', b'"object": {}'),
    "no operation": _with(b'"operation": "CREATE", ', b""),
    "an old review": _with(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"),
    "another kind": _with(b'"AdmissionReview"', b'"Review"'),
    "no resource kind": _with(b'"kind": {"group"', b'"kynd": {"group"'),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_unreadable_review_is_refused_in_a_review(
    client: Client, observed: Observed, body: bytes
) -> None:
    """A bare 400 would be a broken webhook, which `failurePolicy: Ignore` lets pass."""
    said = await client.review(body)
    assert (UID, False) == (said.response["uid"], said.response["allowed"])
    assert (400, "BadRequest") == tuple(said.response["status"][k] for k in ("code", "reason"))
    assert [("other", "unreadable")] == observed


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b"\x80", b'{"request": {"uid": 5}}', b'{"uid": "\\u0000"}'],
    ids=repr,
)
async def test_a_body_without_a_uid_is_a_bad_request(client: Client, body: bytes) -> None:
    """There is nothing to answer to; the reason is told in plain text."""
    said = await client.review(body)
    assert (400, "text/plain") == (said.status, said.headers["content-type"])
    assert b": send what an API server sends" in said.body or b"look at what sends it" in said.body


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_review_that_is_too_large_is_refused(client: Client, *, chunked: bool) -> None:
    """In a review, once it is all read: whoever still writes would not listen."""
    body = b" " * (wire.REVIEW_LIMIT + 1)
    for start, status in ((b"", 413), (json.dumps(a_review_of(an_object())).encode(), 200)):
        async with client.connected() as streams:
            if chunked:
                headers = JSON | {"Transfer-Encoding": "chunked"}
                streams[1].write(head("POST", "/validate", b"", headers))
                whole = start + body
                streams[1].write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(whole), whole))
                said = await heard(streams[0])
            else:
                said = await ask(streams, "POST", "/validate", start + body, JSON)
        assert status == said.status
        if status == 200:
            assert not said.response["allowed"]
            assert f"more than {wire.REVIEW_LIMIT} bytes" in said.response["status"]["message"]


async def test_a_large_review_is_judged(client: Client) -> None:
    """Annotations and two objects fill some megabytes."""
    for config, allowed in (([an_opaque()], True), ([an_opaque(BAD)], False)):
        body = an_object(config=config)
        body["metadata"]["annotations"] = {"big": "ä" * (LARGE // 2)}
        said = await client.review(a_review_of(body, oldObject=body, operation="CREATE"))
        assert allowed == said.response["allowed"]


async def test_large_reviews_do_not_hold_up_small_ones(client: Client) -> None:
    """They take turns among themselves; one that does not go on has only its own."""
    async with client.connected() as one, client.connected() as two:
        for streams in (one, two):
            beginning = head("POST", "/validate", b" " * (2 * LARGE), JSON)
            streams[1].write(beginning + b" " * (LARGE + 10))
            await streams[1].drain()
        began = time.monotonic()
        assert (await client.review(a_review_of(an_object()))).response["allowed"]
        assert time.monotonic() - began < 4


@pytest.fixture
async def hurried(pairs: Pairs) -> Any:
    """Run a webhook that gives a body little time."""
    certificates = CertificateFiles(*pairs[0])
    async with AdmissionServer(
        certificates=certificates, port=0, bind="127.0.0.1", read_time=0.2
    ) as server:
        yield Client(server.port, pairs[0][0])


async def test_a_body_that_does_not_come_is_given_up(hurried: Client) -> None:
    """And its connection with it."""
    async with hurried.connected() as streams:
        streams[1].write(head("POST", "/validate", b" " * 100, JSON) + b"{")
        assert 408 == (await heard(streams[0])).status
        async with asyncio.timeout(10):
            assert b"" == await streams[0].read()


async def test_a_client_that_hangs_up_leaves_nothing(client: Client, observed: Observed) -> None:
    """Whenever it does."""
    body = json.dumps(a_review_of(an_object())).encode()
    whole = head("POST", "/validate", body, JSON) + body
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1, len(whole)):
        async with client.connected() as streams:
            streams[1].write(whole[:length])
            await streams[1].drain()
    assert (await client.review(a_review_of(an_object()))).response["allowed"]
    assert {("ResourceClaim", "allowed")} == set(observed)


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000 + b"\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["no HTTP", "length", "two lengths", "long path", "long header", "binary", "bad chunk"],
)
async def test_what_is_no_http_is_a_bad_request(client: Client, raw: bytes) -> None:
    """And the next client finds the webhook as it was."""
    async with client.connected() as streams:
        streams[1].write(raw)
        assert 400 == (await heard(streams[0])).status
    assert 200 == (await client.call()).status


async def test_a_connection_serves_many_reviews(client: Client) -> None:
    """API servers keep theirs."""
    async with client.connected() as streams:
        for number in range(20):
            body = json.dumps(a_review_of(an_object(), uid=f"uid-{number}")).encode()
            said = await ask(streams, "POST", "/validate", body, JSON)
            assert f"uid-{number}" == said.response["uid"]


async def test_two_hundred_reviews_at_once(client: Client, observed: Observed) -> None:
    """Each gets its own answer: of connections of their own, no two are mixed up."""

    async def one(number: int) -> None:
        config = [an_opaque(BAD)] if number % 2 else [an_opaque()]
        body = a_review_of(an_object(config=config), uid=f"uid-{number}")
        response = (await client.review(body)).response
        assert (f"uid-{number}", not number % 2) == (response["uid"], response["allowed"])

    await asyncio.gather(*(one(number) for number in range(200)))
    assert 200 == len(observed)


def _broken(_review: Review) -> Verdict:
    raise KeyError("a bug")


async def test_an_error_of_our_own_is_a_refusal(
    pairs: Pairs, observed: Observed, caplog: pytest.LogCaptureFixture
) -> None:
    """With 500, so that controllers try again; and the log has all of it."""
    async with AdmissionServer(
        certificates=CertificateFiles(*pairs[0]),
        port=0,
        bind="127.0.0.1",
        judge=_broken,
        observe=lambda kind, outcome, _: observed.append((kind, outcome)),
    ) as server:
        said = await Client(server.port, pairs[0][0]).review(a_review_of(an_object()))
    status = said.response["status"]
    assert (500, "InternalError") == (status["code"], status["reason"])
    assert "internal error of the webhook (KeyError): look at its log" in status["message"]
    assert [("ResourceClaim", "failed")] == observed
    assert "KeyError: 'a bug'" in caplog.text


async def test_whoever_counts_has_no_say_in_the_answer(
    pairs: Pairs, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken metric is a line in the log."""

    def observe(_kind: str, _outcome: str, _seconds: float) -> None:
        raise RuntimeError("no space left")

    async with AdmissionServer(
        certificates=CertificateFiles(*pairs[0]), port=0, bind="127.0.0.1", observe=observe
    ) as server:
        said = await Client(server.port, pairs[0][0]).review(a_review_of(an_object()))
    assert said.response["allowed"]
    assert "a review was not counted" in caplog.text


async def test_a_refusal_is_logged_in_one_line(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Who, what and why; and nobody writes lines of their own into the log."""
    body = an_object(config=[an_opaque(BAD | {f"x{n}": 1 for n in range(5)} | {"a\nb": 1})])
    await client.review(a_review_of(body, userInfo={"username": "eve\nroot"}))
    (record,) = caplog.records
    told = record.getMessage()
    assert 1 == len(told.splitlines())
    assert "CREATE of resource.k8s.io/v1 ResourceClaim team-a/job by eve?root: refused" in told
    assert "mtu 9000 is not an InfiniBand MTU" in told
    assert told.endswith("; and 5 more")


async def test_a_stop_waits_for_what_is_under_way(pairs: Pairs) -> None:
    """A review that is judged, and one whose body is still coming, are answered."""

    def slow(_review: Review) -> Verdict:
        time.sleep(0.3)
        return ALLOWED

    server = AdmissionServer(
        certificates=CertificateFiles(*pairs[0]), port=0, bind="127.0.0.1", judge=slow
    )
    await server.start()
    client = Client(server.port, pairs[0][0])
    small = an_object()
    large = an_object()
    large["metadata"]["annotations"] = {"big": "a" * LARGE}
    body, whole = (json.dumps(a_review_of(b)).encode() for b in (small, large))
    async with client.connected() as judged, client.connected() as coming:
        coming[1].write(head("POST", "/validate", body, JSON) + body[:-1])
        judged[1].write(head("POST", "/validate", whole, JSON) + whole)
        async with asyncio.timeout(30):
            while len(server._calls) < 2:  # noqa: ASYNC110 -- no event tells that they are heard
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0.1)
        coming[1].write(body[-1:])
        for streams in (judged, coming):
            said = await heard(streams[0])
            assert said.response["allowed"]
            assert "close" == said.headers["connection"]
        await stopping
    with pytest.raises(OSError):  # noqa: PT011 -- whatever way it is that nobody serves there
        await client.call()
    await server.stop()


async def test_a_stop_does_not_wait_for_ever(pairs: Pairs) -> None:
    """A client that does not go on, and one that says nothing, are hung up on."""
    server = AdmissionServer(certificates=CertificateFiles(*pairs[0]), port=0, bind="127.0.0.1")
    await server.start()
    client = Client(server.port, pairs[0][0])
    async with client.connected() as stuck, client.connected():
        stuck[1].write(head("POST", "/validate", b"{}", JSON) + b"{")
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await server.stop(0.2)
        assert time.monotonic() - began < 5


async def test_a_webhook_that_retires_serves_on(webhook: AdmissionServer, client: Client) -> None:
    """Until nobody asks it any more: it is not ready, is alive, and closes connections."""
    webhook.retire()
    assert 503 == (await client.call("GET", "/readyz")).status
    assert 200 == (await client.call("GET", "/healthz")).status
    said = await client.review(a_review_of(an_object()))
    assert (True, "close") == (said.response["allowed"], said.headers["connection"])


async def test_a_port_that_is_taken_is_told(webhook: AdmissionServer, pairs: Pairs) -> None:
    """With what to do about it."""
    other = AdmissionServer(
        certificates=CertificateFiles(*pairs[0]), port=webhook.port, bind="127.0.0.1"
    )
    with pytest.raises(WebhookFailed, match=f"port {webhook.port} cannot be served") as caught:
        await other.start()
    assert "--port" in caught.value.remedy
    await other.stop()


def test_the_pairs_are_two(pairs: Pairs) -> None:
    """Or the tests of their exchange would prove nothing."""
    files: list[Path] = [path for pair in pairs for path in pair]
    assert 4 == len({path.read_bytes() for path in files})
