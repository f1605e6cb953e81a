"""Machines for the contract of the netlink ports: the fake kernel, and room for a real one.

Why: the suite says what a kernel does, not what the fake does.  Whoever offers the three
ports and can start processes, list character devices and open them from a namespace can
be put under the same tests, a virtual machine with a stub HCA for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

import msgspec
import pytest

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Link, Links, Namespaces, Netns, NetnsId, RdmaDevices


class HcaFacts(msgspec.Struct, frozen=True, kw_only=True):
    """An HCA with one port that is plugged in when a test begins; ``mtu`` is InfiniBand's."""

    name: str
    pci: PciAddress
    guid: Guid
    netdev: str
    mtu: int


FIRST = HcaFacts(
    name="mlx5_0",
    pci=PciAddress("0000:3b:00.0"),
    guid=Guid("a088:c203:0012:3456"),
    netdev="ib0",
    mtu=2048,
)
SECOND = HcaFacts(
    name="mlx5_1",
    pci=PciAddress("0000:3b:00.1"),
    guid=Guid("a088:c203:0012:3457"),
    netdev="ib1",
    mtu=4096,
)
THIRD = HcaFacts(
    name="mlx5_2",
    pci=PciAddress("0000:5e:00.0"),
    guid=Guid("a088:c203:0012:3458"),
    netdev="ib2",
    mtu=2048,
)
HCAS = (FIRST, SECOND, THIRD)


class Machine(Protocol):
    """A machine with the three HCAs, their interfaces up, in exclusive mode."""

    @property
    def namespaces(self) -> Namespaces:
        """The port under test."""

    @property
    def rdma(self) -> RdmaDevices:
        """The port under test."""

    @property
    def links(self) -> Links:
        """The port under test."""

    @property
    def interface_follows(self) -> bool:
        """Tell whether this kernel re-creates an interface in its device's namespace."""

    def start_process(self, *, beside: int | None = None) -> int:
        """Start a process in a network namespace of its own, or in another process'."""

    def end_process(self, pid: int) -> None:
        """End it, and wait until the kernel has cleaned up after it."""

    def char_devices(self) -> tuple[CharDevice, ...]:
        """List the nodes below ``/dev/infiniband``."""

    def open_node(self, path: str, netns: NetnsId) -> None:
        """Open a node and close it again, as a process of that namespace.  KernelRefused."""

    def unplug(self, name: str) -> None:
        """Take an RDMA device away."""

    def open_handles(self) -> int:
        """Count the namespaces that somebody holds open."""


class FakeMachine:
    """The fake kernel."""

    def __init__(self, *, interface_follows: bool) -> None:
        self.interface_follows = interface_follows
        self.kernel = FakeKernel(ipoib_follows_device=interface_follows)
        self.namespaces: Namespaces = FakeNamespaces(self.kernel)
        self.rdma: RdmaDevices = FakeRdmaDevices(self.kernel)
        self.links: Links = FakeLinks(self.kernel)
        for hca in HCAS:
            port = FakePort(number=1, guid=hca.guid, netdev=hca.netdev, mtu=hca.mtu)
            self.kernel.add_device(hca.name, pci=hca.pci, ports=(port,))

    def start_process(self, *, beside: int | None = None) -> int:
        """Fulfil the protocol."""
        return self.kernel.start_process(None if beside is None else self.kernel.processes[beside])

    def end_process(self, pid: int) -> None:
        """Fulfil the protocol."""
        self.kernel.end_process(pid)

    def char_devices(self) -> tuple[CharDevice, ...]:
        """Fulfil the protocol."""
        return self.kernel.char_devices()

    def open_node(self, path: str, netns: NetnsId) -> None:
        """Fulfil the protocol."""
        self.kernel.open_node(path, netns=netns)

    def unplug(self, name: str) -> None:
        """Fulfil the protocol."""
        self.kernel.remove_device(name)

    def open_handles(self) -> int:
        """Fulfil the protocol."""
        return sum(self.kernel.handles.values())


class Pod:
    """A process in a namespace of its own, and the namespace held open."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.pid = machine.start_process()
        self.netns = machine.namespaces.of_process(self.pid)

    def die(self) -> None:
        """End the process and let go of its namespace, which dies with that."""
        self._machine.end_process(self.pid)
        self.netns.close()


@contextmanager
def refused_with(code: int) -> Iterator[None]:
    """Expect the kernel's refusal with an errno."""
    with pytest.raises(KernelRefused) as caught:
        yield
    assert code == caught.value.errno


def port_of(machine: Machine, hca: HcaFacts, netns: Netns) -> Link | None:
    """Find an HCA's own interface in a namespace."""
    return next(
        (x for x in machine.links.list(netns) if x.port_guid == hca.guid and x.parent is None),
        None,
    )


def the_port(machine: Machine, hca: HcaFacts, netns: Netns) -> Link:
    """Give an HCA's own interface, which is there."""
    found = port_of(machine, hca, netns)
    assert found is not None, f"{hca.name} has no interface in {netns.id}"
    return found


def at(machine: Machine, index: int, netns: Netns) -> Link:
    """Give the interface of an index, which is there."""
    return next(x for x in machine.links.list(netns) if x.index == index)


def children_of(machine: Machine, hca: HcaFacts, *places: Netns) -> list[Link]:
    """List an HCA's pkey children in some namespaces."""
    return [
        x
        for netns in places
        for x in machine.links.list(netns)
        if x.port_guid == hca.guid and x.pkey is not None
    ]


def whereabouts(machine: Machine, hca: HcaFacts, netns: Netns) -> bool:
    """Tell whether a namespace can use an HCA."""
    return hca.name in machine.rdma.names(netns)


def take(machine: Machine, hca: HcaFacts, pod: Pod) -> None:
    """Move an HCA from the host into a pod's namespace."""
    with closing(machine.namespaces.host()) as host:
        machine.rdma.move(hca.name, source=host, target=pod.netns)


def add_child(
    machine: Machine, hca: HcaFacts, netns: Netns, *, name: str, pkey: int = 0x8001
) -> Link:
    """Make a pkey child of an HCA's interface, and give it as it then is."""
    parent = the_port(machine, hca, netns)
    machine.links.add_pkey_child(parent.index, name=name, pkey=pkey, netns=netns)
    return next(x for x in machine.links.list(netns) if x.name == name)


def minor_of(machine: Machine, hca: HcaFacts, kind: CharDeviceKind) -> int:
    """Give the number in a node's name: 3 of ``uverbs3``."""
    node = next(n for n in machine.char_devices() if n.pci == hca.pci and n.kind is kind)
    return int(node.name.removeprefix(kind))
