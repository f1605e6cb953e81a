"""A body in, an answer out, whatever the body is.

Why: this is where nothing may be forgotten.  A review gets the domain's verdict; what cannot
be read, and what we fail at, is refused in a review as well if its UID can be made out.  A
bare status is the last resort: to the API server it is a broken webhook, not a no.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from ibdra_adapters.admission import wire
from ibdra_domain import admission
from ibdra_domain.admission import OTHER, Outcome, Review, Verdict
from ibdra_domain.errors import WebhookFailed

Judge = Callable[[Review], Verdict]
_MOST_LOGGED = 3
_log = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send back: a review where ``review`` says so, else a text."""

    kind: str
    outcome: Outcome
    body: bytes
    status: int = 200
    review: bool = True


def answer(raw: bytes, judge: Judge = admission.judge) -> Answer:
    """Answer a body."""
    review = None
    try:
        review = wire.decode_review(raw)
        verdict = judge(review)
        _tell_log(review, verdict)
        body = wire.encode_answer(review.uid, verdict, review)
        return Answer(kind=review.label, outcome=verdict.outcome, body=body)
    except WebhookFailed as error:
        return unread(raw, error)
    except Exception as error:  # noqa: BLE001 -- what was not judged must not pass
        _log.exception("a review was refused for an internal error")
        verdict = admission.failed(error)
        return _refusal(
            review.uid if review is not None else wire.uid_at_a_glance(raw),
            verdict,
            kind=review.label if review is not None else OTHER,
            status=500,
        )


def unread(beginning: bytes, error: WebhookFailed, *, status: int = 400) -> Answer:
    """Refuse a body for what it is, not for what stands in it; its beginning is enough."""
    _log.warning("a review was refused unread: %s", wire.plain(str(error)))
    verdict = admission.unreadable(error.problem, error.remedy)
    return _refusal(wire.uid_at_a_glance(beginning), verdict, kind=OTHER, status=status)


def _refusal(uid: str | None, verdict: Verdict, *, kind: str, status: int) -> Answer:
    if uid is not None:
        return Answer(kind=kind, outcome=verdict.outcome, body=wire.encode_answer(uid, verdict))
    text = f"{wire.to_message(verdict.problems)}\n".encode()
    return Answer(kind=kind, outcome=verdict.outcome, body=text, status=status, review=False)


def _tell_log(review: Review, verdict: Verdict) -> None:
    level = logging.DEBUG if verdict.allowed else logging.WARNING
    if not _log.isEnabledFor(level):
        return
    where = "/".join(filter(None, (review.namespace, review.name))) or "(no name yet)"
    found = [wire.to_message([p]) for p in verdict.problems[:_MOST_LOGGED]]
    if len(verdict.problems) > len(found):
        found.append(f"and {len(verdict.problems) - len(found)} more")
    about = f"{review.operation} of {review.type} {where} by {review.user or 'nobody'}"
    _log.log(level, "%s", wire.plain("; ".join([f"{about}: {verdict.outcome}", *found])))
