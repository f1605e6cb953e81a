"""One lock for a node: its threads and, in a rolling update, the other process too.

Why: a driver decides by what it has written down, and must not decide twice at a time.
While two processes of it serve a node, what the other one wrote counts as well.  Records
that could not be read after another's turn are in doubt: nobody gets in until they could.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from ibdra_domain.ports.instances import NodeTurn


class NodeLock:
    """The lock of a node's threads and processes; one thread may enter it again and again.

    ``taken`` reads what another process may have written; what it raises keeps out whoever
    wanted to enter, and it is called again at the next try.
    """

    def __init__(self, turn: NodeTurn | None, *, taken: Callable[[], None]) -> None:
        self._turn = turn
        self._taken = taken
        self._is_known = False  # what stands in the records
        self._threads = threading.RLock()
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._depth == 0 and self._turn is not None:
                self._take(self._turn)
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

    def _take(self, turn: NodeTurn) -> None:
        """Take a turn that begins with known records, or none."""
        was_known, self._is_known = self._is_known, False  # until all of this went well
        another = turn.take()
        try:
            if another or not was_known:
                self._taken()
        except BaseException:
            turn.give()
            raise
        self._is_known = True
