"""Where in a Kubernetes object IbConfigs and CEL selectors stand, and what is wrong there.

Why: ``ibdra validate`` and the webhook look at the same objects and must say the same of
them, down to the field's path (one rule set, D7).  Other drivers' parameters and objects
of other kinds are none of our business.

Source: ``resource.k8s.io`` v1, v1beta2 and v1beta1 (where a request has no ``exactly``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ibdra_domain.ib_config import ib_config_problems
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.selectors import advice_on

FieldPath = tuple[str | int, ...]

GROUP = "resource.k8s.io"
VERSIONS = ("v1", "v1beta1", "v1beta2")
_CLAIM_SPECS: dict[str, FieldPath] = {
    "ResourceClaim": ("spec", "devices"),
    "ResourceClaimTemplate": ("spec", "spec", "devices"),
}


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
    """Tell the objects that can carry an IbConfig or a selector."""
    group, _, version = str(body.get("apiVersion", "")).partition("/")
    kind = str(body.get("kind"))
    return (
        group == GROUP and version in VERSIONS and (kind in _CLAIM_SPECS or kind == "DeviceClass")
    )


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
    requests, path = _at(body, (*_devices_path(body), "requests"))
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
    for path, parameters in ib_configs(body):
        for problem in ib_config_problems(parameters):
            yield Finding(
                path=(*path, problem.field) if problem.field else path,
                problem=problem.problem,
                remedy=problem.remedy,
            )
    yield from _configs_of_admin_requests(body)
    for selection in selections_of(body):
        for advice in advice_on(selection.expression, driver=DRIVER_NAME):
            problem_text, _, remedy = advice.partition(": ")
            yield Finding(path=selection.path, problem=problem_text, remedy=remedy)


def _configs_of_admin_requests(body: Mapping[str, Any]) -> Iterator[Finding]:
    """Find IbConfigs that name a request with admin access: they could only be ignored."""
    admins = {r.name.split("/", 1)[0] for r in requests_of(body) if r.admin}
    admins |= {r.name for r in requests_of(body) if r.admin}
    for path, requests in _scopes(body):
        for index, name in enumerate(requests):
            if name in admins:
                yield Finding(
                    path=(*path, "requests", index),
                    problem=f"request {name} has admin access, which changes nothing on the device",
                    remedy="remove it from the IbConfig's requests",
                )


def _scopes(body: Mapping[str, Any]) -> Iterator[tuple[FieldPath, Sequence[Any]]]:
    """Give the path of each config that is ours, and the requests it names."""
    for path, entry in _our_configs(body, DRIVER_NAME):
        yield path, _list(entry.get("requests"))


def _our_configs(
    body: Mapping[str, Any], driver: str
) -> Iterator[tuple[FieldPath, Mapping[str, Any]]]:
    entries, path = _at(body, (*_devices_path(body), "config"))
    for index, entry in enumerate(_list(entries)):
        opaque = entry.get("opaque") if isinstance(entry, Mapping) else None
        if isinstance(opaque, Mapping) and opaque.get("driver") == driver:
            yield (*path, index), entry


def format_path(path: FieldPath) -> str:
    """Write a path as the API server does: ``spec.devices.config[0].opaque``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
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


def _devices_path(body: Mapping[str, Any]) -> FieldPath:
    return _CLAIM_SPECS.get(str(body.get("kind")), ("spec",))


def _at(body: Mapping[str, Any], path: FieldPath) -> tuple[Any, FieldPath]:
    value: Any = body
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value, path


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
