"""A driver's presence on a node: two sockets, served from start to stop.

Why: the order matters.  The kubelet dials the DRA socket as soon as it has found the
registration socket, so that one comes last and goes first.  Its folders are sometimes
wiped under running drivers (a node that is set up anew, a tidy colleague): a kubelet that
starts afterwards would never find us, so sockets that are gone are served again.

Calls of the driver have threads of their own: they wait for locks and for the API server,
and must not keep the rest of the process waiting for a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from ibdra_adapters.kubelet import self_test, sockets, wire
from ibdra_adapters.kubelet.health import HealthService
from ibdra_adapters.kubelet.services import DraService, Observe, RegistrationService
from ibdra_adapters.kubelet.undisturbed import undisturbed
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import DeviceHealthSource, DraDriver

_log = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds that calls under way get at stop; a pod's default grace period is 30."""

CALLS = 64
"""Calls of the driver at a time; further ones wait."""

LOOK = 5.0
"""Seconds between two looks at whether the sockets are still there."""


class KubeletPlugin:
    """Serve a driver to the kubelet.

    Use it as an async context manager, or call :meth:`start` and :meth:`stop`.

    Parameters
    ----------
    driver_name:
        As ResourceClaims and DeviceClasses write it.
    driver:
        Does the work; called from worker threads, at most 64 at once.
    kubelet_dir:
        The kubelet's folder, as this process sees it.
    instance:
        Tells this instance's sockets from those of another one that runs at the same
        time in a rolling update, best the pod's UID.
    endpoint:
        The DRA socket as the kubelet sees it, where its folder is mounted elsewhere in
        our container.
    health:
        Knows how the devices are; without it the kubelet is not told of that service.

    observe:
        Told of each call of the kubelet's: its method, the seconds it took, and how many of
        its claims failed.

    Raises InvalidIdentifier for bad names, and KubeletFailed for paths that are too long.
    """

    def __init__(
        self,
        driver_name: str,
        driver: DraDriver,
        *,
        kubelet_dir: Path = sockets.KUBELET_DIR,
        instance: str | None = None,
        endpoint: Path | None = None,
        health: DeviceHealthSource | None = None,
        observe: Observe | None = None,
    ) -> None:
        self.driver_name = driver_name
        self.paths = sockets.SocketPaths.of(driver_name, kubelet_dir=kubelet_dir, instance=instance)
        self.endpoint = endpoint or self.paths.plugin
        sockets.check_length(self.endpoint)
        self._driver = driver
        self._observe = observe
        self._health = HealthService(health) if health is not None else None
        self._registration = RegistrationService(
            driver_name,
            endpoint=str(self.endpoint),
            also=self._health.announced if self._health else (),
        )
        self._listeners: list[_Listener] = []
        self._workers: ThreadPoolExecutor | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def registered(self) -> asyncio.Event:
        """Set while the kubelet's last word was that it took the plugin."""
        return self._registration.registered

    @property
    def refusal(self) -> str | None:
        """Why the kubelet did not take the plugin, if that was its last word."""
        return self._registration.refusal

    @property
    def is_registered(self) -> bool:
        """Whether the kubelet's last word was that it took the plugin."""
        return self.registered.is_set()

    @property
    def serving(self) -> bool:
        """Whether its sockets should answer, also while they cannot be put back in place."""
        return self._keeper is not None

    async def ask(self, *, deadline: float) -> None:
        """Ask itself over both sockets, as the kubelet would.  Raises KubeletFailed."""
        await self_test.ask(self.paths, driver_name=self.driver_name, deadline=deadline)

    async def start(self) -> None:
        """Serve both sockets.  Raises KubeletFailed, with nothing left behind."""
        if self._listeners:
            raise KubeletFailed(
                f"the kubelet plugin of {self.driver_name} cannot be started, it runs already",
                remedy="stop it first",
            )
        workers = ThreadPoolExecutor(CALLS, thread_name_prefix="ibdra-kubelet")
        try:
            await self._serve(workers)
        except BaseException:
            _let_go(workers)
            raise
        self._workers = workers
        self._keeper = asyncio.create_task(self._keep(workers), name="ibdra-kubelet-sockets")

    async def _serve(self, workers: Executor) -> None:
        dra = [
            DraService(
                self._driver, version=version, workers=workers, observe=self._observe
            ).handler()
            for version in wire.DRA_VERSIONS
        ]
        dra += self._health.handlers() if self._health else []
        try:
            self._listeners.append(await _listen(self.paths.plugin, handlers=dra))
            self._listeners.append(
                await _listen(self.paths.registration, handlers=[self._registration.handler()])
            )
        except BaseException:  # a cancelled start leaves nothing behind either
            await self._close(0)
            raise

    async def _keep(self, workers: Executor) -> None:
        """Serve anew when somebody has removed a socket; another's in its place is left alone."""
        while True:
            await asyncio.sleep(LOOK)
            if self._listeners and all(listener.is_found() for listener in self._listeners):
                continue
            _log.warning("the kubelet's sockets of %s are gone: serving again", self.driver_name)
            try:
                await self._close(GRACE)
                await self._serve(workers)
            except KubeletFailed as error:
                _log.warning("not served: %s", error)

    async def stop(self, grace: float = GRACE) -> None:
        """Remove both sockets and end serving; calls under way get ``grace`` seconds.

        The thread of one that takes longer is left to end by itself.  Stopping what does not
        run is no error.
        """
        if self._health is not None:
            self._health.end()
        keeper, self._keeper = self._keeper, None
        workers, self._workers = self._workers, None
        if keeper is not None:
            keeper.cancel()  # before the first await: it must not serve what we close
        try:
            await self._close(grace)
            if keeper is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await keeper
        finally:
            if workers is not None:
                _let_go(workers)

    async def _close(self, grace: float) -> None:
        async with AsyncExitStack() as stack:  # last in, first out, whatever fails
            for listener in self._listeners:
                stack.push_async_callback(listener.close, grace)
            self._listeners = []
            self.registered.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()


def _let_go(workers: Executor) -> None:
    """Begin nothing more; what is being done ends by itself."""
    workers.shutdown(wait=False, cancel_futures=True)


class _Listener:
    """A server and the socket it is found at."""

    def __init__(self, server: grpc.aio.Server, *, socket: sockets.PublishedSocket) -> None:
        self._server = server
        self._socket = socket

    def is_found(self) -> bool:
        """Tell whether anything lies where the kubelet looks."""
        return os.path.lexists(self._socket.path)

    async def close(self, grace: float) -> None:
        """Take the socket away, then let calls under way finish."""
        try:
            self._socket.remove()
        finally:
            await undisturbed(self._server.stop(grace))


async def _listen(path: Path, *, handlers: Sequence[grpc.GenericRpcHandler]) -> _Listener:
    """Serve at a hidden path until everything stands, then publish it."""
    sockets.prepare_folder(path.parent)
    hidden = sockets.hidden_name(path)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    try:
        server.add_insecure_port(wire.address(hidden))
        await undisturbed(server.start())
        return _Listener(server, socket=sockets.publish(hidden, path))
    except RuntimeError as error:
        await undisturbed(server.stop(None))
        raise KubeletFailed(
            f"socket {path} cannot be served, {error}",
            remedy="check that its folder is writable and on a file system that has sockets",
        ) from error
    except BaseException:  # a server that nobody holds must not go on serving
        await undisturbed(server.stop(None))
        raise
