"""The node agent from start to stop: what comes before what, and what ends with what.

Why: the order is what keeps promises.  First what a crash left is put right, then the
machine must isolate as demanded and have its VFs, then the hook is answered, and only then
the kubelet is told that there is a driver: it would call at once.  Until the isolation is
as demanded the node is not ready, and says so again and again; nothing is attached
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Protocol

from ibdra_app.forgetting import Forgetting
from ibdra_app.isolation import ensure_isolation
from ibdra_app.recovery import Recovery
from ibdra_app.reporting import Reporting
from ibdra_app.watching import Watching
from ibdra_domain.errors import IsolationRefused, KernelRefused, StateFailed
from ibdra_domain.hardware import IsolationDemand
from ibdra_domain.ports.instances import Arrivals, Succession
from ibdra_domain.ports.netlink import RdmaDevices

_log = logging.getLogger(__name__)

ARRIVED_EVERY = 1.0
"""Seconds between two looks at whether this agent serves the node."""

ASK_AGAIN = 10.0
"""Seconds between two tries to get the isolation mode that is demanded."""


class Service(Protocol):
    """Something that is served from start to stop: the hook's socket, the kubelet's."""

    async def start(self) -> None:
        """Serve, or raise with nothing left behind."""

    async def stop(self) -> None:
        """End serving; calls under way get their grace."""


class Daemon:
    """Runs the driver on a node.

    ``provision`` makes the VFs that are wanted.  ``hook`` and ``plugin`` are served in this
    order, and stopped in the other; ``probes``, if any, answer from before all else.
    ``arrivals`` tells other instances of this one until ``serves`` says that it serves.
    """

    def __init__(
        self,
        *,
        recovery: Recovery,
        watching: Watching,
        forgetting: Forgetting,
        provision: Callable[[], None],
        rdma: RdmaDevices,
        demand: IsolationDemand,
        reporting: Reporting,
        succession: Succession,
        arrivals: Arrivals,
        serves: Callable[[], bool],
        hook: Service,
        plugin: Service,
        probes: Service | None = None,
    ) -> None:
        self._recovery = recovery
        self._watching = watching
        self._forgetting = forgetting
        self._provision = provision
        self._rdma = rdma
        self._demand = demand
        self._reporting = reporting
        self._succession = succession
        self._arrivals = arrivals
        self._serves = serves
        self._services = (hook, plugin)
        self._probes = probes
        self.ready = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.

        Raises IbdraError if something cannot be started at all; whatever was started is
        stopped then.  Devices in use stay where they are, and slices stay published.
        """
        async with AsyncExitStack() as stack:
            self._arrivals.announce()
            stack.callback(self._arrivals.settle)
            if self._probes is not None:
                await self._probes.start()
                stack.push_async_callback(self._probes.stop)
            await asyncio.to_thread(self._recovery.run)
            await asyncio.to_thread(self._recovery.forget_orphans)
            if not await self._isolated(stop):
                return
            await asyncio.to_thread(self._provision)
            self._succession.enter()
            stack.callback(self._succession.leave)
            self._reporting.start()
            stack.push_async_callback(asyncio.to_thread, self._reporting.stop)
            for service in self._services:
                await service.start()
                stack.push_async_callback(service.stop)
            # Slices come last: a pod that is scheduled now finds a driver that is registered.
            watcher = asyncio.create_task(self._watching.run(), name="ibdra-watching")
            stack.push_async_callback(_ended, watcher)
            forgetting = asyncio.create_task(self._forgetting.run(), name="ibdra-forgetting")
            stack.push_async_callback(_ended, forgetting)
            arriving = asyncio.create_task(self._arrive(), name="ibdra-arriving")
            stack.push_async_callback(_ended, arriving)
            self.ready.set()
            _log.info("ready")
            await _first_of(stop, watcher, forgetting)
            _log.info("stopping")
            self.ready.clear()

    async def _arrive(self) -> None:
        """Wait until this agent serves the node, and let an older one know."""
        while not self._serves():  # noqa: ASYNC110 -- slices and kubelet have no common event
            await asyncio.sleep(ARRIVED_EVERY)
        try:
            self._arrivals.settle()
        except StateFailed as error:  # the older one waits on; nothing else suffers
            _log.warning("not told to an older instance: %s", error)

    async def _isolated(self, stop: asyncio.Event) -> bool:
        """Wait until the machine isolates as demanded; False if it is to stop before that."""
        while not stop.is_set():
            try:
                await asyncio.to_thread(ensure_isolation, self._demand, self._rdma)
            except (IsolationRefused, KernelRefused) as error:
                if self._demand is IsolationDemand.AUTO:  # no RDMA here, or not yet
                    _log.warning("RDMA isolation is unknown: %s", error)
                    return True
                _log.error("not ready: %s", error)
            else:
                return True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN):
                    await stop.wait()
        return False


async def _first_of(stop: asyncio.Event, *tasks: asyncio.Task[None]) -> None:
    """Wait for the stop; a task that fails ends the daemon, with its error."""
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        waiting.cancel()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
