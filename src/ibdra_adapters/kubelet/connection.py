"""The kubelet's end of a unix socket: one open line, one call, one kind of error.

Why: whatever gRPC makes of a dead driver or a lapsed deadline, the caller gets a
KubeletFailed that says which call it was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
import grpc.aio
import msgspec

from ibdra_adapters.kubelet import health_wire, wire
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import DeviceHealth

_Response = TypeVar("_Response")


class RegisteredPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A driver the kubelet knows, and the versions it will speak with it.

    ``health_version`` is None for a driver that tells nothing of its devices' health.
    """

    driver_name: str
    endpoint: Path
    version: str
    socket: Path
    health_version: str | None = None


class Connection:
    """A registered driver's open line."""

    def __init__(self, plugin: RegisteredPlugin, *, version: wire.DraVersion) -> None:
        self.plugin = plugin
        self.version = version
        self._channel = dial(plugin.endpoint)

    async def call(self, method: str, request: Any, *, deadline: float) -> Any:
        """Call a method of the DRA service."""
        answer: Any = getattr(self.version.messages, f"{method}Response")
        return await call(
            self._channel,
            f"/{self.version.service}/{method}",
            request,
            read=answer.FromString,
            deadline=deadline,
        )

    async def watch_health(
        self, version: health_wire.HealthVersion
    ) -> AsyncGenerator[tuple[DeviceHealth, ...], None]:
        """Read lists until the driver ends the stream."""
        messages: Any = version.messages
        path = f"/{version.announced}/{health_wire.WATCH}"
        method: Any = self._channel.unary_stream(
            path,
            request_serializer=messages.NodeWatchResourcesRequest.SerializeToString,
            response_deserializer=messages.NodeWatchResourcesResponse.FromString,
        )
        stream = method(messages.NodeWatchResourcesRequest())
        try:
            async for response in stream:
                yield health_wire.read_health(response)
        except grpc.aio.AioRpcError as error:
            raise KubeletFailed(
                f"{path} ended, {error.code().name} ({error.details()})",
                remedy="look in the driver's log, and watch again",
            ) from error
        finally:
            stream.cancel()

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()


def dial(socket: Path) -> grpc.aio.Channel:
    """Open a line of its own: gRPC would share one, and its back-off, with an earlier driver."""
    return grpc.aio.insecure_channel(
        wire.address(socket), options=[("grpc.use_local_subchannel_pool", 1)]
    )


async def call(
    channel: grpc.aio.Channel,
    path: str,
    request: Any,
    *,
    read: Callable[[bytes], _Response],
    deadline: float,
) -> _Response:
    """Make one call."""
    method: Any = channel.unary_unary(
        path, request_serializer=type(request).SerializeToString, response_deserializer=read
    )
    try:
        response: _Response = await method(request, timeout=deadline)
    except grpc.aio.AioRpcError as error:
        raise KubeletFailed(
            f"{path} was not answered within {deadline:g} s, "
            f"{error.code().name} ({error.details()})",
            remedy="look in the driver's log, and whether it runs at all",
        ) from error
    return response
