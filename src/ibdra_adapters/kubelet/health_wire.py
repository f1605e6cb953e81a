"""Devices' health to and from the kubelet's messages, in both versions.

Why: apart from :mod:`ibdra_adapters.kubelet.wire` because a driver may do without: the
service is optional, for it and for the kubelet.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import msgspec

from ibdra_adapters.kubelet._generated import dra_health_v1_pb2, dra_health_v1alpha1_pb2
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus

WATCH = "NodeWatchResources"
KUBELETS_TIMEOUT = 30
"""Seconds after which a kubelet forgets what it was told, if it is not told otherwise."""

_STATUSES = {
    HealthStatus.UNKNOWN: dra_health_v1_pb2.UNKNOWN,
    HealthStatus.HEALTHY: dra_health_v1_pb2.HEALTHY,
    HealthStatus.UNHEALTHY: dra_health_v1_pb2.UNHEALTHY,
}
_BY_NUMBER = {number: status for status, number in _STATUSES.items()}


class HealthVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the DRAResourceHealth service; the types are v1's, the shapes alike.

    Parameters
    ----------
    announced:
        How ``supported_versions`` calls it, which is also the service's full name.
    messages:
        The generated module.
    """

    announced: str
    messages: ModuleType

    def response(
        self, devices: Iterable[DeviceHealth]
    ) -> dra_health_v1_pb2.NodeWatchResourcesResponse:
        """Write the complete list."""
        response: dra_health_v1_pb2.NodeWatchResourcesResponse = (
            self.messages.NodeWatchResourcesResponse()
        )
        for device in devices:
            sent = response.devices.add(
                health=_STATUSES[device.status],
                last_updated_time=device.updated,
                health_check_timeout_seconds=device.timeout,
                # File names in messages may hold bytes that are no UTF-8.
                message=device.message.encode(errors="backslashreplace").decode(),
            )
            sent.device.pool_name = device.pool
            sent.device.device_name = device.device
        return response


V1 = HealthVersion(announced="v1.DRAResourceHealth", messages=dra_health_v1_pb2)
V1ALPHA1 = HealthVersion(announced="v1alpha1.DRAResourceHealth", messages=dra_health_v1alpha1_pb2)
HEALTH_VERSIONS = (V1, V1ALPHA1)
"""Newest first: the kubelet takes the first one it knows."""


def read_health(
    response: dra_health_v1_pb2.NodeWatchResourcesResponse,
) -> tuple[DeviceHealth, ...]:
    """Read the list; a status that nobody knows yet is unknown."""
    return tuple(
        DeviceHealth(
            pool=sent.device.pool_name,
            device=sent.device.device_name,
            status=_BY_NUMBER.get(sent.health, HealthStatus.UNKNOWN),
            message=sent.message,
            updated=sent.last_updated_time,
            timeout=sent.health_check_timeout_seconds,
        )
        for sent in response.devices
    )
