"""Where in a Kubernetes object IbConfigs and CEL selectors stand, and what is wrong there.

Why: ``ibdra validate`` and the webhook look at the same objects and must say the same of
them, down to the field's path (one rule set, D7).  Other drivers' parameters and objects
of other kinds are none of our business.

Source: ``resource.k8s.io`` v1, v1beta2 and v1beta1 (where a request has no ``exactly``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ibdra_domain.ib_config import problems_of
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.selectors import advice_on
from ibdra_domain.strict_json import FieldPath

GROUP = "resource.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1beta2")
KINDS = ("DeviceClass", "ResourceClaim", "ResourceClaimTemplate")
_CLAIM_SPECS: dict[str, FieldPath] = {
    "ResourceClaim": ("spec", "devices"),
    "ResourceClaimTemplate": ("spec", "spec", "devices"),
}
_PLAIN_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}", re.ASCII)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong in an object, and what to do about it."""

    path: FieldPath
    problem: str
    remedy: str


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """A CEL expression and the request or class it belongs to."""

    path: FieldPath
    expression: str


class RequestedDevices(msgspec.Struct, frozen=True, kw_only=True):
    """One request (or alternative) of a claim."""

    name: str
    device_class: str
    count: int
    all_devices: bool
    admin: bool = False
    selections: tuple[Selection, ...]


def is_ours(body: Mapping[str, Any]) -> bool:
    """Tell the objects that can carry an IbConfig or a selector, whatever their version."""
    group, _, _ = str(body.get("apiVersion", "")).partition("/")
    return group == GROUP and str(body.get("kind")) in KINDS


def ib_configs(
    body: Mapping[str, Any], *, driver: str = DRIVER_NAME
) -> Iterator[tuple[FieldPath, Any]]:
    """Give the path and content of every parameter document addressed to our driver."""
    for path, entry in _our_configs(body, driver):
        yield (*path, "opaque", "parameters"), entry["opaque"].get("parameters")


def requests_of(body: Mapping[str, Any]) -> Iterator[RequestedDevices]:
    """Give a claim's or template's requests, alternatives as ``request/alternative``."""
    if str(body.get("kind")) not in _CLAIM_SPECS:
        return
    requests, path = _at(body, (*devices_path(body), "requests"))
    for index, request in enumerate(_list(requests)):
        if not isinstance(request, Mapping):
            continue
        here, name = (*path, index), str(request.get("name", ""))
        alternatives = _list(request.get("firstAvailable"))
        if isinstance(request.get("exactly"), Mapping):
            yield _request(name, request["exactly"], (*here, "exactly"))
        elif alternatives:
            for number, alternative in enumerate(alternatives):
                if isinstance(alternative, Mapping):
                    full = f"{name}/{alternative.get('name', '')}"
                    yield _request(full, alternative, (*here, "firstAvailable", number))
        else:
            yield _request(name, request, here)


def selections_of(body: Mapping[str, Any]) -> Iterator[Selection]:
    """Give every CEL expression of an object."""
    if body.get("kind") == "DeviceClass":
        spec = body.get("spec")
        if isinstance(spec, Mapping):
            yield from _selections(spec, ("spec",))
    for request in requests_of(body):
        yield from request.selections


def findings_in(body: Mapping[str, Any]) -> Iterator[Finding]:
    """List what is wrong in an object of ours, without knowing the node."""
    yield from config_findings(body)
    for selection in selections_of(body):
        yield from advice_at(selection)


def config_findings(body: Mapping[str, Any]) -> Iterator[Finding]:
    """List what would have a node refuse an object's IbConfigs; all there is but for selectors.

    In a version that is not known, nobody can tell where they stand.
    """
    version = str(body.get("apiVersion", "")).partition("/")[2]
    if version not in VERSIONS:
        yield Finding(
            path=("apiVersion",),
            problem=f"version {version[:40]!r} of {GROUP} is not known to this driver",
            remedy=f"use {', '.join(VERSIONS)}, or a driver that knows it",
        )
        return
    for path, parameters in ib_configs(body):
        for problem in problems_of(parameters):
            yield Finding(
                path=(*path, problem.field) if problem.field else path,
                problem=problem.problem,
                remedy=problem.remedy,
            )
    yield from _configs_of_admin_requests(body)


def advice_at(selection: Selection) -> Iterator[Finding]:
    """Say what can never work in a selector."""
    for advice in advice_on(selection.expression, driver=DRIVER_NAME):
        problem, _, remedy = advice.partition(": ")
        yield Finding(path=selection.path, problem=problem, remedy=remedy)


def _configs_of_admin_requests(body: Mapping[str, Any]) -> Iterator[Finding]:
    """Find IbConfigs that name a request with admin access: they could only be ignored."""
    admins = {request.name for request in requests_of(body) if request.admin}
    admins |= {name.split("/", 1)[0] for name in admins}
    for path, requests in _scopes(body):
        for index, name in enumerate(requests):
            if isinstance(name, str) and name in admins:
                yield Finding(
                    path=(*path, "requests", index),
                    problem=f"request {name[:128]} has admin access, "
                    "which changes nothing on the device",
                    remedy="remove it from the IbConfig's requests",
                )


def _scopes(body: Mapping[str, Any]) -> Iterator[tuple[FieldPath, Sequence[Any]]]:
    """Give the path of each config that is ours, and the requests it names."""
    for path, entry in _our_configs(body, DRIVER_NAME):
        yield path, _list(entry.get("requests"))


def _our_configs(
    body: Mapping[str, Any], driver: str
) -> Iterator[tuple[FieldPath, Mapping[str, Any]]]:
    entries, path = _at(body, (*devices_path(body), "config"))
    for index, entry in enumerate(_list(entries)):
        opaque = entry.get("opaque") if isinstance(entry, Mapping) else None
        if isinstance(opaque, Mapping) and opaque.get("driver") == driver:
            yield (*path, index), entry


def format_path(path: FieldPath) -> str:
    """Write a path as the API server does: ``spec.devices.config[0].opaque``.

    A field that could not be one of Kubernetes' stands in brackets, quoted and cut short.
    """
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_FIELD.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step[:40]!r}]"
    return text


def _request(name: str, body: Mapping[str, Any], path: FieldPath) -> RequestedDevices:
    count = body.get("count", 1)
    return RequestedDevices(
        name=name,
        device_class=str(body.get("deviceClassName", "")),
        count=count if isinstance(count, int) else 1,
        all_devices=body.get("allocationMode") == "All",
        admin=body.get("adminAccess") is True,
        selections=tuple(_selections(body, path)),
    )


def _selections(body: Mapping[str, Any], path: FieldPath) -> Iterator[Selection]:
    for index, selector in enumerate(_list(body.get("selectors"))):
        cel = selector.get("cel") if isinstance(selector, Mapping) else None
        expression = cel.get("expression") if isinstance(cel, Mapping) else None
        if isinstance(expression, str):
            where = (*path, "selectors", index, "cel", "expression")
            yield Selection(path=where, expression=expression)


def devices_path(body: Mapping[str, Any]) -> FieldPath:
    """Give where a body's requests and configs stand."""
    return _CLAIM_SPECS.get(str(body.get("kind")), ("spec",))


def _at(body: Mapping[str, Any], path: FieldPath) -> tuple[Any, FieldPath]:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value, path


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
