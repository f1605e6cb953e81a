"""IbConfig: what a user may ask of a port, its rules, and which wish wins.

Why: webhook and prepare must refuse the same documents for the same reasons, so there
is one rule set, here.  Decoding is strict (an unknown field is a wish we would silently
ignore, and a pkey ignored is a tenant on the wrong fabric).

Source: D7 of the design; IBA 1.7, 10.9 for partition keys; RFC 4391 for IPoIB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ibdra_domain.errors import InvalidConfig, InvalidJson
from ibdra_domain.identifiers import format_pkey, partition_of
from ibdra_domain.link import IB_MTUS, IPOIB_HEADER
from ibdra_domain.strict_json import TWICE, decode, twice_in

API_GROUP = "ib.resource.sigs.k8s.io"
API_VERSION = f"{API_GROUP}/v1alpha1"
KIND = "IbConfig"


class IbConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks of a port; None means the fabric's or port's own default.

    ``pkey`` is 16 bits with the membership bit, ``traffic_class`` 0 to 255, ``mtu`` the
    InfiniBand MTU in bytes.
    """

    pkey: int | None = None
    traffic_class: int | None = None
    mtu: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with a document: where (path below it), what, and what to do."""

    field: str
    problem: str
    remedy: str


def decode_ib_config(raw: bytes | str) -> IbConfig:
    """Decode the JSON of an opaque configuration's ``parameters``, strictly.

    Raises InvalidConfig that lists every problem found.
    """
    try:
        document = decode(raw)
    except InvalidJson as error:
        raise InvalidConfig(
            f"the IbConfig is {error.problem}", remedy="give one JSON object"
        ) from error
    return ib_config_from(document.value)


def ib_config_from(document: object) -> IbConfig:
    """Turn a decoded document into an IbConfig.  Raises InvalidConfig as above."""
    problems = ib_config_problems(document)
    if problems:
        raise InvalidConfig(
            "; ".join(p.problem for p in problems),
            remedy="; ".join(dict.fromkeys(p.remedy for p in problems)),
            field=problems[0].field,
        )
    assert isinstance(document, Mapping)  # noqa: S101 -- ib_config_problems saw to it
    return IbConfig(
        pkey=document.get("pkey"),
        traffic_class=document.get("trafficClass"),
        mtu=document.get("mtu"),
    )


def ib_config_problems(document: object) -> tuple[Problem, ...]:
    """List everything that is wrong with a decoded document, in reading order."""
    return tuple(problems_of(document))


def problems_of(document: object) -> Iterator[Problem]:
    """Give the same one by one, for who does not want all that a hostile document can hold."""
    if isinstance(document, Mapping):
        yield from _walk(document)
    else:
        yield Problem(
            "",
            f"the parameters are {_kind_of(document)}, not an object",
            f"give an object with apiVersion {API_VERSION} and kind {KIND}",
        )


def _walk(document: Mapping[Any, Any]) -> Iterator[Problem]:
    for path in twice_in(document):
        yield Problem(str(path[0]), f"{str(path[-1])[:40]!r} is given twice", "keep one of the two")
    for field, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        value = document.get(field)
        if value != wanted and value is not TWICE:
            yield Problem(
                field,
                f"{field} is {_kind_of(value)}" if field in document else f"{field} is missing",
                f"write {field}: {wanted}",
            )
    for field, value in document.items():
        if field in ("apiVersion", "kind"):
            continue
        check = _RULES.get(field)
        if check is None:
            name = field if isinstance(field, str) else _kind_of(field)  # YAML has such keys
            yield Problem(
                name,
                f"{name[:40]!r} is not a field of {KIND}",
                f"use {', '.join(_RULES)} (the spelling counts) or remove it",
            )
        elif value is TWICE:
            continue
        elif isinstance(value, bool) or not isinstance(value, int):
            yield Problem(
                field,
                f"{field} is {_kind_of(value)}, not a whole number",
                f"write {field} as a bare number"
                + (", 32769 or (in YAML) 0x8001" if field == "pkey" else ""),
            )
        elif (why := check(value)) is not None:
            yield Problem(field, *why)


def _check_pkey(value: int) -> tuple[str, str] | None:
    if not 0 <= value <= 0xFFFF:
        return f"pkey {_digits(value)} does not fit 16 bits", "use 0x0001-0x7fff or 0x8001-0xffff"
    if partition_of(value) == 0:
        return (
            f"pkey {format_pkey(value)} names partition 0, which is invalid",
            "use 0x0001-0x7fff for limited or 0x8001-0xffff for full membership",
        )
    return None


def _check_traffic_class(value: int) -> tuple[str, str] | None:
    if not 0 <= value <= 255:
        return f"trafficClass {_digits(value)} does not fit 8 bits", "use 0 to 255"
    return None


def _check_mtu(value: int) -> tuple[str, str] | None:
    if value not in IB_MTUS:
        return (
            f"mtu {_digits(value)} is not an InfiniBand MTU",
            f"use one of {', '.join(map(str, IB_MTUS))}"
            f" (the interface gets {IPOIB_HEADER} bytes less: IPoIB's header)",
        )
    return None


_RULES = {"pkey": _check_pkey, "trafficClass": _check_traffic_class, "mtu": _check_mtu}


def merge(configs: Iterable[IbConfig]) -> IbConfig:
    """Merge field by field, the later winning: give class configs first, then the claim's."""
    pkey = traffic_class = mtu = None
    for config in configs:
        pkey = config.pkey if config.pkey is not None else pkey
        traffic_class = config.traffic_class if config.traffic_class is not None else traffic_class
        mtu = config.mtu if config.mtu is not None else mtu
    return IbConfig(pkey=pkey, traffic_class=traffic_class, mtu=mtu)


def _kind_of(value: object) -> str:
    match value:
        case None:
            kind = "null"
        case bool():
            kind = f"the boolean {str(value).lower()}"
        case str():
            kind = f"the text {value[:40]!r}"
        case float():
            kind = f"the fraction {value!r}"
        case int():
            kind = f"the number {_digits(value)}"
        case list():
            kind = "a list"
        case Mapping():
            kind = "an object"
        case _ if value is TWICE:
            kind = "given twice"
        case _:
            kind = f"a {type(value).__name__}"
    return kind


def _digits(value: int) -> str:
    """Write a number, a huge one's beginning only: Python refuses very long decimals."""
    return str(value) if value.bit_length() <= 64 else f"{value:#x}"[:18] + "..."
