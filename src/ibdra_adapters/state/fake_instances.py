"""Processes of the driver on one node, in memory: who shares a list is on one node."""

from __future__ import annotations

import threading


class FakeTurn:
    """Fulfils NodeTurn."""

    def __init__(self, node: list[FakeTurn | threading.Lock]) -> None:
        self._node = node
        if not node:
            node.append(threading.Lock())

    def take(self) -> bool:
        """Fulfil the port."""
        lock = self._node[0]
        if isinstance(lock, FakeTurn):
            raise TypeError("a node's list begins with its lock")
        lock.acquire()
        another = self._node[1:] != [self]
        self._node[1:] = [self]
        return another

    def give(self) -> None:
        """Fulfil the port."""
        lock = self._node[0]
        if not isinstance(lock, FakeTurn) and lock.locked() and self._node[1:] == [self]:
            lock.release()


class FakeArrivals:
    """Fulfils Arrivals."""

    def __init__(self, node: list[FakeArrivals]) -> None:
        self._node = node

    def announce(self) -> None:
        """Fulfil the port."""
        if self not in self._node:
            self._node.append(self)

    def another(self) -> bool:
        """Fulfil the port."""
        return any(one is not self for one in self._node)

    def settle(self) -> None:
        """Fulfil the port."""
        if self in self._node:
            self._node.remove(self)


class FakeSuccession:
    """Fulfils Succession."""

    def __init__(self, node: list[FakeSuccession]) -> None:
        self._node = node

    def enter(self) -> None:
        """Fulfil the port."""
        if self not in self._node:
            self._node.append(self)

    def leads(self) -> bool:
        """Fulfil the port."""
        return self._node[-1:] == [self]

    def others(self) -> int:
        """Fulfil the port."""
        return sum(other is not self for other in self._node)

    def leave(self) -> None:
        """Fulfil the port."""
        if self in self._node:
            self._node.remove(self)
