"""The contracts of NodeTurn, Succession and Arrivals, in memory and on files."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.state.state_records import OTHER, UID, prepared_record
from ibdra_adapters.state.fake_instances import FakeArrivals, FakeSuccession, FakeTurn
from ibdra_adapters.state.files import StateFolder
from ibdra_adapters.state.instances import FileArrivals, FileSuccession, FileTurn
from ibdra_app.ledger import Ledger
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.instances import Arrivals, NodeTurn, Succession
from ibdra_domain.records import ClaimRecord

Turns = Callable[[], NodeTurn]
Successions = Callable[[], Succession]
ManyArrivals = Callable[[], Arrivals]


@pytest.fixture(params=["fake", "files"])
def turns(request: pytest.FixtureRequest, tmp_path: Path) -> Turns:
    """Give what makes one more process of a node."""
    if request.param == "fake":
        node: list[FakeTurn | threading.Lock] = []
        return lambda: FakeTurn(node)
    return lambda: FileTurn(tmp_path / "run" / "turn")


@pytest.fixture(params=["fake", "files"])
def successions(request: pytest.FixtureRequest, tmp_path: Path) -> Successions:
    """Give what makes one more process of a node."""
    if request.param == "fake":
        node: list[FakeSuccession] = []
        return lambda: FakeSuccession(node)
    return lambda: FileSuccession(tmp_path / "run" / "instances")


@pytest.fixture(params=["fake", "files"])
def arrivals(request: pytest.FixtureRequest, tmp_path: Path) -> ManyArrivals:
    """Give what makes one more process of a node."""
    if request.param == "fake":
        node: list[FakeArrivals] = []
        return lambda: FakeArrivals(node)
    return lambda: FileArrivals(tmp_path / "run" / "arriving")


def taken(turn: NodeTurn) -> bool:
    another = turn.take()
    turn.give()
    return another


def test_a_first_turn_follows_an_unknown_one(turns: Turns) -> None:
    """Whoever begins has read nothing yet."""
    assert taken(turns())


def test_alone_nothing_was_in_between(turns: Turns) -> None:
    """Turn after turn of one process needs no reading."""
    turn = turns()
    assert [True, False, False] == [taken(turn) for _ in range(3)]


def test_another_ones_turn_is_told(turns: Turns) -> None:
    """Each learns that the other had one, once."""
    first, second = turns(), turns()
    assert [True, True, True, False] == [taken(t) for t in (first, second, first, first)]


def test_one_at_a_time(turns: Turns) -> None:
    """Who takes a turn waits until the other has given it."""
    first, second = turns(), turns()
    order: list[str] = []
    first.take()

    def wait() -> None:
        second.take()
        order.append("second")
        second.give()

    thread = threading.Thread(target=wait)
    thread.start()
    order.append("first")
    first.give()
    thread.join(60)
    assert ["first", "second"] == order


def test_giving_what_was_not_taken_is_nothing(turns: Turns) -> None:
    """It takes nobody else's turn away."""
    first, second = turns(), turns()
    first.take()
    second.give()
    first.give()
    assert taken(second)


def test_what_one_process_wrote_the_other_knows(turns: Turns, tmp_path: Path) -> None:
    """In its turn a ledger has the records as they are on disk, whoever wrote them."""
    old, new = (
        Ledger(StateFolder(tmp_path / "state", ClaimRecord), boot_id="b", turn=turns())
        for _ in range(2)
    )
    with old.lock, old.lock:  # a thread may enter again
        old.put(prepared_record(UID))
    with new.lock:
        assert {UID} == new.all().keys()
        new.put(prepared_record(OTHER))
    with old.lock:
        assert {UID, OTHER} == old.all().keys()
        old.remove(UID)
    with new.lock:
        assert {OTHER} == new.all().keys()


def test_the_last_that_entered_leads(successions: Successions) -> None:
    """An older one steps back, and leads again when the newer one has left."""
    old, new = successions(), successions()
    assert not old.leads()
    old.enter()
    assert old.leads()
    new.enter()
    assert (False, True) == (old.leads(), new.leads())
    new.leave()
    assert old.leads()
    assert not new.leads()


def test_others_are_counted_and_nothing_is_changed(successions: Successions) -> None:
    """Those that entered and live, this one left out; whoever asks need not have entered."""
    first, second, asking = successions(), successions(), successions()
    assert 0 == asking.others()
    first.enter()
    second.enter()
    assert (1, 1, 2) == (first.others(), second.others(), asking.others())
    second.leave()
    assert (0, 1, 1) == (first.others(), second.others(), asking.others())


def test_the_dead_are_not_counted(tmp_path: Path) -> None:
    """What a killed process left is no process, and stays where it is."""
    folder = tmp_path / "instances"
    folder.mkdir()
    dead = folder / "00000000000000000001-00000000"
    dead.touch()
    assert 0 == FileSuccession(folder).others()
    assert dead.exists()


def test_entering_twice_is_entering_once(successions: Successions) -> None:
    """It does not overtake those that came in between."""
    old, new = successions(), successions()
    old.enter()
    new.enter()
    old.enter()
    assert (False, True) == (old.leads(), new.leads())
    old.leave()
    old.leave()
    assert new.leads()


def test_the_dead_do_not_lead(tmp_path: Path) -> None:
    """A process that was killed makes way for the one before it, and its file goes."""
    folder = tmp_path / "instances"
    old = FileSuccession(folder)
    old.enter()
    code = (
        "import sys, pathlib\n"
        "from ibdra_adapters.state.instances import FileSuccession\n"
        "one = FileSuccession(pathlib.Path(sys.argv[1])); one.enter()\n"
        "print('in', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": "src"},
        text=True,
    ) as newer:
        assert newer.stdout is not None
        assert "in\n" == newer.stdout.readline()
        assert not old.leads()
        newer.kill()
        newer.wait()
    assert old.leads()
    assert 1 == len(list(folder.iterdir()))
    old.leave()
    assert [] == list(folder.iterdir())


def test_another_one_on_its_way_is_seen(arrivals: ManyArrivals) -> None:
    """By those that are there, until it is there too; nobody sees itself."""
    old, new = arrivals(), arrivals()
    assert not old.another()
    new.announce()
    new.announce()
    assert (True, False) == (old.another(), new.another())
    old.announce()
    assert new.another()
    new.settle()
    new.settle()
    assert (False, True) == (old.another(), new.another())


def test_the_dead_are_not_on_their_way(tmp_path: Path) -> None:
    """A process that was killed while it started holds up nobody."""
    folder = tmp_path / "arriving"
    code = (
        "import sys, pathlib\n"
        "from ibdra_adapters.state.instances import FileArrivals\n"
        "one = FileArrivals(pathlib.Path(sys.argv[1])); one.announce()\n"
        "print('in', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": "src"},
        text=True,
    ) as newer:
        assert newer.stdout is not None
        assert "in\n" == newer.stdout.readline()
        assert FileArrivals(folder).another()
        newer.kill()
        newer.wait()
    assert not FileArrivals(folder).another()


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """The error names the path."""
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(StateFailed, match="run"):
        FileTurn(tmp_path / "run" / "turn").take()
    with pytest.raises(StateFailed, match="run"):
        FileSuccession(tmp_path / "run" / "instances").enter()
