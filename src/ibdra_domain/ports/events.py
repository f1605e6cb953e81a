"""Why: a port that goes down, or a device that comes home, should be seen when it happens."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from ibdra_domain.identifiers import PciAddress


class EventSource(StrEnum):
    """Who noticed a change."""

    UEVENT = "uevent"
    LINK = "link"
    RDMA = "rdma"
    VERBS = "verbs"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something about RDMA hardware changed: look again.

    ``function`` is None where the source does not say which; ``detail`` is for the log.
    """

    source: EventSource
    detail: str
    function: PciAddress | None = None


class Events(Protocol):
    """One stream of all that happens, from the moment it was opened."""

    def fileno(self) -> int:
        """Give a descriptor that is readable when there is something to take."""

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Wait until something has come, at most ``timeout`` seconds, and take it.

        Nothing means that the time is over.  A lost event (the kernel's
        buffer ran over) comes as a Change without a function.
        """

    def close(self) -> None:
        """Stop listening; a second call does nothing."""
