"""Devices held open for what they tell, and let go of before they move."""

from __future__ import annotations

import errno
import select
import threading
from collections.abc import Iterator

import pytest

from ibdra_adapters.sysfs.fake import FakeSysfs
from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_app.device_watches import DeviceWatches
from ibdra_domain.hardware import SysfsReading
from ibdra_domain.inventory import IbDevice, Presence
from ibdra_domain.ports.netlink import Netns
from unit.app.app_node import VF, Node
from unit.domain.domain_facts import a_device, a_vf, an_hca

PF_DEVICE = a_device()
VF_DEVICE = a_vf()
BOTH = (VF_DEVICE, PF_DEVICE)


class Machine:
    """A PF and its VF, at home."""

    def __init__(self, *, most: int = 8) -> None:
        hcas = tuple(an_hca(name=d.rdma_device, pci=d.pci) for d in BOTH)
        self.verbs = FakeVerbs(hcas)
        self.sysfs = FakeSysfs(SysfsReading(hcas=hcas))
        self.lock = threading.RLock()
        self.watches = DeviceWatches(verbs=self.verbs, sysfs=self.sysfs, still=self.lock, most=most)

    def told(self) -> list[str]:
        """Take what has come."""
        return [change.detail for change in self.watches.wait(0)]


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Give a machine that is followed."""
    made = Machine()
    made.watches.follow(BOTH)
    yield made
    made.watches.close()


def test_what_devices_tell_is_one_stream(machine: Machine) -> None:
    """Its descriptor is readable while there is something to take."""
    assert ("mlx5_0", "mlx5_2") == machine.watches.followed
    poll = select.poll()
    poll.register(machine.watches.fileno(), select.POLLIN)
    assert [] == poll.poll(0)
    machine.verbs.tell("mlx5_0", AsyncEventType.PORT_ERROR, port=1)
    machine.verbs.tell("mlx5_2", AsyncEventType.PKEY_CHANGE, port=1)
    assert poll.poll(0)
    assert {"mlx5_0 port 1: port error", "mlx5_2 port 1: pkey change"} == set(machine.told())
    assert [] == poll.poll(0)
    assert [] == machine.told()


def test_a_dropped_device_is_closed_when_it_returns(machine: Machine) -> None:
    """Nobody must have it open when it moves; dropping what is not open is nothing."""
    (watch,) = [w for w in machine.verbs._watches if w.rdma_device == "mlx5_2"]
    machine.watches.drop("mlx5_2")
    assert watch.ended
    assert ("mlx5_0",) == machine.watches.followed
    machine.watches.drop("mlx5_2")
    machine.watches.drop("mlx5_9")
    assert [] == machine.told()


def test_a_device_that_fails_is_forgotten_and_followed_again(machine: Machine) -> None:
    """A reset ends an open device, which would be readable for ever."""
    machine.verbs.silence("mlx5_0")
    assert ["mlx5_0: no more events (EIO)"] == machine.told()
    assert ("mlx5_2",) == machine.watches.followed
    assert [] == machine.told()
    machine.watches.follow(BOTH)
    assert {"mlx5_0", "mlx5_2"} == set(machine.watches.followed)


@pytest.mark.parametrize("presence", [Presence.AWAY, Presence.GONE])
def test_what_is_not_at_home_is_let_go_of(machine: Machine, presence: Presence) -> None:
    """As the last look at the machine says."""
    machine.watches.follow([PF_DEVICE, a_vf(presence=presence)])
    assert ("mlx5_0",) == machine.watches.followed


def test_a_device_that_left_since_the_look_is_not_opened() -> None:
    """It may be in a pod by now, and another may have its name."""
    machine = Machine()
    machine.sysfs.reading = SysfsReading()
    machine.watches.follow(BOTH)
    assert () == machine.watches.followed


def test_a_device_that_cannot_be_opened_is_tried_again() -> None:
    """It is looked at all the same, so it is no error."""
    machine = Machine()
    machine.verbs.refuse_open("mlx5_0", errno=errno.EMFILE)
    machine.watches.follow(BOTH)
    assert ("mlx5_2",) == machine.watches.followed
    machine.verbs.accept()
    machine.watches.follow(BOTH)
    assert {"mlx5_0", "mlx5_2"} == set(machine.watches.followed)
    machine.watches.close()


def test_pfs_come_first_where_there_are_too_many() -> None:
    """A PF tells of the cable that all its VFs share."""
    machine = Machine(most=1)
    machine.watches.follow(BOTH)
    assert ("mlx5_0",) == machine.watches.followed
    machine.watches.close()


def test_nothing_is_opened_while_a_move_may_be_under_way() -> None:
    """Moves hold the node's lock; a device is opened with it, one at a time."""
    machine = Machine()
    done = threading.Event()

    def follow() -> None:
        machine.watches.follow(BOTH)
        done.set()

    with machine.lock:
        thread = threading.Thread(target=follow)
        thread.start()
        assert not done.wait(0.1)
        assert () == machine.watches.followed
        machine.watches.drop("mlx5_2")  # never waits for who opens
    thread.join(10)
    assert done.is_set()
    machine.watches.close()


def test_closing_lets_go_of_all(machine: Machine) -> None:
    """They may be followed again, as by a daemon that starts anew."""
    machine.watches.close()
    assert () == machine.watches.followed
    machine.watches.follow(BOTH)
    assert 2 == len(machine.watches.followed)


def test_a_move_lets_go_of_the_device_first(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is followed again when it is back at home."""
    watches = node.container.device_watches()
    rdma = node.container.kernel().rdma
    open_at_move: list[bool] = []
    move = rdma.move

    def noticed(name: str, *, source: Netns, target: Netns) -> None:
        open_at_move.append(name in watches.followed)
        move(name, source=source, target=target)

    def devices() -> tuple[IbDevice, ...]:
        found: tuple[IbDevice, ...] = node.container.publishing().look().devices
        return found

    monkeypatch.setattr(rdma, "move", noticed)
    watches.follow(devices())
    assert "mlx5_0v0" in watches.followed
    claim, pid = node.prepared(VF), node.kernel.start_process()
    node.attach(claim, pid)
    assert [False] == open_at_move
    watches.follow(devices())
    assert "mlx5_0v0" not in watches.followed
    assert [None] == node.unprepare(claim)
    watches.follow(devices())
    assert "mlx5_0v0" in watches.followed
    watches.close()
