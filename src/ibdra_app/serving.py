"""A driver on its node from start to stop: registered, and its slices as its devices are.

Why: what every driver's program does, and gets wrong in its own way.  The kubelet deletes
a node's slices when it starts, the API server may be away for a while, and in a rolling
update two processes must not write over each other, nor answer each other without end where
they do.  For drivers whose devices are found by looking; our own has events of the kernel's
too, in ``daemon``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ibdra_app.kube_ports import KubePorts
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_app.slice_watching import SliceWatching
from ibdra_domain.errors import IbdraError
from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.instances import Succession

if TYPE_CHECKING:
    from ibdra_adapters.kubelet import KubeletPlugin

_log = logging.getLogger(__name__)

LOOK_EVERY = 30.0
AGAIN = 1.0
BURST = 0.1
LONGEST_BURST = 1.0
"""Seconds: between two looks, until the first new try after one that failed, and from somebody's
change of a slice to the look that puts it right: at first, and while such changes never end."""


async def serve(
    plugin: KubeletPlugin,
    *,
    look: Callable[[], Sequence[Device]],
    kube: KubePorts,
    node: str,
    stop: asyncio.Event | None = None,
    succession: Succession | None = None,
) -> None:
    """Serve a driver until ``stop`` is set; without one, until SIGTERM or SIGINT.

    Parameters
    ----------
    plugin:
        The driver for the kubelet, not started yet.
    look:
        Gives the devices there are now; called in a thread, now and then, and once more
        after an IbdraError.
    kube, node:
        The driver's ports of the API server, and the node that it is on.
    succession:
        In a rolling update: only the process that leads publishes.

    Raises KubeletFailed if the plugin cannot be started.  Slices stay published at the end.
    """
    publisher = SlicePublisher(
        slices=kube.slices, nodes=kube.nodes, driver=plugin.driver_name, node=node
    )
    watching = SliceWatching(slices=kube.slices, publisher=publisher)
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def keep() -> bool:
        """Look and publish once; tells whether that went well."""
        try:
            if succession is None or succession.leads():
                publisher.publish(look())
        except IbdraError as error:
            _log.warning("not published: %s", error)
            return False
        return True

    async with contextlib.AsyncExitStack() as stack:
        if stop is None:
            stop = stack.enter_context(_signalled(loop))
        if succession is not None:
            succession.enter()
            stack.callback(succession.leave)
        await stack.enter_async_context(plugin)
        watching.start(lambda: loop.call_soon_threadsafe(woken.set))
        stack.push_async_callback(asyncio.to_thread, watching.stop)
        pause, burst = AGAIN, BURST
        while not stop.is_set():
            woken.clear()
            went_well = await asyncio.to_thread(keep)
            pause = AGAIN if went_well else min(2 * pause, LOOK_EVERY)
            asleep = loop.time()
            await _one_of(stop, woken, seconds=LOOK_EVERY if went_well else pause)
            if loop.time() - asleep > 2 * LONGEST_BURST:  # who disagrees with us rests as long
                burst = BURST
            if woken.is_set():
                await _one_of(stop, seconds=burst)
                burst = min(2 * burst, LONGEST_BURST)


@contextlib.contextmanager
def _signalled(loop: asyncio.AbstractEventLoop) -> Iterator[asyncio.Event]:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _one_of(*events: asyncio.Event, seconds: float) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
