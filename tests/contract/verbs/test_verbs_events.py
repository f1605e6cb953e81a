"""The contract of the ``AsyncEvents`` port, for the fake, for libibverbs and for a kernel alike."""

from __future__ import annotations

import errno
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.verbs.verbs_machines import Machine, Scripted
from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_domain.errors import KernelRefused
from ibdra_domain.ports.events import Change, EventSource
from ibdra_domain.ports.verbs import DeviceEvents

DEVICE = "mlx5_0"
PATIENCE = 15.0


@contextmanager
def watching(machine: Machine, rdma_device: str = DEVICE) -> Iterator[DeviceEvents]:
    """Watch a device, and see that nothing of the watch is left."""
    before = descriptors()
    events = machine.verbs.watch(rdma_device)
    try:
        yield events
    finally:
        events.close()
    assert (0, before) == (machine.leaks(), descriptors())


def descriptors() -> int:
    """Count this process' open files."""
    return len(list(Path("/proc/self/fd").iterdir()))


def taken(events: DeviceEvents, detail: str) -> Change:
    """Take events until one with that detail is among them."""
    seen: list[Change] = []
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not events.ended:
        seen += events.wait(0.2)
        for change in seen:
            if change.detail == detail:
                return change
    raise AssertionError(f"{detail!r} is not among {seen}")


def readable(events: DeviceEvents, seconds: float) -> bool:
    """Tell whether the descriptor is readable, or becomes so."""
    return bool(select.select([events], [], [], seconds)[0])


def test_each_event_is_told_with_its_port(machine: Machine) -> None:
    """What happened stands in the detail; which PCI function it was, libibverbs cannot say."""
    machine.fill()
    with watching(machine) as events:
        for kind in machine.events:
            machine.tell(DEVICE, kind, 1)
            said = f"{DEVICE} port 1: {kind.name.lower().replace('_', ' ')}"
            assert Change(source=EventSource.VERBS, detail=said) == taken(events, said)
            assert not events.ended


def test_nothing_happens_until_it_does(machine: Machine) -> None:
    """There is nothing to take and nothing readable; then there is both, then neither."""
    machine.fill()
    with watching(machine) as events:
        assert () == events.wait(0)
        assert not readable(events, 0)
        machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
        assert readable(events, PATIENCE)
        taken(events, f"{DEVICE} port 1: port error")
        assert () == events.wait(0)
        assert not readable(events, 0)


def test_an_event_that_comes_twice_is_one_change(machine: Machine) -> None:
    """To look again once is enough."""
    machine.fill()
    with watching(machine) as events:
        for _ in range(3):
            machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
        assert ["mlx5_0 port 1: port error"] == [c.detail for c in events.wait(PATIENCE)]


def test_events_of_before_are_not_told(machine: Machine) -> None:
    """A watch begins when it is opened."""
    machine.fill()
    machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
    with watching(machine) as events:
        assert () == events.wait(0.1)


def test_another_devices_events_are_its_own(machine: Machine) -> None:
    """Two devices are watched apart."""
    machine.fill()
    other = "mlx5_1" if len(machine.events) == 3 else "mlx5_2"
    with watching(machine) as events, watching_too(machine, other) as others:
        machine.tell(other, AsyncEventType.PORT_ERROR, 1)
        taken(others, f"{other} port 1: port error")
        assert () == events.wait(0)


@contextmanager
def watching_too(machine: Machine, rdma_device: str) -> Iterator[DeviceEvents]:
    """Watch one more, inside :func:`watching`."""
    events = machine.verbs.watch(rdma_device)
    yield events
    events.close()


def test_all_who_watch_are_told(machine: Machine) -> None:
    """And one that stops does not stop the other."""
    machine.fill()
    with watching(machine) as first:
        with watching_too(machine, DEVICE) as second:
            machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
            taken(first, f"{DEVICE} port 1: port error")
            taken(second, f"{DEVICE} port 1: port error")
        machine.tell(DEVICE, AsyncEventType.PORT_ACTIVE, 1)
        taken(first, f"{DEVICE} port 1: port active")


