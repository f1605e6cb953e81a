"""Why: in a rolling update two processes of the driver serve one node for a while.

They share the records, the devices and the slices; each of these may be touched by one of
them at a time, and what the other has written in between must be known.
"""

from __future__ import annotations

from typing import Protocol


class NodeTurn(Protocol):
    """One process' turn to change the node.  Every method raises StateFailed."""

    def take(self) -> bool:
        """Wait for it; tells whether another process had one since our last."""

    def give(self) -> None:
        """End it."""


class Arrivals(Protocol):
    """Which of a node's processes are starting and cannot serve it yet.

    Every method raises StateFailed.
    """

    def announce(self) -> None:
        """Say that this process is on its way; a second call does nothing."""

    def another(self) -> bool:
        """Tell whether another process is on its way; one that has died is not."""

    def settle(self) -> None:
        """Say that it is there, or has given up; a process that dies does so, too."""


class Succession(Protocol):
    """Which of a node's processes speaks for it: the one that entered last and lives.

    Every method raises StateFailed.
    """

    def enter(self) -> None:
        """Take over from those that are there; a second call does nothing."""

    def leads(self) -> bool:
        """Tell whether no later one is alive; one that has not entered leads nobody."""

    def others(self) -> int:
        """Count the others that are alive; changes nothing."""

    def leave(self) -> None:
        """Step back; a process that dies does so, too."""
