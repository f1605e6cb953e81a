"""Whatever happens to the hardware: look again, bring home what is over, publish the rest.

Why: a device comes home from a dead pod, a port goes down, a VF appears, and nobody calls
us for it.  The kernel's events say when to look; a slow poll is the safety net, and soon
again is better than late where something is still on its way.  The first event of a burst
waits a moment for the others, so that a burst is one look.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import closing

from ibdra_app.detaching import Detaching
from ibdra_app.publishing import Publishing
from ibdra_app.slice_watching import SliceWatching
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.instances import Succession

_log = logging.getLogger(__name__)

SLOW_POLL = 30.0
SOON = 0.5
BURST = 0.1
"""Seconds: between looks without any event; twice this where something is not right yet,
longer each time; and after the first event of a burst."""


class Watching:
    """Keeps the node and its slices as the hardware is, until cancelled."""

    def __init__(
        self,
        *,
        detaching: Detaching,
        publishing: Publishing,
        watch: Callable[[], Events],
        slices: SliceWatching,
        succession: Succession,
    ) -> None:
        self._detaching = detaching
        self._publishing = publishing
        self._watch = watch
        self._slices = slices
        self._succession = succession

    async def run(self) -> None:
        """Look at once, and then whenever something happened."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        pause = SOON
        with closing(await asyncio.to_thread(self._watch)) as events:
            loop.add_reader(events.fileno(), woken.set)
            self._slices.start(lambda: loop.call_soon_threadsafe(woken.set))
            try:
                while True:
                    settled = await asyncio.to_thread(self.look)
                    pause = SLOW_POLL if settled else min(2 * pause, SLOW_POLL)
                    await _one_of(woken, pause)
                    pause = SOON if settled else pause
                    if woken.is_set():
                        await asyncio.sleep(BURST)
                    woken.clear()
                    for change in await asyncio.to_thread(events.wait, 0):
                        _log.debug("%s: %s", change.source, change.detail)
            finally:
                loop.remove_reader(events.fileno())
                self._slices.stop()

    def look(self) -> bool:
        """Do it once; tells whether all is as it should be."""
        settled = self._detaching.bring_home()
        try:
            if self._succession.leads():  # in a rolling update the newer one publishes
                self._publishing.publish()
        except IbdraError as error:
            _log.warning("not published: %s", error)
            settled = False
        return settled


async def _one_of(woken: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(woken.wait(), seconds)
    except TimeoutError:
        return
