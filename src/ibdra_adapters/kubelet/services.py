"""The gRPC services a kubelet calls: registration, and DRAPlugin in two versions.

Why: this is gRPC and only gRPC; what to answer is decided in
:mod:`ibdra_adapters.kubelet.answers` and spelt in :mod:`ibdra_adapters.kubelet.wire`.  The
services are generic handlers, so there is no generated service code that refuses to load
with another grpcio.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any, TypeVar

import grpc

from ibdra_adapters.kubelet import answers, wire
from ibdra_adapters.kubelet._generated import dra_v1_pb2
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_domain.ports.driver import ClaimRef, DraDriver

AnswerT = TypeVar("AnswerT")

_log = logging.getLogger(__name__)

Observe = Callable[[str, float, int], None]
"""Told of a call: its method, the seconds it took, how many of its claims failed."""


class RegistrationService:
    """Say who we are, and remember what the kubelet made of it.

    Parameters
    ----------
    driver_name:
        As ResourceClaims and DeviceClasses write it.
    endpoint:
        The DRA service's socket, as the kubelet sees it.
    also:
        Versions of other services at that socket, newest first.
    """

    def __init__(self, driver_name: str, *, endpoint: str, also: Iterable[str] = ()) -> None:
        self._driver_name = driver_name
        self._endpoint = endpoint
        self._versions = [*(version.announced for version in wire.DRA_VERSIONS), *also]
        self.registered = asyncio.Event()
        self.refusal: str | None = None

    def handler(self) -> grpc.GenericRpcHandler:
        """Give what a server serves."""
        return grpc.method_handlers_generic_handler(
            wire.REGISTRATION,
            {
                wire.GET_INFO: grpc.unary_unary_rpc_method_handler(
                    self.get_info,
                    request_deserializer=registration_pb2.InfoRequest.FromString,
                    response_serializer=registration_pb2.PluginInfo.SerializeToString,
                ),
                wire.NOTIFY: grpc.unary_unary_rpc_method_handler(
                    self.notify,
                    request_deserializer=registration_pb2.RegistrationStatus.FromString,
                    response_serializer=registration_pb2.RegistrationStatusResponse.SerializeToString,
                ),
            },
        )

    async def get_info(
        self, _request: registration_pb2.InfoRequest, _context: object
    ) -> registration_pb2.PluginInfo:
        """Introduce the plugin."""
        return registration_pb2.PluginInfo(
            type=wire.PLUGIN_TYPE,
            name=self._driver_name,
            endpoint=self._endpoint,
            supported_versions=self._versions,
        )

    async def notify(
        self, status: registration_pb2.RegistrationStatus, _context: object
    ) -> registration_pb2.RegistrationStatusResponse:
        """Record the kubelet's verdict; it tries again by itself after a refusal."""
        if status.plugin_registered:
            self.refusal = None
            self.registered.set()
            _log.info("kubelet registered driver %s", self._driver_name)
        else:
            self.refusal = status.error or "the kubelet gave no reason"
            self.registered.clear()
            _log.error("kubelet refused driver %s: %s", self._driver_name, self.refusal)
        return registration_pb2.RegistrationStatusResponse()


class DraService:
    """One version of DRAPlugin on top of a driver.

    The driver blocks on hardware, files and other people's servers, so it is called in the
    threads of ``workers``, which nothing else should need.  A call that the kubelet gives up
    stops being awaited: one that has begun the driver finishes all the same, one that waits
    for a thread never begins.  A call without claims needs no thread.  ``observe`` is told of
    each call: its method, the seconds it took, and how many of its claims failed.
    """

    def __init__(
        self,
        driver: DraDriver,
        *,
        version: wire.DraVersion,
        workers: Executor,
        observe: Observe | None = None,
    ) -> None:
        self._driver = driver
        self._version = version
        self._workers = workers
        self._observe = observe

    def handler(self) -> grpc.GenericRpcHandler:
        """Give what a server serves."""
        messages: Any = self._version.messages
        return grpc.method_handlers_generic_handler(
            self._version.service,
            {
                wire.PREPARE: grpc.unary_unary_rpc_method_handler(
                    self.prepare,
                    request_deserializer=messages.NodePrepareResourcesRequest.FromString,
                    response_serializer=messages.NodePrepareResourcesResponse.SerializeToString,
                ),
                wire.UNPREPARE: grpc.unary_unary_rpc_method_handler(
                    self.unprepare,
                    request_deserializer=messages.NodeUnprepareResourcesRequest.FromString,
                    response_serializer=messages.NodeUnprepareResourcesResponse.SerializeToString,
                ),
            },
        )

    async def prepare(
        self, request: dra_v1_pb2.NodePrepareResourcesRequest, _context: object
    ) -> dra_v1_pb2.NodePrepareResourcesResponse:
        """Prepare the claims of one pod."""
        claims = wire.read_claims(request)
        started = time.monotonic()
        given = await self._ask(answers.prepare, claims)
        failed = sum(isinstance(answer, str) for answer in given.values())
        self._tell(wire.PREPARE, since=started, failed=failed)
        return self._version.prepare_response(given)

    async def unprepare(
        self, request: dra_v1_pb2.NodeUnprepareResourcesRequest, _context: object
    ) -> dra_v1_pb2.NodeUnprepareResourcesResponse:
        """Unprepare the claims of one pod."""
        claims = wire.read_claims(request)
        started = time.monotonic()
        given = await self._ask(answers.unprepare, claims)
        failed = sum(answer is not None for answer in given.values())
        self._tell(wire.UNPREPARE, since=started, failed=failed)
        return self._version.unprepare_response(given)

    async def _ask(
        self,
        answer: Callable[[DraDriver, Sequence[ClaimRef]], dict[str, AnswerT]],
        claims: Sequence[ClaimRef],
    ) -> dict[str, AnswerT]:
        """Have claims answered in a thread, with a context of its own."""
        if not claims:
            return {}
        call = partial(contextvars.copy_context().run, answer, self._driver, claims)
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)

    def _tell(self, method: str, *, since: float, failed: int) -> None:
        if self._observe is not None:
            self._observe(method, time.monotonic() - since, failed)
