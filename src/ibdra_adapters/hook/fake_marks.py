"""Marks in memory, under the same contract as the folder."""

from __future__ import annotations

from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.netlink import NetnsId


class FakeMarks:
    """Fulfils the AttachedMarks port; ``broken`` makes every later call fail."""

    def __init__(self) -> None:
        self.marks: dict[str, tuple[NetnsId, str]] = {}
        self.broken = False

    def put(self, claim: str, *, netns: NetnsId, nodes: str) -> None:
        """Fulfil the port."""
        self._check()
        self.marks[claim] = (netns, nodes)

    def remove(self, claim: str) -> None:
        """Fulfil the port."""
        self._check()
        self.marks.pop(claim, None)

    def claims(self) -> tuple[str, ...]:
        """Fulfil the port."""
        self._check()
        return tuple(sorted(self.marks))

    def _check(self) -> None:
        if self.broken:
            raise StateFailed("the fake marks are broken", remedy="mend them")
