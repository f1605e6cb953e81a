"""What a node's lock promises about the records, whatever fails on the way to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ibdra_adapters.state.instances import FileTurn
from ibdra_app.node_lock import NodeLock
from ibdra_domain.errors import DeviceRefused, StateFailed
from unit.app.app_node import PF, VF, Node


class Records:
    """What a lock reads again; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.broken = False
        self.read = 0

    def read_again(self) -> None:
        if self.broken:
            raise StateFailed("the records could not be read", remedy="mend it")
        self.read += 1


def enter(lock: NodeLock) -> None:
    with lock:
        pass


def test_records_are_read_at_every_use_until_they_could_be_read(tmp_path: Path) -> None:
    """A failed reading lets nobody in, and the next use does not take it for done."""
    records, others = Records(), Records()
    lock = NodeLock(FileTurn(tmp_path / "turn"), taken=records.read_again)
    other = NodeLock(FileTurn(tmp_path / "turn"), taken=others.read_again)
    enter(lock)
    enter(other)
    records.broken = True
    for _ in range(2):
        with pytest.raises(StateFailed):
            enter(lock)
    assert 1 == records.read
    records.broken = False
    for _ in range(2):
        enter(lock)
    assert 2 == records.read


def test_a_turn_that_fails_halfway_leaves_the_records_in_doubt(tmp_path: Path) -> None:
    """Nobody knows whether it was noted whose turn it was: then the records are read."""

    class Failing(FileTurn):
        fails = False

        def take(self) -> bool:
            another = super().take()
            if self.fails:
                self.give()
                raise StateFailed("the turn could not be locked", remedy="mend it")
            return another

    records, others, turn = Records(), Records(), Failing(tmp_path / "turn")
    lock = NodeLock(turn, taken=records.read_again)
    enter(lock)
    enter(NodeLock(FileTurn(tmp_path / "turn"), taken=others.read_again))
    turn.fails = True
    with pytest.raises(StateFailed):
        enter(lock)
    turn.fails = False
    enter(lock)
    assert 2 == records.read


def spoil(folder: Path) -> Callable[[], None]:
    """Lay a record there that cannot be read, as one on a bad sector; give what removes it."""
    bad = folder / "state" / "unreadable.json"
    bad.symlink_to(bad.name)
    return bad.unlink


def test_after_a_failed_reading_no_hca_gets_a_second_holder(node: Node) -> None:
    """In a rolling update: what the other process gave away is known before anything is given."""
    newer = node.restarted()
    newer.container.recovery().run()
    held, wanted = node.prepared(VF), node.claim(PF)

    mend = spoil(node.folder)
    (answer,) = newer.prepare(wanted)
    assert isinstance(answer, StateFailed)
    assert "unreadable.json could not be read" in str(answer)
    mend()

    (answer,) = newer.prepare(wanted)
    assert isinstance(answer, DeviceRefused)
    assert f"is held by claim {held}" in str(answer)
    assert [None] == newer.unprepare(held)
    assert [] == node.files()


def test_a_start_that_could_not_read_decides_nothing(node: Node) -> None:
    """An agent without its records refuses claims instead of taking all devices for free."""
    held, wanted = node.prepared(VF), node.claim(VF)
    mend = spoil(node.folder)
    newer = node.restarted()
    with pytest.raises(StateFailed, match=r"unreadable\.json could not be read"):
        newer.container.recovery().run()
    (answer,) = newer.prepare(wanted)
    assert isinstance(answer, StateFailed)
    mend()
    (answer,) = newer.prepare(wanted)
    assert f"is held by claim {held}" in str(answer)
