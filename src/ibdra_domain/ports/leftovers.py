"""Why: a driver that is removed must not leave a socket that a kubelet goes on dialling."""

from __future__ import annotations

from typing import Protocol


class Leftovers(Protocol):
    """The driver's files on a node that are no claim's: program, sockets, locks, folders."""

    def found(self) -> tuple[str, ...]:
        """List them in the order in which they go: a folder after what is in it.

        A folder that has anything else in it is not listed, nor one that is mounted here.
        Raises StateFailed.
        """

    def remove(self, path: str) -> None:
        """Remove one, or an empty folder; gone is a success.  Raises StateFailed."""
