"""Waiting for the kernel: woken by what happens, with a deadline, and never longer asleep.

Why: a device comes home from a dead namespace when the kernel gets to it, about a tenth of
a second later.  Sleeping that long is too long or too short; the kernel's own events say
when to look again.  Not every change has an event on every kernel, so a slow look is the
safety net.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ibdra_domain.ports.events import Events

_log = logging.getLogger(__name__)

LONGEST_SLEEP = 0.5
"""Seconds after which it is looked again, whatever the events say."""


class Waiter:
    """Waits for anything to change, until patience is over; a context manager.

    Parameters
    ----------
    watch:
        Opens the machine's events; called at the first wait only.
    clock:
        Seconds, monotonic.
    patience:
        Seconds in all; with 0, :meth:`wait` is never worth it.
    """

    def __init__(
        self, *, watch: Callable[[], Events], clock: Callable[[], float], patience: float
    ) -> None:
        self._watch = watch
        self._clock = clock
        self._patience = patience
        self._events: Events | None = None
        self._until = 0.0

    def wait(self) -> bool:
        """Wait; tells whether to look again.

        The first call returns at once: what is waited for may have happened before
        anybody listened.  Raises KernelRefused if there are no events to listen to.
        """
        if self._patience <= 0:
            return False
        if self._events is None:
            self._events = self._watch()
            self._until = self._clock() + self._patience
            return True
        left = self._until - self._clock()
        if left <= 0:
            return False
        for change in self._events.wait(min(left, LONGEST_SLEEP)):
            _log.debug("woken by %s: %s", change.source, change.detail)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
