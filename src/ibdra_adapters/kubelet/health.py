"""The stream in which the kubelet is told how a driver's devices are.

Why: the kubelet writes it into the status of the pods that have the devices.  It wants the
whole list each time, and takes every device for unknown that it has not heard of for a
while: so the list comes at once, at every change, and now and then without one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import grpc

from ibdra_adapters.kubelet import health_wire
from ibdra_adapters.kubelet.health_wire import HealthVersion
from ibdra_domain.ports.driver import DeviceHealth, DeviceHealthSource

LONGEST_SILENCE = 30.0
"""Seconds; half of what the kubelet waits, if that is less."""


class HealthService:
    """Serves DRAResourceHealth in all versions from one source.

    Streams end when :meth:`end` is called, or a server's stop would wait for them.
    """

    def __init__(self, source: DeviceHealthSource) -> None:
        self._source = source
        self._streams: set[asyncio.Event] = set()
        self._ended = False

    @property
    def announced(self) -> tuple[str, ...]:
        """Give the versions as ``supported_versions`` calls them, newest first."""
        return tuple(version.announced for version in health_wire.HEALTH_VERSIONS)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Give what a server serves, from now until the next end."""
        self._ended = False
        return [self._handler(version) for version in health_wire.HEALTH_VERSIONS]

    def end(self) -> None:
        """End all streams, and those to come."""
        self._ended = True
        for woken in self._streams:
            woken.set()

    async def watch(
        self, _request: object, _context: object, *, version: HealthVersion
    ) -> AsyncIterator[Any]:
        """Stream the list until the kubelet hangs up or the service ends."""
        woken, loop = asyncio.Event(), asyncio.get_running_loop()

        def changed() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(woken.set)

        self._streams.add(woken)
        unsubscribe = self._source.subscribe(changed)
        try:
            while not self._ended:
                woken.clear()
                devices = self._source.health()
                yield version.response(devices)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(silence(devices, version=version)):
                        await woken.wait()
        finally:
            unsubscribe()
            self._streams.discard(woken)

    def _handler(self, version: HealthVersion) -> grpc.GenericRpcHandler:
        messages: Any = version.messages
        return grpc.method_handlers_generic_handler(
            version.announced,
            {
                health_wire.WATCH: grpc.unary_stream_rpc_method_handler(
                    partial(self.watch, version=version),
                    request_deserializer=messages.NodeWatchResourcesRequest.FromString,
                    response_serializer=messages.NodeWatchResourcesResponse.SerializeToString,
                )
            },
        )


def silence(devices: Sequence[DeviceHealth], *, version: HealthVersion) -> float:
    """Give the seconds after which the list is told again; v1alpha1 may know no time-outs."""
    default = health_wire.KUBELETS_TIMEOUT
    shortest = min((device.timeout or default for device in devices), default=default)
    if version is health_wire.V1ALPHA1:
        shortest = min(shortest, default)
    return min(shortest / 2, LONGEST_SILENCE)
