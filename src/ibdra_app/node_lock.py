"""One lock for a node: its threads and, in a rolling update, the other process too.

Why: a driver decides by what it has written down, and must not decide twice at a time.
While two processes of it serve a node, what the other one wrote counts as well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from ibdra_domain.ports.instances import NodeTurn


class NodeLock:
    """The lock of a node's threads and processes; one thread may enter it again and again."""

    def __init__(self, turn: NodeTurn | None, *, taken: Callable[[], None]) -> None:
        self._turn = turn
        self._taken = taken
        self._threads = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._depth == 0 and self._turn is not None and self._turn.take():
                try:
                    self._taken()
                except BaseException:
                    self._turn.give()
                    raise
        except BaseException:
            self._threads.release()
            raise
        self._depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        try:
            if self._depth == 0 and self._turn is not None:
                self._turn.give()
        finally:
            self._threads.release()
