"""A body in, an answer out, whatever the body is; and what we ship, as it should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.admission.webhook_calls import UID, a_review_of
from ibdra_adapters.admission.answers import Answer, answer
from ibdra_adapters.admission.wire import encode_answer, plain, uid_at_a_glance
from ibdra_adapters.manifests.documents import read_manifests
from ibdra_domain.admission import MOST_PROBLEMS, Outcome, unreadable
from ibdra_domain.manifest_rules import KINDS, is_ours
from unit.domain.admission_facts import BAD, an_object, an_opaque
from unit.domain.domain_strategies import json_values
from unit.domain.test_ib_config_properties import near_documents

ROOT = Path(__file__).parents[3]
SHIPPED = sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("docs/user/recipes/*.yaml")])
BODY = json.dumps(a_review_of(an_object(config=[an_opaque(BAD)]))).encode()


def seen(raw: bytes) -> tuple[Answer, dict[str, Any] | None]:
    """Answer a body, and look whether an API server could make anything of it."""
    found = answer(raw)
    assert found.outcome is not Outcome.FAILED, "an error of our own"
    assert found.kind in (*KINDS, "other")
    if not found.review:
        assert (400, Outcome.UNREADABLE) == (found.status, found.outcome)
        assert found.body.decode().endswith("\n")
        return found, None
    assert 200 == found.status
    review = json.loads(found.body)
    assert ("admission.k8s.io/v1", "AdmissionReview") == (review["apiVersion"], review["kind"])
    response = review["response"]
    assert response["allowed"] == (found.outcome is Outcome.ALLOWED)
    if not response["allowed"]:
        status = response["status"]
        assert status["code"] in (400, 422)
        assert status["message"]
        assert all(c["message"] for c in status["details"]["causes"])
    return found, response


@given(st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(BODY.decode().encode("utf-16"))
def test_any_bytes_are_answered(raw: bytes) -> None:
    """Never with an error of our own."""
    seen(raw)


@given(json_values, json_values)
def test_any_json_is_answered(one: Any, other: Any) -> None:
    """As a body, as a request, and as an object."""
    for body in (one, {"request": one}, a_review_of(one), a_review_of({"spec": one}, uid=other)):
        seen(json.dumps(body).encode())


@given(st.integers(0, len(BODY) - 1), st.binary(max_size=4), st.integers(0, 20))
def test_a_review_changed_in_any_place_is_answered(at: int, put: bytes, cut: int) -> None:
    """And whatever can still be read in it is refused, as it was bad before."""
    _, response = seen(BODY[:at] + put + BODY[at + cut :])
    if response is not None and response["allowed"]:
        changed = BODY[:at] + put + BODY[at + cut :]
        assert 9000 != _mtu(changed), "a bad config was let through"


def _mtu(raw: bytes) -> Any:
    """Give the mtu that our driver would be asked for; None if it would not be."""
    request = json.loads(raw)["request"]
    try:
        (entry,) = request["object"]["spec"]["devices"]["config"]
        found = entry["opaque"]
        return found["parameters"]["mtu"] if found["driver"] == "ib.sigs.k8s.io" else None
    except (KeyError, TypeError, ValueError):
        return None


@given(near_documents, st.sampled_from(KINDS), st.text(max_size=8))
def test_any_config_is_answered(document: Any, kind: str, name: str) -> None:
    """Names and keys of any characters, lone surrogates included, come back as text."""
    body = an_object(kind, config=[an_opaque(document | {f"x{name}": 1})])
    found, response = seen(json.dumps(a_review_of(body, name=name + "\ud800\n")).encode())
    assert (Outcome.REFUSED, kind) == (found.outcome, found.kind)
    assert response is not None
    assert "?" in response["status"]["details"]["name"]


def test_a_hostile_review_has_a_bounded_answer() -> None:
    """And says that there is more."""
    many = {f"{'x' * 1000}{n}": 1 for n in range(2000)}
    found, response = seen(json.dumps(a_review_of(an_object(config=[an_opaque(many)]))).encode())
    assert len(found.body) < 100_000
    assert response is not None
    assert response["status"]["message"].startswith(f"{MOST_PROBLEMS} or more problems:\n* spec")


@pytest.mark.parametrize(
    ("raw", "uid"),
    [
        (BODY, UID),
        (BODY[:200], UID),
        (b'{"uid" : "a:b_c.D-1"', "a:b_c.D-1"),
        (b'{"uid": ""}', None),
        (b'{"uid": "a b"}', None),
        (b'{"uid": "' + b"a" * 129 + b'"}', None),
        (b" " * 70_000 + BODY, None),
    ],
    ids=["whole", "cut", "odd", "empty", "space", "long", "late"],
)
def test_a_uid_is_made_out_at_the_beginning(raw: bytes, uid: str | None) -> None:
    """Where API servers write it; anything that is not like one is none."""
    assert uid == uid_at_a_glance(raw)


def test_an_answer_without_a_review_is_still_one() -> None:
    """Without an object's name, as nothing is known of it."""
    body = json.loads(encode_answer("uid-1", unreadable("it is odd", "send another")))
    status = body["response"]["status"]
    assert "it is odd: send another" == status["message"]
    assert {"causes"} == set(status["details"])


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain ä", "plain ä"), ("a\nb\x1b[31m", "a?b?[31m"), ("\ud800", "?"), ("", "")],
)
def test_what_would_mislead_is_not_shown(text: str, shown: str) -> None:
    """Line ends, terminal escapes and what is no text."""
    assert shown == plain(text)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_passes_or_does_not(path: Path) -> None:
    """Every example and recipe but the one that shows wrong IbConfigs; wrong selectors pass."""
    manifests, problems = read_manifests(path)
    ours = [m.body for m in manifests if is_ours(m.body)]
    assert ours
    assert [] == problems
    for body in ours:
        found, response = seen(msgspec.json.encode(a_review_of(body)))
        assert found.kind == body["kind"]
        expected = Outcome.REFUSED if path.stem == "wrong-ibconfig" else Outcome.ALLOWED
        assert expected == found.outcome
        assert response is not None
        warned = path.stem in ("wrong-dotted", "wrong-index", "wrong-wrapped")
        assert warned == ("warnings" in response)
