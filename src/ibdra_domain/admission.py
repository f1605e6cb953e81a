"""An admission review in, a verdict out.

Why: an IbConfig that a node would refuse shall be refused when it is written, by the same
rules, while the person who wrote it still looks.  And no more than that: what is not ours
passes, what was stored before passes as long as its spec is not touched, and a doubt about
an object of ours is a refusal.

Source: ``admission.k8s.io/v1`` AdmissionReview; the rules are :mod:`.manifest_rules`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Any

import msgspec

from ibdra_domain.manifest_rules import (
    GROUP,
    KINDS,
    Finding,
    Selection,
    advice_at,
    config_findings,
    devices_path,
    format_path,
    requests_of,
    selections_of,
)
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.strict_json import FieldPath

MOST_PROBLEMS = 128
"""Problems told of one object; a hostile one could hold a million."""

MOST_WARNINGS = 8
OTHER = "other"
_SENDER = "look at what sends it: no API server does"


class Outcome(StrEnum):
    """What becomes of a review."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    UNREADABLE = "unreadable"
    FAILED = "failed"


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What an API server asks about: somebody wants to write ``new`` in place of ``old``.

    Both are decoded objects, None where there is none.  ``twice`` are the paths in the new one
    of keys that it gives more than once.
    """

    uid: str
    group: str
    version: str
    kind: str
    operation: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""
    new: Any = None
    old: Any = None
    twice: tuple[FieldPath, ...] = ()

    @property
    def ours(self) -> bool:
        """Whether it is about a kind of object that can carry an IbConfig."""
        return self.group == GROUP and self.kind in KINDS

    @property
    def label(self) -> str:
        """The kind, of which there are only so many."""
        return self.kind if self.ours else OTHER

    @property
    def type(self) -> str:
        """Group, version and kind, for people."""
        return f"{self.group}/{self.version} {self.kind}" if self.group else self.kind


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.  Problems are there exactly if it is no."""

    outcome: Outcome = Outcome.ALLOWED
    problems: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object may be written."""
        return self.outcome is Outcome.ALLOWED


ALLOWED = Verdict()


def judge(review: Review) -> Verdict:
    """Decide a review.  Whatever stands in it, this does not raise."""
    if not review.ours:
        return _not_ours(review)
    if review.operation in ("DELETE", "CONNECT") or review.subresource == "status":
        return ALLOWED
    if _type_of(review.new) != (f"{review.group}/{review.version}", review.kind):
        return unreadable(
            f"the review is about {review.type[:80]}, its object is something else", _SENDER
        )
    if review.operation == "UPDATE" and _same_spec(review.new, review.old):
        return ALLOWED
    problems = tuple(islice(_problems(review), MOST_PROBLEMS))
    if problems:
        return Verdict(outcome=Outcome.REFUSED, problems=problems)
    return Verdict(warnings=tuple(islice(_warnings(review.new), MOST_WARNINGS)))


def unreadable(problem: str, remedy: str) -> Verdict:
    """Refuse what cannot be judged."""
    finding = Finding(path=(), problem=problem, remedy=remedy)
    return Verdict(outcome=Outcome.UNREADABLE, problems=(finding,))


def failed(error: Exception) -> Verdict:
    """Refuse because of a fault of our own: what was not judged is not let through."""
    finding = Finding(
        path=(),
        problem=f"internal error of the webhook ({type(error).__name__})",
        remedy="look at its log and report it",
    )
    return Verdict(outcome=Outcome.FAILED, problems=(finding,))


def _not_ours(review: Review) -> Verdict:
    """Let it pass, and say that nobody need have asked."""
    api_version, kind = _type_of(review.new)
    if api_version.partition("/")[0] == GROUP and kind in KINDS:
        return unreadable(
            f"the review is about {review.type[:80]}, its object is a {kind}", _SENDER
        )
    return Verdict(
        warnings=(
            f"{review.type[:80]} is none of {DRIVER_NAME}'s business: "
            "take it out of the rules of its webhook configuration",
        )
    )


def _problems(review: Review) -> Iterator[Finding]:
    configs = (*devices_path(review.new), "config")
    for path in review.twice:
        if not _in_parameters(path, configs):  # there they are found, or are another driver's
            yield Finding(
                path=path,
                problem=f"{str(path[-1])[:40]!r} is given twice",
                remedy="keep one of the two",
            )
    yield from config_findings(review.new)


def _in_parameters(path: FieldPath, configs: FieldPath) -> bool:
    """Tell what lies inside the parameters of some driver."""
    size = len(configs)
    return (
        len(path) > size + 3
        and path[:size] == configs
        and path[size + 1 : size + 3] == ("opaque", "parameters")
    )


def _warnings(new: Mapping[str, Any]) -> Iterator[str]:
    for selection in _our_selections(new):
        for advice in advice_at(selection):
            yield f"{format_path(advice.path)}: {advice.problem}: {advice.remedy}"


def _our_selections(new: Mapping[str, Any]) -> Iterator[Selection]:
    """Give the selectors that are meant for our devices, by the classes' names."""
    metadata = new.get("metadata")
    if (
        new.get("kind") == "DeviceClass"
        and isinstance(metadata, Mapping)
        and _our_class(metadata.get("name"))
    ):
        yield from selections_of(new)
    for request in requests_of(new):
        if _our_class(request.device_class):
            yield from request.selections


def _our_class(name: object) -> bool:
    return isinstance(name, str) and f".{name}".endswith(f".{DRIVER_NAME}")


def _type_of(body: object) -> tuple[str, str]:
    if not isinstance(body, Mapping):
        return "", ""
    return str(body.get("apiVersion", "")), str(body.get("kind", ""))


def _same_spec(new: Mapping[str, Any], old: object) -> bool:
    """Tell whether an update leaves the spec alone; to Python true, 1 and 1.0 are one value."""
    if not isinstance(old, Mapping) or _type_of(new) != _type_of(old):
        return False
    try:
        one, other = (json.dumps(body.get("spec"), sort_keys=True) for body in (new, old))
    except (TypeError, ValueError, RecursionError):  # keys given twice, or nested too deeply
        return False
    return one == other
