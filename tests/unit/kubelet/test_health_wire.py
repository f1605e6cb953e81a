"""Devices' health on the wire, against bytes written by hand."""

from __future__ import annotations

import pytest

from ibdra_adapters.kubelet import health_wire
from ibdra_adapters.kubelet._generated import grpc_health_v1_pb2 as grpc_health_pb2
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus

DEVICE = DeviceHealth(
    pool="node",
    device="dev",
    status=HealthStatus.UNHEALTHY,
    message="down",
    updated=100,
    timeout=60,
)


def text(number: int, payload: bytes) -> bytes:
    """Encode a length-delimited field; all lengths are short."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def number(field: int, value: int) -> bytes:
    """Encode a small number."""
    return bytes([field << 3, value])


@pytest.mark.parametrize("version", health_wire.HEALTH_VERSIONS, ids=lambda v: v.announced)
def test_a_list_has_the_kubelets_field_numbers(version: health_wire.HealthVersion) -> None:
    """In both versions: device 1 (pool 1, name 2), health 2, time 3, time-out 4, message 5."""
    expected = text(
        1,
        text(1, text(1, b"node") + text(2, b"dev"))
        + number(2, 2)
        + number(3, 100)
        + number(4, 60)
        + text(5, b"down"),
    )
    response = version.response([DEVICE])
    assert expected == response.SerializeToString(deterministic=True)
    assert (DEVICE,) == health_wire.read_health(response)
    service = version.messages.DESCRIPTOR.services_by_name["DRAResourceHealth"]
    assert version.announced == service.full_name
    assert [health_wire.WATCH] == [method.name for method in service.methods]


def test_probes_have_grpcs_numbers() -> None:
    """A request names the service in field 1, an answer's status is field 1."""
    request = grpc_health_pb2.HealthCheckRequest(service="liveness")
    assert text(1, b"liveness") == request.SerializeToString()
    statuses = grpc_health_pb2.HealthCheckResponse.ServingStatus.items()
    assert [
        ("UNKNOWN", 0),
        ("SERVING", 1),
        ("NOT_SERVING", 2),
        ("SERVICE_UNKNOWN", 3),
    ] == statuses
    answer = grpc_health_pb2.HealthCheckResponse(status="NOT_SERVING")
    assert number(1, 2) == answer.SerializeToString()
    service = grpc_health_pb2.DESCRIPTOR.services_by_name["Health"]
    assert "grpc.health.v1.Health" == service.full_name