def test_a_device_that_goes_ends_the_watch(machine: Machine) -> None:
    """Its last word is that it failed; from then on there is nothing to wait for."""
    machine.fill()
    with watching(machine) as events:
        machine.remove(DEVICE)
        assert f"{DEVICE}: device fatal" == taken(events, f"{DEVICE}: device fatal").detail
        assert events.ended
        before = time.monotonic()
        assert () == events.wait(PATIENCE)
        assert time.monotonic() - before < PATIENCE / 2
    with pytest.raises(KernelRefused, match=f"the events of {DEVICE} cannot be followed") as gone:
        machine.verbs.watch(DEVICE)
    assert errno.ENODEV == gone.value.errno
    assert 0 == machine.leaks()


def test_a_closed_watch_is_no_watch(machine: Machine) -> None:
    """Closing again does nothing, there is nothing to take, and no descriptor to wait for."""
    machine.fill()
    with watching(machine) as events:
        events.close()
        assert 0 == machine.leaks()
        machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
        assert (True, ()) == (events.ended, events.wait(PATIENCE))
        with pytest.raises(KernelRefused, match="watch the device anew") as closed:
            events.fileno()
        assert errno.EBADF == closed.value.errno


def test_a_device_closed_can_be_watched_again(machine: Machine) -> None:
    """Dropping the context before a move costs nothing but opening it again."""
    machine.fill()
    for _ in range(3):
        with watching(machine) as events:
            machine.tell(DEVICE, AsyncEventType.PORT_ERROR, 1)
            taken(events, f"{DEVICE} port 1: port error")


@pytest.mark.parametrize("name", ["mlx5_9", "", "x" * 300, "mlx5_0\n", "ib\udcff"], ids=ascii)
def test_what_is_not_there_cannot_be_watched(machine: Machine, name: str) -> None:
    """Whatever the name is."""
    machine.fill()
    before = descriptors()
    with pytest.raises(KernelRefused) as refused:
        machine.verbs.watch(name)
    assert errno.ENODEV == refused.value.errno
    assert str(refused.value).isprintable()
    assert (0, before) == (machine.leaks(), descriptors())


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOENT, errno.EBUSY, errno.EMFILE])
def test_a_device_that_cannot_be_opened_says_why(scripted: Scripted, code: int) -> None:
    """The errno, the device and what can be done are in the refusal."""
    scripted.fill()
    scripted.refuse_open(DEVICE, code)
    with pytest.raises(KernelRefused, match=f"{DEVICE} .*{errno.errorcode[code]}.*: .") as refused:
        scripted.verbs.watch(DEVICE)
    assert code == refused.value.errno
    assert 0 == scripted.leaks()


def test_a_kernel_without_rdma_has_nothing_to_watch(scripted: Scripted) -> None:
    """It says what to load."""
    scripted.fill()
    scripted.refuse_list(errno.ENOSYS)
    with pytest.raises(KernelRefused, match="load the kernel's RDMA modules") as refused:
        scripted.verbs.watch(DEVICE)
    assert errno.ENOSYS == refused.value.errno


def test_a_device_that_falls_silent_ends_the_watch(scripted: Scripted) -> None:
    """What it said before is told first, then why no more comes."""
    scripted.fill()
    with watching(scripted) as events:
        scripted.tell(DEVICE, AsyncEventType.SM_CHANGE, 2)
        scripted.silence(DEVICE, errno.EIO)
        said = ["mlx5_0 port 2: sm change", "mlx5_0: no more events (EIO)"]
        assert said == [change.detail for change in events.wait(PATIENCE)]
        assert events.ended


def test_an_event_nobody_knows_is_told_by_its_number(scripted: Scripted) -> None:
    """A newer kernel's event still means: look again."""
    scripted.fill()
    with watching(scripted) as events:
        scripted.tell(DEVICE, 77, 1)
        assert ["mlx5_0 port 1: event 77"] == [c.detail for c in events.wait(PATIENCE)]


def test_nothing_after_a_failure_is_told(scripted: Scripted) -> None:
    """A failed device is looked at anew, whatever else it says."""
    scripted.fill()
    with watching(scripted) as events:
        scripted.tell(DEVICE, AsyncEventType.DEVICE_FATAL, 1)
        scripted.tell(DEVICE, AsyncEventType.PORT_ACTIVE, 1)
        assert ["mlx5_0: device fatal"] == [c.detail for c in events.wait(PATIENCE)]
        assert () == events.wait(0)
