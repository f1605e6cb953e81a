"""Waiting for the kernel: at once, woken by what happens, and not for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_app.waiting import LONGEST_SLEEP, Waiter
from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.events import Events


@pytest.fixture
def kernel() -> FakeKernel:
    """Give a kernel with one device, which comes home a second after its namespace died."""
    made = FakeKernel(return_delay=1.2)
    port = FakePort(number=1, guid=Guid("a088:c203:0012:3456"), netdev="ib0")
    made.add_device("mlx5_0", pci=PciAddress("0000:3b:00.0"), ports=(port,))
    return made


def waiter(kernel: FakeKernel, patience: float) -> Waiter:
    """Wait for a kernel."""
    return Waiter(watch=lambda: FakeEvents(kernel), clock=kernel.clock, patience=patience)


def test_the_first_call_listens_and_returns_at_once(kernel: FakeKernel) -> None:
    """What is waited for may have happened before anybody listened: look again first."""
    with waiter(kernel, 10) as waiting:
        assert waiting.wait()
        assert 0.0 == kernel.clock()
        assert 1 == len(kernel.watchers)


def test_without_patience_nobody_listens(kernel: FakeKernel) -> None:
    """With no patience it is never worth it, and no events are opened."""
    with waiter(kernel, 0) as waiting:
        assert not waiting.wait()
        assert [] == kernel.watchers


def test_patience_ends_at_its_deadline(kernel: FakeKernel) -> None:
    """However often it is looked again, the time in all is what was given."""
    looks = 0
    with waiter(kernel, 2.2) as waiting:
        while waiting.wait():
            looks += 1

    assert pytest.approx(2.2) == kernel.clock()
    assert 1 + 5 == looks  # at once, four times the longest sleep, and the rest


def test_a_change_wakes_before_the_longest_sleep_is_over(kernel: FakeKernel) -> None:
    """The look after the kernel's clean-up comes when it happens."""
    pid = kernel.start_process()
    kernel.move_device("mlx5_0", source=kernel.init_netns, target=kernel.processes[pid])
    kernel.end_process(pid)
    with waiter(kernel, 10) as waiting:
        while not kernel.visible(kernel.init_netns):
            assert waiting.wait()

    assert pytest.approx(1.2) == kernel.clock()
    assert 1.2 % LONGEST_SLEEP


def test_events_are_closed_whatever_happens(kernel: FakeKernel) -> None:
    """An error while waiting leaves no listener behind."""

    def fail() -> None:
        with waiter(kernel, 10) as waiting:
            waiting.wait()
            raise KernelRefused("sabotage", remedy="none", errno=5)

    with pytest.raises(KernelRefused):
        fail()

    assert [] == kernel.watchers


def test_no_events_to_listen_to_is_an_error(kernel: FakeKernel) -> None:
    """Who cannot listen says so, instead of looking in circles."""

    def watch() -> Events:
        raise KernelRefused("no socket", remedy="none", errno=24)

    refusing: Callable[[], Events] = watch
    with (
        Waiter(watch=refusing, clock=kernel.clock, patience=1) as waiting,
        pytest.raises(KernelRefused, match="no socket"),
    ):
        waiting.wait()
