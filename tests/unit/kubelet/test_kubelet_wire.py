"""The kubelet protocol on the wire, against bytes written by hand."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message

from ibdra_adapters.kubelet import wire
from ibdra_adapters.kubelet._generated import dra_v1_pb2, dra_v1beta1_pb2
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

CLAIM = ClaimRef(namespace="ns", name="claim", uid="uid-1")
DEVICE = PreparedDevice(requests=("a", "b"), pool="node", device="dev", cdi_ids=("x/y=1", "x/y=2"))
VERSIONS = pytest.mark.parametrize("version", wire.DRA_VERSIONS, ids=lambda v: v.announced)


def field(number: int, payload: bytes | str | bool) -> bytes:  # noqa: FBT001 - a payload's type is its encoding
    """Encode one field: a varint for a bool, else length-delimited; all lengths are short."""
    if isinstance(payload, bool):
        return bytes([number << 3, payload])
    data = payload.encode() if isinstance(payload, str) else payload
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


CLAIM_BYTES = field(1, "ns") + field(2, "uid-1") + field(3, "claim")
DEVICE_BYTES = (
    field(1, "a")
    + field(1, "b")
    + field(2, "node")
    + field(3, "dev")
    + field(4, "x/y=1")
    + field(4, "x/y=2")
)


def entry(value: bytes) -> bytes:
    """Encode a response whose map has one entry, for the claim's UID."""
    return field(1, field(1, "uid-1") + field(2, value))


def both_ways(data: bytes, message: Message) -> None:
    """Check that the bytes read as the message and the message is written as the bytes."""
    assert message == type(message).FromString(data)
    assert data == message.SerializeToString(deterministic=True)


def test_registration_messages_have_the_kubelets_field_numbers() -> None:
    """PluginInfo and RegistrationStatus are read and written as the kubelet does."""
    both_ways(b"", registration_pb2.InfoRequest())
    both_ways(b"", registration_pb2.RegistrationStatusResponse())
    both_ways(
        field(1, "DRAPlugin")
        + field(2, "ib.example.org")
        + field(3, "/k/dra.sock")
        + field(4, "v1.DRAPlugin")
        + field(4, "v1beta1.DRAPlugin"),
        registration_pb2.PluginInfo(
            type="DRAPlugin",
            name="ib.example.org",
            endpoint="/k/dra.sock",
            supported_versions=["v1.DRAPlugin", "v1beta1.DRAPlugin"],
        ),
    )
    both_ways(
        field(1, payload=True) + field(2, "no"),
        registration_pb2.RegistrationStatus(plugin_registered=True, error="no"),
    )


@VERSIONS
def test_requests_have_the_kubelets_field_numbers(version: wire.DraVersion) -> None:
    """Both requests carry claims as namespace 1, uid 2, name 3."""
    both_ways(field(1, CLAIM_BYTES), version.prepare_request([CLAIM]))
    both_ways(field(1, CLAIM_BYTES), version.unprepare_request([CLAIM]))
    assert (CLAIM,) == wire.read_claims(version.prepare_request([CLAIM]))
    assert (CLAIM,) == wire.read_claims(version.unprepare_request([CLAIM]))


@VERSIONS
@pytest.mark.parametrize("share", [None, "", "share-1"])
def test_devices_have_the_kubelets_field_numbers(
    version: wire.DraVersion, share: str | None
) -> None:
    """A device is written whole; its share is on the wire if set, be it empty, else not."""
    device = PreparedDevice(
        requests=DEVICE.requests,
        pool=DEVICE.pool,
        device=DEVICE.device,
        cdi_ids=DEVICE.cdi_ids,
        share_id=share,
    )
    tail = b"" if share is None else field(5, share)
    response = version.prepare_response({"uid-1": (device,)})
    both_ways(entry(field(1, DEVICE_BYTES + tail)), response)
    assert {"uid-1": (device,)} == wire.read_prepared(response)


@VERSIONS
def test_errors_have_the_kubelets_field_numbers(version: wire.DraVersion) -> None:
    """A claim's error is field 2 of a prepare entry and field 1 of an unprepare entry."""
    prepared = version.prepare_response({"uid-1": "broken"})
    both_ways(entry(field(2, "broken")), prepared)
    assert {"uid-1": "broken"} == wire.read_prepared(prepared)
    unprepared = version.unprepare_response({"uid-1": "broken"})
    both_ways(entry(field(1, "broken")), unprepared)
    assert {"uid-1": "broken"} == wire.read_unprepared(unprepared)


@VERSIONS
def test_success_without_content_is_still_an_entry(version: wire.DraVersion) -> None:
    """A claim with no devices, or unprepared, stands in the map with an empty value."""
    assert {"uid-1": ()} == wire.read_prepared(version.prepare_response({"uid-1": ()}))
    assert {"uid-1": None} == wire.read_unprepared(version.unprepare_response({"uid-1": None}))


def test_services_have_the_kubelets_names() -> None:
    """The method paths are the ones the kubelet calls."""
    assert "pluginregistration.Registration" == wire.REGISTRATION
    assert "k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin" == wire.V1.service
    assert "k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin" == wire.V1BETA1.service
    served = [wire.GET_INFO, wire.NOTIFY, wire.PREPARE, wire.UNPREPARE]
    declared = [
        method.name
        for module, name in ((registration_pb2, "Registration"), (dra_v1_pb2, "DRAPlugin"))
        for method in module.DESCRIPTOR.services_by_name[name].methods
    ]
    assert served == declared


def test_both_versions_have_the_same_shape() -> None:
    """What is typed as v1 holds for v1beta1: same messages, fields, numbers and types."""

    def shape(descriptor: FileDescriptor) -> str:
        proto = FileDescriptorProto()
        descriptor.CopyToProto(proto)
        return str(proto).replace("v1beta1", "v1")

    assert shape(dra_v1_pb2.DESCRIPTOR) == shape(dra_v1beta1_pb2.DESCRIPTOR)
