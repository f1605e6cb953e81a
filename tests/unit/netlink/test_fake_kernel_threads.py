"""The fake kernel under several threads: it does one thing at a time, as a real one does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import cycle

import pytest

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.identifiers import Guid, PciAddress

_MOVES = 200


@pytest.fixture
def switching() -> Iterator[None]:
    """Have threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching")
def test_who_looks_does_not_trip_over_who_moves() -> None:
    """Interfaces are listed and events taken by other threads while a device goes to and fro."""
    kernel = FakeKernel()
    for number in range(8):
        kernel.add_device(
            f"mlx5_{number}",
            pci=PciAddress(f"0000:3b:00.{number}"),
            ports=(FakePort(number=1, guid=Guid("a088:c203:0012:3456"), netdev=f"ib{number}"),),
        )
    namespaces, links, rdma = FakeNamespaces(kernel), FakeLinks(kernel), FakeRdmaDevices(kernel)
    pid = kernel.start_process()
    done = threading.Event()
    failed: list[Exception] = []

    def again(work: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except Exception as error:  # noqa: BLE001 -- compared below
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def look() -> None:
        with closing(namespaces.host()) as host, closing(namespaces.of_process(pid)) as pod:
            links.list(host)
            links.list(pod)

    with closing(FakeEvents(kernel)) as events:
        threads = [again(look), again(look), again(lambda: events.wait(0))]
        try:
            with closing(namespaces.host()) as host, closing(namespaces.of_process(pid)) as pod:
                ways = cycle(((host, pod), (pod, host)))
                for (source, target), _ in zip(ways, range(_MOVES), strict=False):
                    rdma.move("mlx5_0", source=source, target=target)
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert [] == failed
    assert {} == kernel.handles
