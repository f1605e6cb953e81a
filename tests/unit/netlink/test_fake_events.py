"""Events of the fake kernel: what has happened is there at once, and nobody sleeps."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.events import Events

PCI = PciAddress("0000:3b:00.0")
PORTS = (FakePort(number=1, guid=Guid("a088:c203:0012:3456"), netdev="ib0"),)
HOUR = 3600.0


@pytest.fixture
def kernel() -> FakeKernel:
    """Give a kernel without devices."""
    return FakeKernel()


@pytest.fixture
def events(kernel: FakeKernel) -> Iterator[Events]:
    """Listen to it."""
    opened = FakeEvents(kernel)
    yield opened
    opened.close()


def readable(events: Events) -> bool:
    """Tell whether a loop would wake up."""
    return bool(select.select([events.fileno()], [], [], 0)[0])


def test_a_device_that_comes_or_goes_is_a_change(kernel: FakeKernel, events: Events) -> None:
    """With its function; what has been taken is gone."""
    kernel.add_device("mlx5_0", pci=PCI, ports=PORTS)
    assert readable(events)
    assert {PCI} == {change.function for change in events.wait(HOUR)}
    assert not readable(events)
    kernel.remove_device("mlx5_0")
    (change,) = events.wait(HOUR)
    assert "mlx5_0" in change.detail


def test_what_comes_twice_is_told_once(kernel: FakeKernel, events: Events) -> None:
    """Look again is all it says."""
    kernel.add_device("mlx5_0", pci=PCI, ports=PORTS)
    kernel.remove_device("mlx5_0")
    assert 1 == len(events.wait(HOUR))


def test_waiting_in_vain_takes_only_the_kernels_time(kernel: FakeKernel, events: Events) -> None:
    """The kernel acts within calls: nothing can come while one waits."""
    before = time.monotonic()
    assert () == events.wait(HOUR)
    assert () == events.wait(HOUR)
    assert time.monotonic() - before < 60
    assert 2 * HOUR == kernel.clock()


def test_what_was_before_it_listened_is_not_told(kernel: FakeKernel) -> None:
    """Whoever waits has to look once after he began to listen."""
    kernel.add_device("mlx5_0", pci=PCI, ports=PORTS)
    late = FakeEvents(kernel)
    assert () == late.wait(1.0)
    late.close()


def test_closing_ends_it(kernel: FakeKernel, events: Events) -> None:
    """A second time does nothing; the kernel tells nobody any more."""
    events.close()
    events.close()
    kernel.add_device("mlx5_0", pci=PCI, ports=PORTS)
    assert [] == kernel.watchers
