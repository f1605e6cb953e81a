"""gRPC's own health service on a TCP port, for the kubelet's probes of the driver's pod.

Why: a probe that runs a command starts a Python; this one is a call.  What "well" means
is the caller's to say: a name and a check for each service.  Whoever asks, and however
often, a check runs once at a time and its answer serves all who ask within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from ibdra_adapters.kubelet._generated import grpc_health_v1_pb2 as health_pb2
from ibdra_adapters.kubelet.undisturbed import undisturbed
from ibdra_domain.errors import IbdraError

_log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[bool]]

FRESH = 1.0
LOOK_EVERY = 5.0
TRY_AGAIN = 5.0
"""Seconds: an answer is given again; between looks for a watcher; until a port may be free."""
_MOST_CALLS = 64
_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Response = health_pb2.HealthCheckResponse


class HealthServer:
    """Answers health checks from start to stop.

    A port that is taken is tried again and again: with the host's network, it is the
    instance that this one follows in a rolling update, which answers for both meanwhile.

    Parameters
    ----------
    address, port:
        Where; an IPv6 address with or without brackets, and port 0 for any free one.
    checks:
        By service; ``""`` is the server as a whole.
    """

    def __init__(self, address: str, port: int, *, checks: Mapping[str, Check]) -> None:
        # A pod's own address, as its environment has it, comes without brackets.
        bare = ":" in address and not address.startswith("[")
        self._target = f"[{address}]:{port}" if bare else f"{address}:{port}"
        self._checks = {name: _Shared(name, check) for name, check in checks.items()}
        self._server: grpc.aio.Server | None = None
        self._trying: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        """Serve, now or when the port is free."""
        self._ended.clear()
        if not await self._serve():
            _log.warning(
                "health checks cannot be answered at %s yet: give another --health-port if no "
                "other instance of the driver has it",
                self._target,
            )
            self._trying = asyncio.create_task(self._try_again(), name="ibdra-health-port")

    async def stop(self) -> None:
        """End serving; who watches is told nothing more."""
        self._ended.set()
        if self._trying is not None:
            self._trying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._trying
            self._trying = None
        if self._server is not None:
            await undisturbed(self._server.stop(0))
            self._server = None

    async def check(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ],
    ) -> health_pb2.HealthCheckResponse:
        """Tell once."""
        check = self._checks.get(request.service)
        if check is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"there is no service {request.service!r} here, but {sorted(self._checks)}",
            )
        return _Response(status=await check.status())

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _context: object
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Tell at once and at every change."""
        check = self._checks.get(request.service)
        if check is None:
            yield _Response(status=_Response.SERVICE_UNKNOWN)
            await self._ended.wait()
            return
        last = None
        while not self._ended.is_set():
            status = await check.status()
            if status != last:
                last = status
                yield _Response(status=status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._ended.wait()

    async def _serve(self) -> bool:
        # Without so_reuseport: two instances would share the port, and the probes.
        server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0)], maximum_concurrent_rpcs=_MOST_CALLS
        )
        server.add_generic_rpc_handlers([self._handler()])
        try:
            self.port = server.add_insecure_port(self._target)
        except RuntimeError as error:
            _log.debug("%s: %s", self._target, error)
            await undisturbed(server.stop(None))
            return False
        await undisturbed(server.start())
        self._server = server
        _log.info("health checks are answered at %s", self._target)
        return True

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(TRY_AGAIN)
            if await self._serve():
                return

    def _handler(self) -> grpc.GenericRpcHandler:
        kinds: dict[str, Any] = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": _Response.SerializeToString,
        }
        return grpc.method_handlers_generic_handler(
            _SERVICE,
            {
                "Check": grpc.unary_unary_rpc_method_handler(self.check, **kinds),
                "Watch": grpc.unary_stream_rpc_method_handler(self.watch, **kinds),
            },
        )


class _Shared:
    """A check that runs once at a time, for all who ask."""

    def __init__(self, name: str, check: Check) -> None:
        self._name = name
        self._check = check
        self._run: asyncio.Task[health_pb2.HealthCheckResponse.ServingStatus] | None = None
        self._until = 0.0

    async def status(self) -> health_pb2.HealthCheckResponse.ServingStatus:
        """Give the answer there is, or find a new one."""
        if self._run is None or (self._run.done() and time.monotonic() >= self._until):
            self._run = asyncio.create_task(self._ask())
        return await asyncio.shield(self._run)

    async def _ask(self) -> health_pb2.HealthCheckResponse.ServingStatus:
        try:
            serving = await self._check()
        except IbdraError as error:
            _log.warning("%s check failed: %s", self._name or "health", error)
            serving = False
        except Exception:  # noqa: BLE001 - a bug in a check is a check that fails
            _log.exception("%s check failed", self._name or "health")
            serving = False
        self._until = time.monotonic() + FRESH
        return _Response.SERVING if serving else _Response.NOT_SERVING
