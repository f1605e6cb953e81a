"""What was done and what was refused, counted, and told to who else counts.

Why: one refused start is an incident of one pod, fifty in an hour are an incident of the
node.  Reasons are the names of our exception tree, so there are only so many.  Metrics hear
of it here, so that no use case has to know of them.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping

from ibdra_domain.tallies import kind_of

DONE = "done"
Observe = Callable[[str, Exception | None], None]
"""Told of each action, and of its error if it failed."""

_log = logging.getLogger(__name__)


class Counts:
    """Counters by action and result; any thread may add.

    ``observers`` are told of each action, in the thread that counts it; one that fails is a
    line in the log, as what is done is done.
    """

    def __init__(self, *observers: Observe) -> None:
        self._counter: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._observers = observers

    def done(self, action: str) -> None:
        """Count an action that went well."""
        self._add(action, None)

    def failed(self, action: str, error: Exception) -> None:
        """Count an action that was refused or failed, by the kind of error."""
        self._add(action, error)

    def all(self) -> Mapping[tuple[str, str], int]:
        """Give every counter: (action, "done" or the error's name) -> how often."""
        with self._lock:
            return dict(self._counter)

    def __str__(self) -> str:
        """Say it in one line: ``attach done 12, attach AttachRefused 1``."""
        found = sorted(self.all().items())
        return ", ".join(f"{a} {r} {n}" for (a, r), n in found) or "nothing"

    def _add(self, action: str, error: Exception | None) -> None:
        with self._lock:
            self._counter[action, DONE if error is None else kind_of(error)] += 1
        for observe in self._observers:
            try:
                observe(action, error)
            except Exception:  # noqa: BLE001 -- whoever counts has no say in what is done
                _log.exception("%s was not counted by %r", action, observe)
