"""Which prepare calls are under way, and which of their claims were unprepared meanwhile.

Why: the kubelet gives a call up and asks for the opposite, but the thread of the first call
goes on, maybe for minutes, and would prepare what nobody will ever unprepare.  Each call is
known from its very beginning, with all its claims: the last of them has waited longest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class PrepareCall:
    """One call of prepare: its claims, and those of them that it must not prepare any more."""

    def __init__(self, uids: Iterable[str]) -> None:
        self.uids = frozenset(uids)
        self._revoked: set[str] = set()

    def revoke(self, uid: str) -> None:
        """Let it prepare a claim no more."""
        self._revoked.add(uid)

    def is_revoked(self, uid: str) -> bool:
        """Tell whether a claim was unprepared since the call began."""
        return uid in self._revoked


class UnderWay:
    """The calls of prepare that have not ended."""

    def __init__(self) -> None:
        self._calls: set[PrepareCall] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._calls)

    @contextmanager
    def call(self, uids: Iterable[str]) -> Iterator[PrepareCall]:
        """Know a call for as long as it lasts."""
        call = PrepareCall(uids)
        with self._lock:
            self._calls.add(call)
        try:
            yield call
        finally:
            with self._lock:
                self._calls.discard(call)

    def revoke(self, uid: str) -> None:
        """Tell all calls under way that a claim is unprepared; those to come are not told."""
        with self._lock:
            for call in self._calls:
                if uid in call.uids:
                    call.revoke(uid)
