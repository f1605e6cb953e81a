"""What was done and what was refused, counted.

Why: one refused start is an incident of one pod, fifty in an hour are an incident of the
node.  Reasons are the names of our exception tree, so there are only so many.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping

DONE = "done"


class Counts:
    """Counters by action and result; any thread may add."""

    def __init__(self) -> None:
        self._counter: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def done(self, action: str) -> None:
        """Count an action that went well."""
        self._add(action, DONE)

    def failed(self, action: str, error: Exception) -> None:
        """Count an action that was refused or failed, by the kind of error."""
        self._add(action, type(error).__name__)

    def all(self) -> Mapping[tuple[str, str], int]:
        """Give every counter: (action, "done" or the error's name) -> how often."""
        with self._lock:
            return dict(self._counter)

    def __str__(self) -> str:
        """Say it in one line: ``attach done 12, attach AttachRefused 1``."""
        found = sorted(self.all().items())
        return ", ".join(f"{a} {r} {n}" for (a, r), n in found) or "nothing"

    def _add(self, action: str, result: str) -> None:
        with self._lock:
            self._counter[action, result] += 1
