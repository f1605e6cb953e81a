"""AdmissionReviews as they come and go: JSON of ``admission.k8s.io/v1``.

Why: an answer that is not well-formed, or for another UID, is a failed webhook to the API
server, and with ``failurePolicy: Ignore`` that lets the object pass.  So whatever came in,
as long as its UID can be made out, what goes back is a review that says no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from ibdra_domain.admission import MOST_PROBLEMS, Outcome, Review, Verdict
from ibdra_domain.errors import InvalidJson, WebhookFailed
from ibdra_domain.manifest_rules import Finding, format_path
from ibdra_domain.strict_json import decode

API_VERSION = "admission.k8s.io/v1"
KIND = "AdmissionReview"
REVIEW_LIMIT = 4 << 20
"""Bytes of a review: two objects of 1.5 MiB, the most that etcd keeps, and some more."""

_UID = r"[0-9A-Za-z._:-]{1,128}"
_UID_AT_A_GLANCE = re.compile(rf'"uid"\s*:\s*"({_UID})"'.encode())
_GLANCE = 1 << 16
_OBJECT, _OLD_OBJECT = ("request", "object"), ("request", "oldObject")
_WARNING_LIMIT = 250
# Without a reason, 422 means that the fields are wrong all the same, and kubectl shows the
# whole message with the webhook's name; with "Invalid" it would leave the name out.
_STATUS: dict[Outcome, tuple[int, str | None]] = {
    Outcome.REFUSED: (422, None),
    Outcome.UNREADABLE: (400, "BadRequest"),
    Outcome.FAILED: (500, "InternalError"),
}


class _Type(msgspec.Struct, frozen=True):
    group: str
    version: str
    kind: str


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _Request(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    uid: Annotated[str, msgspec.Meta(pattern=rf"^{_UID}\Z")]
    kind: _Type
    operation: str
    sub_resource: str = ""
    namespace: str = ""
    name: str = ""
    user_info: _User = _User()
    object: Any = None
    old_object: Any = None


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    api_version: str
    kind: str
    request: _Request


def decode_review(raw: bytes) -> Review:
    """Read a review.  Raises WebhookFailed if it is none."""
    try:
        document = decode(raw)
        envelope = msgspec.convert(document.value, _Envelope)
    except InvalidJson as error:
        raise WebhookFailed(
            f"the review is {error.problem}",
            remedy="have plainer parameters in the object, or look at what sends it",
        ) from error
    except msgspec.ValidationError as error:
        raise WebhookFailed(
            f"the body is no AdmissionReview ({error})", remedy="send what an API server sends"
        ) from error
    if (envelope.api_version, envelope.kind) != (API_VERSION, KIND):
        raise WebhookFailed(
            f"the review is a {envelope.api_version[:80]} {envelope.kind[:80]}, "
            f"not a {API_VERSION} {KIND}",
            remedy='have admissionReviewVersions: ["v1"] in the webhook configuration',
        )
    stray = [p for p in document.twice if p[:2] not in (_OBJECT, _OLD_OBJECT) or len(p) == 2]
    if stray:
        raise WebhookFailed(
            f"the review has {format_path(stray[0])} twice", remedy="send what an API server sends"
        )
    request = envelope.request
    return Review(
        uid=request.uid,
        group=request.kind.group,
        version=request.kind.version,
        kind=request.kind.kind,
        operation=request.operation,
        subresource=request.sub_resource,
        namespace=request.namespace,
        name=request.name,
        user=request.user_info.username,
        new=request.object,
        old=request.old_object,
        twice=tuple(p[2:] for p in document.twice if p[:2] == _OBJECT),
    )


def uid_at_a_glance(raw: bytes) -> str | None:
    """Find the UID of what cannot be read otherwise; API servers write it at the beginning."""
    found = _UID_AT_A_GLANCE.search(raw, 0, _GLANCE)
    return found[1].decode("ascii") if found else None


def encode_answer(uid: str, verdict: Verdict, review: Review | None = None) -> bytes:
    """Write the review that goes back; ``review`` is the one that came, if it could be read."""
    response: dict[str, object] = {"uid": uid, "allowed": verdict.allowed}
    if not verdict.allowed:
        response["status"] = _status(verdict, review)
    if verdict.warnings:
        response["warnings"] = [plain(w)[:_WARNING_LIMIT] for w in verdict.warnings]
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": KIND, "response": response})


def to_message(problems: Iterable[Finding]) -> str:
    """Say all that is wrong: in one line, or in a list."""
    lines = [
        plain(": ".join(filter(None, (format_path(p.path), p.problem, p.remedy)))) for p in problems
    ]
    if len(lines) == 1:
        return lines[0]
    count = f"{len(lines)} or more" if len(lines) >= MOST_PROBLEMS else f"{len(lines)}"
    return "\n* ".join([f"{count} problems:", *lines])


def plain(text: str) -> str:
    """Give a text without what would mislead in a terminal or a log, or is no text at all."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _status(verdict: Verdict, review: Review | None) -> dict[str, object]:
    code, reason = _STATUS[verdict.outcome]
    details: dict[str, object] = {
        "causes": [
            {
                "reason": "FieldValueInvalid",
                "message": plain(f"{p.problem}: {p.remedy}"),
                "field": format_path(p.path),
            }
            for p in verdict.problems
        ]
    }
    if review is not None:
        about = {"name": review.name, "group": review.group, "kind": review.kind}
        details |= {key: plain(value) for key, value in about.items() if value}
    status: dict[str, object] = {
        "status": "Failure",
        "code": code,
        "message": to_message(verdict.problems),
        "details": details,
    }
    if reason is not None:
        status["reason"] = reason
    return status
