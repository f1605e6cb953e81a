"""Specs as ibdra writes them, against the rules of the published specification."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.cdi import (
    CdiDevice,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    Hook,
    Mount,
    check_spec,
    lowest_version,
)
from ibdra_domain.container_edits import HookSettings, to_cdi_spec, to_prepared_devices
from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.preparation import PreparedClaim
from unit.domain.domain_facts import (
    TENANT_PKEY,
    a_char_device,
    a_device,
    a_port,
    a_prepared_claim,
    a_spec,
    a_vf,
    rdma_cm,
)
from unit.domain.domain_strategies import request_names

RULES = json.loads((Path(__file__).parent / "cdi-rules.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(RULES)

VF = a_port(device=a_vf(), request="vf")
CHILD = a_port(
    device=a_vf(),
    request="tenant",
    config=IbConfig(pkey=TENANT_PKEY, traffic_class=106, mtu=2048),
    pkey_index=3,
)
ADMIN = a_port(
    request="look",
    admin=True,
    char_devices=(
        a_char_device(),
        a_char_device(kind=CharDeviceKind.UMAD, name="umad0", minor=0, port=1),
        a_char_device(kind=CharDeviceKind.ISSM, name="issm0", minor=64, port=1),
    ),
)
CLAIMS = {
    "vf": a_prepared_claim(VF),
    "pkey child": a_prepared_claim(CHILD),
    "admin only": a_prepared_claim(ADMIN),
    "mixed": a_prepared_claim(CHILD, ADMIN, a_port(request="whole")),
    "several of one request": a_prepared_claim(
        a_port(device=a_vf()), a_port(device=a_vf(port=2)), a_port(device=a_device(port=2))
    ),
    "no interface": a_prepared_claim(a_port(device=a_vf(netdev=None))),
}


def document(claim: PreparedClaim, *, cm: bool = True) -> dict[str, Any]:
    """Write a claim's file and parse it as a runtime does."""
    nodes = (a_char_device(), rdma_cm()) if cm else (a_char_device(),)
    spec = to_cdi_spec(claim, char_devices=nodes, hook=HookSettings())
    check_spec(spec)
    parsed: dict[str, Any] = json.loads(spec.encode())
    return parsed


def complaints(spec: dict[str, Any]) -> list[str]:
    """Give what the rules have against a spec."""
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(spec)]


def test_the_rules_are_a_schema() -> None:
    """A rule that is misspelt would pass everything."""
    jsonschema.Draft202012Validator.check_schema(RULES)


def objects(schema: Any) -> list[dict[str, Any]]:
    """Find every schema of an object with named fields."""
    inner = schema.values() if isinstance(schema, dict) else schema
    found = [o for part in inner if isinstance(part, dict | list) for o in objects(part)]
    if isinstance(schema, dict) and schema.get("type") == "object":
        found.append(schema)
    return found


def test_no_object_of_the_rules_takes_unknown_fields() -> None:
    """Runtimes refuse a whole spec for one of them."""
    assert 6 == len(objects(RULES))
    assert [False] * 6 == [schema.get("additionalProperties") for schema in objects(RULES)]


@pytest.mark.parametrize("cm", [True, False], ids=["rdma_cm", "no rdma_cm"])
@pytest.mark.parametrize("name", CLAIMS)
def test_a_claims_spec_keeps_the_rules(name: str, *, cm: bool) -> None:
    """Whatever is claimed, the runtime can read it, at the oldest version there is."""
    spec = document(CLAIMS[name], cm=cm)
    assert [] == complaints(spec)
    assert "0.3.0" == spec["cdiVersion"]


@given(request_names.filter(bool), st.booleans())
def test_any_requests_spec_keeps_the_rules(requests: list[str], admin: bool) -> None:  # noqa: FBT001 -- hypothesis gives it by position
    """Request names are the users'; none of them makes a spec that runtimes refuse."""
    claim = a_prepared_claim(
        *(
            a_port(device=a_vf(port=port), request=request, admin=admin)
            for port, request in enumerate(requests, start=1)
        )
    )
    spec = document(claim)
    assert [] == complaints(spec)
    ids = [i for device in to_prepared_devices(claim) for i in device.cdi_ids]
    assert [f"{spec['kind']}={device['name']}" for device in spec["devices"]] == ids


def test_only_what_moves_has_the_hook() -> None:
    """A claim of admin access only changes nothing on the host."""
    hooked = {
        name for name, claim in CLAIMS.items() if "hooks" in document(claim)["containerEdits"]
    }
    assert set(CLAIMS) - {"admin only"} == hooked


def full() -> dict[str, Any]:
    """Write a spec that has everything."""
    edits = ContainerEdits(
        env=("A=1",),
        device_nodes=(DeviceNode(path="/dev/x", major=1, minor=2, host_path="/dev/y"),),
        hooks=(Hook(hook_name="poststop", path="/x", args=("x",), env=("B=",), timeout=1),),
        mounts=(Mount(host_path="/a", container_path="/b", options=("ro",)),),
    )
    spec = a_spec(devices=(CdiDevice(name="0:a", container_edits=edits),), container_edits=edits)
    parsed: dict[str, Any] = json.loads(spec.encode())
    return parsed


def test_a_spec_with_everything_keeps_the_rules() -> None:
    """The rules have every field that can be written."""
    assert [] == complaints(full())


