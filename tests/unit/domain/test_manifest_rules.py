"""Where IbConfigs and selectors stand in an object, and what is wrong there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.manifest_rules import (
    RequestedDevices,
    Selection,
    findings_in,
    format_path,
    ib_configs,
    is_ours,
    requests_of,
    selections_of,
)

Json = dict[str, Any]
GOOD: Json = {"apiVersion": "ib.resource.sigs.k8s.io/v1alpha1", "kind": "IbConfig", "mtu": 4096}
BAD: Json = {**GOOD, "mtu": 9000, "trafficclass": 1}
OURS = {"opaque": {"driver": "ib.sigs.k8s.io", "parameters": GOOD}}
THEIRS = {"opaque": {"driver": "gpu.example.com", "parameters": {"anything": ["goes"]}}}
RIGHT = 'device.attributes["ib.sigs.k8s.io"].type == "VF"'
WRONG = "device.attributes['type'].stringValue == 'VF'"


def cel(expression: str) -> list[Json]:
    return [{"cel": {"expression": expression}}]


def exact(expression: str = RIGHT, **fields: object) -> Json:
    return {"deviceClassName": "vf", "selectors": cel(expression), **fields}


def claim(*requests: Json, config: list[Json] | None = None, version: str = "v1") -> Json:
    devices: Json = {"requests": list(requests)}
    if config is not None:
        devices["config"] = config
    return {
        "apiVersion": f"resource.k8s.io/{version}",
        "kind": "ResourceClaim",
        "spec": {"devices": devices},
    }


def template(*requests: Json, config: list[Json] | None = None, version: str = "v1") -> Json:
    spec = claim(*requests, config=config, version=version)["spec"]
    return {
        "apiVersion": f"resource.k8s.io/{version}",
        "kind": "ResourceClaimTemplate",
        "spec": {"spec": spec},
    }


def device_class(expression: str = RIGHT, *, config: list[Json] | None = None) -> Json:
    spec: Json = {"selectors": cel(expression)}
    if config is not None:
        spec["config"] = config
    return {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "spec": spec}


@pytest.mark.parametrize("kind", ["ResourceClaim", "ResourceClaimTemplate", "DeviceClass"])
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1beta2"])
def test_knows_its_objects(kind: str, version: str) -> None:
    """Three kinds in three versions can carry an IbConfig or a selector."""
    assert is_ours({"apiVersion": f"resource.k8s.io/{version}", "kind": kind})


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [
        ("v1", "Pod"),
        ("resource.k8s.io/v1", "ResourceSlice"),
        ("example.com/v1", "ResourceClaim"),
        ("resource.k8s.io/v1", ["ResourceClaim"]),
        (None, None),
    ],
)
def test_leaves_other_objects_alone(api_version: object, kind: object) -> None:
    """Other kinds and groups are none of our business."""
    assert not is_ours({"apiVersion": api_version, "kind": kind})
    assert not is_ours({})


@pytest.mark.parametrize("api_version", ["resource.k8s.io/v2", "resource.k8s.io"])
@pytest.mark.parametrize("kind", ["ResourceClaim", "ResourceClaimTemplate", "DeviceClass"])
def test_an_unknown_version_is_a_finding(kind: str, api_version: str) -> None:
    """It is one of our objects, and nobody can tell where an IbConfig stands in it."""
    body = claim(config=[OURS]) | {"apiVersion": api_version, "kind": kind}
    assert is_ours(body)
    (finding,) = findings_in(body)
    assert "apiVersion" == format_path(finding.path)
    assert "is not known to this driver" in finding.problem


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (claim(config=[THEIRS, OURS]), "spec.devices.config[1].opaque.parameters"),
        (template(config=[THEIRS, OURS]), "spec.spec.devices.config[1].opaque.parameters"),
        (device_class(config=[THEIRS, OURS]), "spec.config[1].opaque.parameters"),
    ],
    ids=["claim", "template", "class"],
)
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1beta2"])
def test_finds_our_configs_alone(body: Json, path: str, version: str) -> None:
    """Only parameters addressed to the driver are given, with their exact path."""
    body = body | {"apiVersion": f"resource.k8s.io/{version}"}
    assert [(path, GOOD)] == [(format_path(p), found) for p, found in ib_configs(body)]
    assert [] == list(findings_in(body))


def test_another_driver_may_be_asked_for() -> None:
    """The driver's name is a parameter, for drivers built on this library."""
    found = list(ib_configs(claim(config=[THEIRS, OURS]), driver="gpu.example.com"))
    assert [{"anything": ["goes"]}] == [parameters for _, parameters in found]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (
            claim({"name": "r", "exactly": exact()}),
            "spec.devices.requests[0].exactly.selectors[0].cel.expression",
        ),
        (
            claim({"name": "r", "exactly": exact()}, version="v1beta2"),
            "spec.devices.requests[0].exactly.selectors[0].cel.expression",
        ),
        (
            claim({"name": "r", **exact()}, version="v1beta1"),
            "spec.devices.requests[0].selectors[0].cel.expression",
        ),
        (
            template({"name": "r", "exactly": exact()}),
            "spec.spec.devices.requests[0].exactly.selectors[0].cel.expression",
        ),
        (
            template({"name": "r", **exact()}, version="v1beta1"),
            "spec.spec.devices.requests[0].selectors[0].cel.expression",
        ),
    ],
    ids=["v1", "v1beta2", "v1beta1", "template", "template-v1beta1"],
)
def test_reads_requests_of_every_version(body: Json, path: str) -> None:
    """A request is the same whether or not its version wraps it in ``exactly``."""
    (request,) = requests_of(body)
    assert ("r", "vf", 1, False) == (
        request.name,
        request.device_class,
        request.count,
        request.all_devices,
    )
    assert [(path, RIGHT)] == [(format_path(s.path), s.expression) for s in request.selections]
    assert list(request.selections) == list(selections_of(body))


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1beta2"])
def test_reads_alternatives(version: str) -> None:
    """Each alternative is a request of its own, named as Kubernetes names it."""
    first = {"name": "fast", **exact("true")}
    second = {"name": "any", **exact("false", count=2)}
    body = claim({"name": "r", "firstAvailable": [first, second]}, version=version)
    base = ("spec", "devices", "requests", 0, "firstAvailable")
    assert [
        RequestedDevices(
            name="r/fast",
            device_class="vf",
            count=1,
            all_devices=False,
            selections=(
                Selection(path=(*base, 0, "selectors", 0, "cel", "expression"), expression="true"),
            ),
        ),
        RequestedDevices(
            name="r/any",
            device_class="vf",
            count=2,
            all_devices=False,
            selections=(
                Selection(path=(*base, 1, "selectors", 0, "cel", "expression"), expression="false"),
            ),
        ),
    ] == list(requests_of(body))


