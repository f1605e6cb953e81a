"""Marks in memory, under the same contract as the folder."""

from __future__ import annotations

from ibdra_adapters.hook.marks import check_claim, check_nodes
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.netlink import NetnsId


class FakeMarks:
    """Keep marks; ``broken`` makes every later call fail, as a full disk would."""

    def __init__(self) -> None:
        self.marks: dict[str, tuple[NetnsId, str]] = {}
        self.broken = False

    def answers(self, claim: str, *, netns: NetnsId, nodes: str) -> bool:
        """Tell whether the program on the host would say yes without the daemon."""
        return netns.cookie != 0 and self.marks.get(claim) == (netns, nodes)

    def put(self, claim: str, *, netns: NetnsId, nodes: str) -> None:
        """Fulfil the port."""
        self._check()
        check_claim(claim)
        check_nodes(nodes)
        self.marks[claim] = (netns, nodes)

    def remove(self, claim: str) -> None:
        """Fulfil the port."""
        self._check()
        check_claim(claim)
        self.marks.pop(claim, None)

    def claims(self) -> tuple[str, ...]:
        """Fulfil the port."""
        self._check()
        return tuple(sorted(self.marks))

    def clear(self) -> None:
        """Fulfil the port."""
        self._check()
        self.marks.clear()

    def _check(self) -> None:
        if self.broken:
            raise StateFailed("the fake marks' folder is broken", remedy="mend it")
