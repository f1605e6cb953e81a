"""Now and then: what was prepared for claims that no longer exist is undone.

Why: the kubelet unprepares what it remembers.  What it forgot, or what another process of
ours wrote down after the unprepare, would hold its device until the next start.
"""

from __future__ import annotations

import asyncio
import logging
import random

from ibdra_app.ledger import Ledger
from ibdra_app.recovery import Recovery
from ibdra_domain.errors import IbdraError

_log = logging.getLogger(__name__)

EVERY = 300.0
"""Seconds between two rounds, more or less: a cluster's nodes do not ask in step."""


class Forgetting:
    """Looks for such claims until it is cancelled."""

    def __init__(self, *, ledger: Ledger, recovery: Recovery) -> None:
        self._ledger = ledger
        self._recovery = recovery

    async def run(self) -> None:
        """Look now and then; the start of the agent has looked already."""
        while True:
            await asyncio.sleep(EVERY * random.uniform(0.8, 1.2))
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Do it once; what goes wrong is told, and tried again the next time."""
        try:
            with self._ledger.lock:
                pass  # the turn: what another process wrote last is known from here on
            self._recovery.forget_orphans()
        except IbdraError as error:
            _log.warning("claims that are gone were not looked for: %s", error)