def test_reads_count_and_mode() -> None:
    """How many is asked for, and whether all; a count that is no number is left for the API."""
    body = claim(
        {"name": "two", "exactly": exact(count=2)},
        {"name": "all", "exactly": exact(allocationMode="All")},
        {"name": "odd", "exactly": exact(count="three")},
    )
    assert [("two", 2, False), ("all", 1, True), ("odd", 1, False)] == [
        (r.name, r.count, r.all_devices) for r in requests_of(body)
    ]


def test_a_class_has_selectors_and_no_requests() -> None:
    """A DeviceClass' expressions are found, and it asks for nothing."""
    assert [("spec.selectors[0].cel.expression", RIGHT)] == [
        (format_path(s.path), s.expression) for s in selections_of(device_class())
    ]
    assert [] == list(requests_of(device_class()))


def test_names_every_problem_of_a_config() -> None:
    """Each wrong field of an IbConfig is a finding of its own, at its own path."""
    bad = {"opaque": {"driver": "ib.sigs.k8s.io", "parameters": BAD}}
    findings = list(findings_in(template(config=[OURS, bad])))
    base = "spec.spec.devices.config[1].opaque.parameters"
    assert [
        (f"{base}.mtu", "mtu 9000 is not an InfiniBand MTU"),
        (f"{base}.trafficclass", "'trafficclass' is not a field of IbConfig"),
    ] == [(format_path(f.path), f.problem) for f in findings]
    assert all(f.remedy for f in findings)