def put(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Give a change of a spec: ``a.0.b`` is set, or removed if the value is ``...``."""

    def change(spec: dict[str, Any]) -> None:
        *path, last = where.split(".")
        inner: Any = spec
        for step in path:
            inner = inner[int(step) if step.isdecimal() else step]
        if value is ...:
            del inner[last]
        elif isinstance(inner, list):
            inner[int(last)] = value
        else:
            inner[last] = value

    return change


EDITS = "containerEdits"
IN_DEVICE = f"devices.0.{EDITS}"
WRONG = [
    ("unknown", 1),
    ("devices.0.unknown", 1),
    (f"{EDITS}.unknown", 1),
    (f"{IN_DEVICE}.unknown", 1),
    (f"{EDITS}.deviceNodes.0.unknown", 1),
    (f"{EDITS}.mounts.0.unknown", 1),
    (f"{EDITS}.hooks.0.unknown", 1),
    ("cdiVersion", ...),
    ("cdiVersion", "0.2.0"),
    ("cdiVersion", "0.3"),
    ("cdiVersion", "v0.3.0"),
    ("kind", ...),
    ("kind", "vendor"),
    ("kind", "vendor/a/b"),
    ("kind", "9/a"),
    ("kind", "vendor/-a"),
    ("devices", []),
    ("devices.0.name", ...),
    ("devices.0.name", ""),
    ("devices.0.name", "a b"),
    ("devices.0.name", "_a"),
    ("devices.0.name", "a_"),
    ("devices.0.name", "a/b"),
    (IN_DEVICE, ...),
    (IN_DEVICE, {}),
    (f"{EDITS}.env.0", "A"),
    (f"{EDITS}.env.0", "=1"),
    (f"{EDITS}.env.0", ""),
    (f"{EDITS}.env.0", 1),
    (f"{EDITS}.deviceNodes.0.path", ...),
    (f"{EDITS}.deviceNodes.0.path", ""),
    (f"{EDITS}.deviceNodes.0.type", "x"),
    (f"{EDITS}.deviceNodes.0.major", "1"),
    (f"{EDITS}.deviceNodes.0.permissions", "rwx"),
    (f"{EDITS}.hooks.0.path", ...),
    (f"{EDITS}.hooks.0.path", "bin/x"),
    (f"{EDITS}.hooks.0.hookName", ...),
    (f"{EDITS}.hooks.0.hookName", "prestop"),
    (f"{EDITS}.hooks.0.env", ["B"]),
    (f"{EDITS}.hooks.0.timeout", 0),
    (f"{EDITS}.mounts.0.hostPath", ...),
    (f"{EDITS}.mounts.0.containerPath", ""),
]


@pytest.mark.parametrize(("where", "value"), WRONG, ids=[f"{w}={v!r}" for w, v in WRONG])
def test_the_rules_refuse_what_a_runtime_would(where: str, value: Any) -> None:
    """One wrong field is one complaint, so the rules are worth keeping."""
    spec = copy.deepcopy(full())
    put(where, value)(spec)
    assert 1 == len(complaints(spec))


# When the fields ibdra writes came into the specification, by its table of versions.
SINCE: dict[type[msgspec.Struct], dict[str, str]] = {
    CdiSpec: dict.fromkeys(("kind", "devices", "containerEdits"), "0.3.0"),
    CdiDevice: dict.fromkeys(("name", "containerEdits"), "0.3.0"),
    ContainerEdits: dict.fromkeys(("env", "deviceNodes", "hooks", "mounts"), "0.3.0"),
    DeviceNode: dict.fromkeys(("path", "type", "major", "minor", "permissions"), "0.3.0")
    | {"hostPath": "0.5.0"},
    Mount: dict.fromkeys(("hostPath", "containerPath", "options"), "0.3.0"),
    Hook: dict.fromkeys(("hookName", "path", "args", "env", "timeout"), "0.3.0"),
}


@pytest.mark.parametrize("kind", SINCE, ids=lambda kind: kind.__name__)
def test_every_field_has_its_version(kind: type[msgspec.Struct]) -> None:
    """A new field must be looked up in the table, and known to ``lowest_version``."""
    assert set(SINCE[kind]) == {field.encode_name for field in msgspec.structs.fields(kind)}


NODE = DeviceNode(path="/dev/x", major=1, minor=2)
HOST_NODE = DeviceNode(path="/dev/x", major=1, minor=2, host_path="/dev/y")
WITH_HOST_PATH = ContainerEdits(device_nodes=(NODE, HOST_NODE))
MOUNTED = ContainerEdits(
    env=("A=1",),
    device_nodes=(NODE,),
    hooks=(Hook(hook_name="createRuntime", path="/x", args=("x",), env=("A=1",), timeout=1),),
    mounts=(Mount(host_path="/a", container_path="/b", options=("ro",)),),
)


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (a_spec(), "0.3.0"),
        (a_spec(kind="a.dotted-vendor_x.example/class"), "0.3.0"),
        (a_spec(container_edits=MOUNTED), "0.3.0"),
        (a_spec(devices=(CdiDevice(name="a0:.b", container_edits=MOUNTED),)), "0.3.0"),
        (a_spec(devices=(CdiDevice(name="0a", container_edits=MOUNTED),)), "0.5.0"),
        (a_spec(container_edits=WITH_HOST_PATH), "0.5.0"),
        (a_spec(devices=(CdiDevice(name="a", container_edits=WITH_HOST_PATH),)), "0.5.0"),
        (a_spec(kind="vendor.example/a.b"), "0.6.0"),
        (a_spec(kind="vendor.example/a.b", container_edits=WITH_HOST_PATH), "0.6.0"),
    ],
)
def test_the_version_is_the_tables(spec: CdiSpec, version: str) -> None:
    """0.5.0: digits first in names, host paths; 0.6.0: dots in classes; all else is older."""
    check_spec(spec)
    assert version == lowest_version(spec)
    assert [] == complaints(json.loads(spec.encode()))
