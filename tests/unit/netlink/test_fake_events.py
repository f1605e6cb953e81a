"""The fake kernel's events: what happened, once, without a second passing."""

from __future__ import annotations

import select

import pytest

from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.events import Change, EventSource

PCI = PciAddress("0000:3b:00.0")
CHANGED = Change(source=EventSource.RDMA, detail="RDMA device mlx5_0", function=PCI)


@pytest.fixture
def kernel() -> FakeKernel:
    """Give a kernel with one device."""
    made = FakeKernel()
    port = FakePort(number=1, guid=Guid("a088:c203:0012:3456"), netdev="ib0")
    made.add_device("mlx5_0", pci=PCI, ports=(port,))
    return made


def readable(events: FakeEvents) -> bool:
    """Tell whether somebody who polls would be woken."""
    return bool(select.select([events.fileno()], [], [], 0)[0])


def test_a_change_is_readable_taken_once_and_gone(kernel: FakeKernel) -> None:
    """Several changes of one device are told as one."""
    events = FakeEvents(kernel)
    assert not readable(events)

    for _ in range(2):
        kernel.move_device("mlx5_0", source=kernel.init_netns, target=kernel.init_netns)

    assert readable(events)
    assert (CHANGED,) == events.wait(0)
    assert not readable(events)
    assert () == events.wait(0)
    events.close()


def test_waiting_lets_the_kernels_time_pass(kernel: FakeKernel) -> None:
    """With nothing to take, time goes on to what happens next, or to the timeout."""
    kernel.return_delay = 0.1
    pid = kernel.start_process()
    kernel.move_device("mlx5_0", source=kernel.init_netns, target=kernel.processes[pid])
    events = FakeEvents(kernel)
    kernel.end_process(pid)

    assert (CHANGED,) == events.wait(5)
    assert pytest.approx(0.1) == kernel.clock()
    assert () == events.wait(2)
    assert pytest.approx(2.1) == kernel.clock()
    events.close()


def test_what_was_before_it_listened_is_not_told(kernel: FakeKernel) -> None:
    """A stream begins when it is opened and ends when it is closed."""
    kernel.remove_device("mlx5_0")
    events = FakeEvents(kernel)
    assert () == events.wait(0)
    events.close()
    events.close()
    assert [] == kernel.watchers