@pytest.mark.parametrize("parameters", [None, [], "text", 5, True])
def test_parameters_that_are_no_object_are_a_finding(parameters: object) -> None:
    """The whole document is at fault, and the path is the document's."""
    bad = {"opaque": {"driver": "ib.sigs.k8s.io", "parameters": parameters}}
    (finding,) = findings_in(claim(config=[bad]))
    assert "spec.devices.config[0].opaque.parameters" == format_path(finding.path)
    assert "not an object" in finding.problem


def test_explains_selectors_in_the_wrong_form() -> None:
    """Advice stands at the expression, for claims and classes alike."""
    of_claim = list(findings_in(claim({"name": "r", "exactly": exact(WRONG)})))
    of_class = list(findings_in(device_class(WRONG)))
    where = "spec.devices.requests[0].exactly.selectors[0].cel.expression"
    assert [where] * 2 == [format_path(f.path) for f in of_claim]
    assert ["spec.selectors[0].cel.expression"] * 2 == [format_path(f.path) for f in of_class]
    assert [(f.problem, f.remedy) for f in of_claim] == [(f.problem, f.remedy) for f in of_class]
    assert of_claim[0].remedy == 'write device.attributes["ib.sigs.k8s.io"].type'


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec",), "spec"),
        (("spec", "config", 0, "opaque"), "spec.config[0].opaque"),
        ((0, "a"), "[0].a"),
        (("a", "b.c", "", "ä"), "a['b.c']['']['ä']"),
        (("a", "b\nc"), r"a['b\nc']"),
        (("a", "x" * 300), f"a['{'x' * 40}']"),
    ],
)
def test_writes_paths_as_the_api_server_does(path: tuple[str | int, ...], text: str) -> None:
    """Fields are joined by dots, indexes stand in brackets."""
    assert text == format_path(path)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KEYS = [
    "spec",
    "devices",
    "requests",
    "exactly",
    "firstAvailable",
    "name",
    "count",
    "selectors",
    "cel",
    "expression",
    "config",
    "opaque",
    "driver",
    "parameters",
    "allocationMode",
    "deviceClassName",
    "apiVersion",
    "kind",
    "mtu",
    "pkey",
]
BODIES = st.recursive(
    JSON_VALUES | st.sampled_from(["ib.sigs.k8s.io", "ResourceClaim", WRONG]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, min_size=1, max_size=4)
    ),
    max_leaves=20,
)


def look_at(body: Json) -> None:
    is_ours(body)
    list(ib_configs(body))
    list(requests_of(body))
    list(selections_of(body))
    for finding in findings_in(body):
        format_path(finding.path)


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "spec"]), JSON_VALUES | BODIES))
def test_no_body_is_too_odd(body: Json) -> None:
    """Whatever JSON stands in the object's own fields, looking at it never raises."""
    look_at(body)


@given(
    kind=st.sampled_from(["ResourceClaim", "ResourceClaimTemplate", "DeviceClass"]),
    devices=BODIES,
)
def test_no_spec_is_too_odd(kind: str, devices: object) -> None:
    """Whatever JSON stands where requests and configs belong, looking at it never raises."""
    for spec in (devices, {"devices": devices}, {"spec": {"devices": devices}}):
        look_at({"apiVersion": "resource.k8s.io/v1", "kind": kind, "spec": spec})


@given(entry=BODIES, kind=st.sampled_from(["requests", "config"]))
def test_no_entry_is_too_odd(entry: object, kind: str) -> None:
    """Whatever stands for one request or config, the others are still found."""
    body = claim({"name": "r", "exactly": exact()}, config=[OURS])
    body["spec"]["devices"][kind].append(entry)
    look_at(body)
    assert "r" == next(iter(requests_of(body))).name
    assert GOOD == next(iter(ib_configs(body)))[1]
