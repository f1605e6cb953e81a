"""Which devices a CEL selector accepts, and advice on selectors that can never match.

Why: a selector in the wrong form passes every check of the API server and then leaves the
pod Pending for ever, with no message that names it.  The wrong forms people write are few
and recognisable.

Source: KEP-4381, "device.attributes" of the CEL environment: first index the domain, then
the attribute, whose value has its native type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.selectors import Selector

_FIRST_INDEX = re.compile(r"""device\.attributes\s*\[\s*(?:'([^']*)'|"([^"]*)")\s*\]""")
_WRAPPED = re.compile(r"\.(?:stringValue|intValue|boolValue|versionValue)\b")
_DOTTED = re.compile(r"device\.attributes\.(\w+)\b(?!\s*\()")  # exists(...) and size() are fine


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a request's selectors say of one device.

    ``accepted`` if all matched; else ``failed`` is the expression that did not, and
    ``error`` the evaluator's reason if it could not even be evaluated.
    """

    device: str
    accepted: bool
    failed: str | None = None
    error: str | None = None


def judge(
    devices: Iterable[Device], selectors: Sequence[tuple[str, Selector]], *, driver: str
) -> tuple[Judgement, ...]:
    """Put each device to the selectors (expression and compiled form), in their order."""
    return tuple(_judge_one(device, selectors, driver) for device in devices)


def _judge_one(device: Device, selectors: Sequence[tuple[str, Selector]], driver: str) -> Judgement:
    for expression, selector in selectors:
        verdict = selector.judge(device, driver=driver)
        if verdict.error is not None or not verdict.matched:
            return Judgement(
                device=device.name, accepted=False, failed=expression, error=verdict.error
            )
    return Judgement(device=device.name, accepted=True)


def advice_on(expression: str, *, driver: str) -> tuple[str, ...]:
    """Say what can never work in an expression, and what to write instead."""
    undotted = [n for n in sorted(domains_named(expression)) if "." not in n]
    found = [
        f"device.attributes[{name!r}] looks for a domain named {name!r}, and there is none: "
        f'write device.attributes["{driver}"].{name}'
        for name in undotted
    ]
    found += [
        f"device.attributes.{match[1]} looks for a domain named {match[1]!r}, and there is none: "
        f'write device.attributes["{driver}"].{match[1]}'
        for match in _DOTTED.finditer(expression)
    ]
    found += [
        f"{match[0]} does not exist, attributes are plain values: write "
        f'device.attributes["{driver}"].type == "VF", without {match[0]}'
        for match in _WRAPPED.finditer(expression)
    ]
    return tuple(dict.fromkeys(found))


def domains_named(expression: str) -> frozenset[str]:
    """List the attribute domains an expression names literally."""
    return frozenset(
        match[1] if match[1] is not None else match[2]
        for match in _FIRST_INDEX.finditer(expression)
    )
