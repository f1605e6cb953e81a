"""Whatever happens to the hardware: look again, bring home what is over, publish the rest.

Why: a device comes home from a dead pod, a port goes down, a VF appears, and nobody calls
us for it.  The kernel's events and the devices' own say when to look; a slow poll is the
safety net, soon again is better than late where something is still on its way, and what has
been calm for long enough is due by itself.  The first event of a burst waits a moment for
the others, so that a burst is one look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing

from ibdra_app.detaching import Detaching
from ibdra_app.device_watches import DeviceWatches
from ibdra_app.monitoring import Monitoring
from ibdra_app.publishing import Publishing
from ibdra_app.slice_watching import SliceWatching
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.instances import Succession
from ibdra_domain.ports.metrics import NodeMetrics

_log = logging.getLogger(__name__)

SLOW_POLL = 30.0
SOON = 0.5
BURST = 0.1
LONGEST_BURST = 1.0
"""Seconds: between looks without any event; twice this where something is not right yet,
longer each time; after the first event of a burst; and while events never end."""


class Watching:
    """Keeps the node and its slices as the hardware is, until cancelled."""

    def __init__(
        self,
        *,
        detaching: Detaching,
        specs: SpecUpkeep,
        publishing: Publishing,
        monitoring: Monitoring,
        watch: Callable[[], Events],
        devices: DeviceWatches,
        slices: SliceWatching,
        succession: Succession,
        metrics: NodeMetrics,
    ) -> None:
        self._detaching = detaching
        self._specs = specs
        self._publishing = publishing
        self._monitoring = monitoring
        self._watch = watch
        self._devices = devices
        self._slices = slices
        self._succession = succession
        self._metrics = metrics

    async def run(self) -> None:
        """Look at once, and then whenever something happened."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        pause, burst = SOON, BURST
        with closing(await asyncio.to_thread(self._watch)) as events, closing(self._devices):
            wakers = [_Waker(source, woken) for source in (events, self._devices)]
            self._slices.start(lambda: loop.call_soon_threadsafe(woken.set))
            try:
                while True:
                    for waker in wakers:
                        waker.arm()
                    settled = await asyncio.to_thread(self.look)
                    pause = SLOW_POLL if settled else min(2 * pause, SLOW_POLL)
                    due = self._monitoring.due()
                    asleep = loop.time()
                    await _one_of(woken, pause if due is None else min(pause, due))
                    pause = SOON if settled else pause
                    if loop.time() - asleep > LONGEST_BURST:
                        burst = BURST
                    if woken.is_set():
                        await asyncio.sleep(burst)
                        burst = min(2 * burst, LONGEST_BURST)
                    woken.clear()
                    for waker in wakers:
                        for change in await asyncio.to_thread(waker.source.wait, 0):
                            _log.debug("%s: %s", change.source, change.detail)
            finally:
                for waker in wakers:
                    waker.disarm()
                self._slices.stop()

    def look(self) -> bool:
        """Do it once; tells whether all is as it should be."""
        settled = self._detaching.bring_home()
        self._specs.keep_unhooked()
        try:
            inventory = self._publishing.look()
            self._devices.follow(inventory.devices)
            self._metrics.inventory(inventory)
            if self._succession.leads():  # in a rolling update the newer one publishes
                self._metrics.published(self._publishing.write(inventory))
        except IbdraError as error:
            _log.warning("not published: %s", error)
            settled = False
        return settled


class _Waker:
    """Sets an event once when a source has something; a source stays readable until read."""

    def __init__(self, source: Events, woken: asyncio.Event) -> None:
        self.source = source
        self._woken = woken
        self._loop = asyncio.get_running_loop()

    def arm(self) -> None:
        self._loop.add_reader(self.source.fileno(), self._wake)

    def disarm(self) -> None:
        self._loop.remove_reader(self.source.fileno())

    def _wake(self) -> None:
        self.disarm()
        self._woken.set()


async def _one_of(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
