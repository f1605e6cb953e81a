"""Kubernetes objects as they come from an API server, and as they go to one."""

from __future__ import annotations

import msgspec
import pytest

from ibdra_domain.kube_objects import (
    RESOURCE_API_VERSION,
    Device,
    DeviceAttribute,
    DeviceClass,
    DeviceTaint,
    DeviceToleration,
    ObjectMeta,
    OpaqueConfig,
    ResourceClaim,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

# As an API server of a later version answers: fields we use among others.
CLAIM = b"""{
  "kind": "ResourceClaim", "apiVersion": "resource.k8s.io/v1",
  "metadata": {"name": "fabric", "namespace": "team", "uid": "uid-1", "resourceVersion": "7",
    "creationTimestamp": null, "managedFields": [{"manager": "kubectl"}]},
  "spec": {"devices": {
    "requests": [
      {"name": "hca", "exactly": {"deviceClassName": "ib", "count": 2, "tolerations": [],
        "selectors": [{"cel": {"expression": "true"}}], "allocationMode": "ExactCount"}},
      {"name": "any", "firstAvailable": [{"name": "fast", "deviceClassName": "ib"}]},
      {"name": "look", "exactly": {"deviceClassName": "ib", "adminAccess": true}}],
    "constraints": [{"matchAttribute": "resource.kubernetes.io/numaNode"}],
    "config": [{"requests": ["hca"], "opaque": {"driver": "d", "parameters": {"b": 1, "a": 2}}}]}},
  "status": {
    "reservedFor": [{"resource": "pods", "name": "p", "uid": "pod-1"}],
    "allocation": {"nodeSelector": {}, "devices": {
      "results": [{"request": "hca", "driver": "d", "pool": "n", "device": "x",
        "shareID": "s", "consumedCapacity": {}, "tolerations": []}],
      "config": [{"source": "FromClass", "opaque": {"driver": "d", "parameters": 1}}]}}}}"""


@pytest.fixture
def claim() -> ResourceClaim:
    """Decode the claim above."""
    return msgspec.json.decode(CLAIM, type=ResourceClaim)


def test_a_claims_wish_is_read(claim: ResourceClaim) -> None:
    """Requests, alternatives, constraints and selectors; what we do not know is passed over."""
    wish = claim.spec.devices
    assert ["hca", "any", "look"] == [r.name for r in wish.requests]
    exactly = wish.requests[0].exactly
    assert exactly is not None
    assert ("ib", 2, False) == (exactly.device_class_name, exactly.count, exactly.admin_access)
    assert exactly.selectors[0].cel is not None
    assert "true" == exactly.selectors[0].cel.expression
    assert ["fast"] == [r.name for r in wish.requests[1].first_available]
    assert wish.requests[2].exactly is not None
    assert wish.requests[2].exactly.admin_access
    assert "resource.kubernetes.io/numaNode" == wish.constraints[0].match_attribute


def test_a_claims_allocation_is_read(claim: ResourceClaim) -> None:
    """Results with their share, configs with their source."""
    allocation = claim.status.allocation
    assert allocation is not None
    (result,) = allocation.devices.results
    assert ("hca", "d", "n", "x", "s") == (
        result.request,
        result.driver,
        result.pool,
        result.device,
        result.share_id,
    )
    assert not result.admin_access
    assert ["FromClass"] == [c.source for c in allocation.devices.config]
    assert [("pods", "p", "pod-1")] == [
        (c.resource, c.name, c.uid) for c in claim.status.reserved_for
    ]


def test_opaque_parameters_keep_their_bytes(claim: ResourceClaim) -> None:
    """Order, spelling and duplicates are for whoever owns them to judge."""
    opaque = claim.spec.devices.config[0].opaque
    assert opaque is not None
    assert b'{"b": 1, "a": 2}' == bytes(opaque.parameters)


def test_parameters_that_were_left_out_are_null() -> None:
    """Absent and null say the same."""
    assert b"null" == bytes(OpaqueConfig(driver="d").parameters)


def test_an_empty_object_is_an_unallocated_claim() -> None:
    """Every part may be missing."""
    claim = msgspec.json.decode(b"{}", type=ResourceClaim)
    assert ResourceClaim() == claim
    assert claim.status.allocation is None


def test_a_class_is_read() -> None:
    """With the configuration its claims get."""
    raw = b"""{"metadata": {"name": "ib"}, "spec": {"suitableNodes": {},
        "selectors": [{"cel": {"expression": "x"}}],
        "config": [{"opaque": {"driver": "d", "parameters": {}}}]}}"""
    found = msgspec.json.decode(raw, type=DeviceClass)
    assert "ib" == found.metadata.name
    assert ["d"] == [c.opaque.driver for c in found.spec.config if c.opaque]


@pytest.mark.parametrize(
    ("attribute", "raw", "value"),
    [
        (DeviceAttribute(string="PF"), b'{"string":"PF"}', "PF"),
        (DeviceAttribute(string=""), b'{"string":""}', ""),
        (DeviceAttribute(int_=0), b'{"int":0}', 0),
        (DeviceAttribute(bool_=False), b'{"bool":false}', False),
        (DeviceAttribute(version="1.2.3"), b'{"version":"1.2.3"}', "1.2.3"),
        (DeviceAttribute(), b"{}", None),
    ],
    ids=["string", "empty string", "zero", "false", "version", "none"],
)
def test_an_attribute_is_its_one_field(
    attribute: DeviceAttribute, raw: bytes, value: object
) -> None:
    """Under the API's name; a value that is falsy is a value."""
    assert raw == msgspec.json.encode(attribute)
    assert attribute == msgspec.json.decode(raw, type=DeviceAttribute)
    assert value == attribute.value
    assert type(value) is type(attribute.value)


def test_a_slice_is_written_as_the_api_wants_it() -> None:
    """Type fields first, camelCase, and nothing that is empty."""
    device = Device(name="x", attributes={"port": DeviceAttribute(int_=1)})
    pool = ResourcePool(name="n", generation=3, resource_slice_count=1)
    spec = ResourceSliceSpec(driver="d", pool=pool, node_name="n", devices=(device,))
    body = ResourceSlice(metadata=ObjectMeta(name="0-d-n"), spec=spec).to_builtins()
    assert {
        "apiVersion": RESOURCE_API_VERSION,
        "kind": "ResourceSlice",
        "metadata": {"name": "0-d-n"},
        "spec": {
            "driver": "d",
            "nodeName": "n",
            "pool": {"name": "n", "generation": 3, "resourceSliceCount": 1},
            "devices": [{"name": "x", "attributes": {"port": {"int": 1}}}],
        },
    } == body
    assert ["apiVersion", "kind"] == list(body)[:2]


def test_a_slice_of_another_version_keeps_it() -> None:
    """What was read is written under the same version."""
    pool = ResourcePool(name="n", generation=1, resource_slice_count=1)
    spec = ResourceSliceSpec(driver="d", pool=pool)
    old = ResourceSlice(metadata=ObjectMeta(), spec=spec, api_version="resource.k8s.io/v1beta2")
    assert "resource.k8s.io/v1beta2" == old.to_builtins()["apiVersion"]
    assert old == msgspec.convert(old.to_builtins(), ResourceSlice)


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (DeviceToleration(operator="Exists"), True),
        (DeviceToleration(key="k", operator="Exists"), True),
        (DeviceToleration(key="k", value="v"), True),
        (DeviceToleration(key="k", value="v", effect="NoSchedule"), True),
        (DeviceToleration(key="k", value="v", effect="NoExecute"), False),
        (DeviceToleration(key="k"), False),
        (DeviceToleration(key="k", value="w"), False),
        (DeviceToleration(key="j", operator="Exists"), False),
    ],
    ids=["all", "key", "value", "effect", "other effect", "no value", "other value", "other key"],
)
def test_a_toleration_is_for_certain_taints(
    toleration: DeviceToleration, *, expected: bool
) -> None:
    """Key, value and effect must fit as far as they are given."""
    assert expected == toleration.tolerates(DeviceTaint(key="k", value="v", effect="NoSchedule"))
