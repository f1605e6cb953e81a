"""Why: what the driver has done must survive its death, or a device is lost in a dead pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import msgspec

RecordT = TypeVar("RecordT")


class Loaded(msgspec.Struct, Generic[RecordT], frozen=True):
    """All records by key; the keys that were set aside as corrupt, now or before, and why.

    ``warnings`` has a line about each that was set aside now.
    """

    records: Mapping[str, RecordT]
    warnings: tuple[str, ...] = ()
    set_aside: frozenset[str] = frozenset()


class StateStore(Protocol[RecordT]):
    """Records by key, durable one by one.  Every method raises StateFailed."""

    def load(self) -> Loaded[RecordT]:
        """Read everything.  A corrupt record is set aside, named and left out."""

    def save(self, key: str, record: RecordT) -> None:
        """Make a record durable before returning; whole or not at all."""

    def remove(self, key: str) -> None:
        """Remove a record, durably, and one set aside; none is a success.

        One set aside may have any name; else a name that is no key is StateFailed.
        """
