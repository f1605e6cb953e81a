"""Machines for the contract of the netlink ports: the fake kernel, of either age and mode.

Why: the suite asks the ports and tells a machine what happens around them: processes
start and end, devices are pulled out.  In the virtual node the machines are its kernel's,
one a mode, and the fake's elsewhere: the same tests run on both.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import pytest

from contract.netlink.kernel_machine import IN_GUEST, KernelMachine, devices
from contract.virtual_node.inside import IS_STABLE
from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind, RdmaIsolation
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Link, Links, Namespaces, Netns, RdmaDevices

FIRST, SECOND, DUAL = "mlx5_0", "mlx5_1", "mlx4_0"
GUIDS = {
    (FIRST, 1): Guid("a088:c203:0012:3456"),
    (SECOND, 1): Guid("a088:c203:0012:4456"),
    (DUAL, 1): Guid("e41d:2d03:0045:9711"),
    (DUAL, 2): Guid("e41d:2d03:0045:9712"),
}
NETDEVS = {(FIRST, 1): "ib0", (SECOND, 1): "ib1", (DUAL, 1): "ib2", (DUAL, 2): "ib3"}
IB_MTUS = {(FIRST, 1): 2048, (SECOND, 1): 4096, (DUAL, 1): 2048, (DUAL, 2): 2048}
PCI = {
    FIRST: PciAddress("0000:3b:00.0"),
    SECOND: PciAddress("0000:5e:00.0"),
    DUAL: PciAddress("0000:af:00.0"),
}
if IN_GUEST:  # three devices of one port each: see test_netlink_two_ports.py
    _KNOWN = devices()
    FIRST, SECOND, DUAL = (device.name for device in _KNOWN)
    GUIDS = {(device.name, 1): device.guid for device in _KNOWN}
    NETDEVS = {(device.name, 1): device.netdev for device in _KNOWN}
    IB_MTUS = dict.fromkeys(GUIDS, 4096)
    PCI = {device.name: device.pci for device in _KNOWN}


class Machine(Protocol):
    """What the suite does to a machine, and the ports that look at it.

    It starts with two HCAs of one port (``FIRST``, ``SECOND``) and one that has two if the
    machine is a fake (``DUAL``), their interfaces named ``NETDEVS`` and up, their ports' IB
    MTU ``IB_MTUS``, and no network namespace but the host's.  ``DUAL`` may be a virtual
    function of ``FIRST``: it goes with it.
    """

    @property
    def namespaces(self) -> Namespaces: ...
    @property
    def rdma(self) -> RdmaDevices: ...
    @property
    def links(self) -> Links: ...
    @property
    def ipoib_follows_device(self) -> bool: ...
    @property
    def renames_while_up(self) -> bool: ...
    def start_process(self) -> int: ...
    def end_process(self, pid: int) -> None: ...
    def pull_out(self, rdma_device: str) -> None: ...
    def char_devices(self) -> tuple[CharDevice, ...]: ...
    def open_node(self, path: str, *, pid: int | None) -> None: ...
    def keep_open(self, path: str, *, pid: int | None) -> AbstractContextManager[None]: ...
    def settle(self) -> None: ...
    def open_handles(self) -> int: ...


class FakeMachine:
    """The fake kernel under the suite."""

    def __init__(self, *, isolation: RdmaIsolation, ipoib_follows_device: bool) -> None:
        self.kernel = FakeKernel(isolation=isolation, ipoib_follows_device=ipoib_follows_device)
        self.renames_while_up = ipoib_follows_device
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma = FakeRdmaDevices(self.kernel)
        self.links = FakeLinks(self.kernel)
        self.ipoib_follows_device = ipoib_follows_device
        for name, pci in PCI.items():
            ports = tuple(
                FakePort(number=n, guid=guid, netdev=NETDEVS[d, n], mtu=IB_MTUS[d, n])
                for (d, n), guid in GUIDS.items()
                if d == name
            )
            self.kernel.add_device(name, pci=pci, ports=ports)

    def start_process(self) -> int:
        """Start a process in a network namespace of its own."""
        return self.kernel.start_process()

    def end_process(self, pid: int) -> None:
        """End it, and wait until the kernel has cleaned up behind it."""
        self.kernel.end_process(pid)

    def pull_out(self, rdma_device: str) -> None:
        """Take a device away for good."""
        self.kernel.remove_device(rdma_device)

    def char_devices(self) -> tuple[CharDevice, ...]:
        """List the nodes below /dev/infiniband."""
        return self.kernel.char_devices()

    def open_node(self, path: str, *, pid: int | None) -> None:
        """Open a node from a process' namespace, or (None) from the host's."""
        netns = self.kernel.init_netns if pid is None else self.kernel.processes[pid]
        self.kernel.open_node(path, netns=netns)

    @contextmanager
    def keep_open(self, path: str, *, pid: int | None) -> Iterator[None]:
        """Hold a node open; what that holds is no namespace."""
        self.open_node(path, pid=pid)
        yield

    def settle(self) -> None:
        """Wait until the kernel has cleaned up behind the dead: this one does so at once."""

    def open_handles(self) -> int:
        """Count the namespaces held open through the ports."""
        return sum(self.kernel.handles.values())


class Scene:
    """A machine, its host's namespace, and one process in a namespace of its own."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.rdma = machine.rdma
        self.links = machine.links
        self.host = machine.namespaces.host()
        self.pid = machine.start_process()
        self.pod = machine.namespaces.of_process(self.pid)

    @property
    def landing(self) -> Netns:
        """Where this kernel makes the interface of a device that was moved into the pod."""
        return self.pod if self.machine.ipoib_follows_device else self.host

    def enter(self, rdma_device: str = FIRST) -> None:
        """Move a device into the pod."""
        self.rdma.move(rdma_device, source=self.host, target=self.pod)

    def die(self) -> None:
        """End the process and let go of its namespace."""
        self.machine.end_process(self.pid)
        self.pod.close()
        self.machine.settle()

    def parent(self, netns: Netns, rdma_device: str = FIRST, port: int = 1) -> Link:
        """Give a port's own interface, which must be in that namespace."""
        found = self.find(netns, rdma_device, port)
        assert found is not None
        return found

    def find(self, netns: Netns, rdma_device: str = FIRST, port: int = 1) -> Link | None:
        """Give a port's own interface if it is in that namespace."""
        guid = GUIDS[rdma_device, port]
        return next(
            (x for x in self.links.list(netns) if x.port_guid == guid and x.parent is None), None
        )

    def named(self, netns: Netns, name: str) -> Link:
        """Give the interface with a name, which must be there."""
        return next(x for x in self.links.list(netns) if x.name == name)

    def names(self, netns: Netns) -> list[str]:
        """List the names of a namespace's InfiniBand interfaces."""
        return sorted(x.name for x in self.links.list(netns) if x.port_guid is not None)

    def indexes(self, netns: Netns) -> set[int]:
        """List the indexes of a namespace's interfaces, which another's may have too."""
        return {x.index for x in self.links.list(netns)}

    def child(self, name: str = "storage", *, pkey: int = 0x8001, of: str = FIRST) -> Link:
        """Make a pkey's interface on the host, and bring it up."""
        self.links.add_pkey_child(
            self.parent(self.host, of).index, name=name, pkey=pkey, netns=self.host
        )
        made = self.named(self.host, name)
        self.links.configure(made.index, netns=self.host, up=True)
        return self.named(self.host, name)

    def minor(self, kind: CharDeviceKind, rdma_device: str = FIRST) -> int:
        """Tell the number in the name of a device's first node of a kind."""
        return self.numbers(kind)[rdma_device]

    def numbers(self, kind: CharDeviceKind) -> dict[str, int]:
        """Tell the numbers in the names of all devices' first nodes of a kind."""
        return {
            node.rdma_device: int(node.name.removeprefix(kind))
            for node in self.machine.char_devices()
            if node.kind is kind and node.rdma_device is not None and node.port in (0, 1)
        }

    def close(self) -> None:
        """Let go of both namespaces."""
        self.pod.close()
        self.host.close()


@contextmanager
def refused_with(code: int) -> Iterator[None]:
    """Expect the kernel's refusal with an errno."""
    with pytest.raises(KernelRefused) as refused:
        yield
    assert errno.errorcode[code] == errno.errorcode[refused.value.errno]


def _fake(isolation: RdmaIsolation, *, follows: bool = False) -> Callable[[], Machine]:
    return lambda: FakeMachine(isolation=isolation, ipoib_follows_device=follows)


def _kernel(isolation: RdmaIsolation) -> Callable[[], Machine]:
    return lambda: KernelMachine(isolation, _KNOWN)


FAKES = {
    "exclusive-older": _fake(RdmaIsolation.EXCLUSIVE),
    "exclusive-newer": _fake(RdmaIsolation.EXCLUSIVE, follows=True),
    "shared": _fake(RdmaIsolation.SHARED),
}
# In shared mode kernels do not differ: the newer one is asked.
_MODES = (RdmaIsolation.EXCLUSIVE,) if IS_STABLE else tuple(RdmaIsolation)
KERNELS = {f"kernel-{isolation}": _kernel(isolation) for isolation in _MODES}
MACHINES = KERNELS if IN_GUEST else FAKES
EXCLUSIVE = [kind for kind in MACHINES if "exclusive" in kind]
SHARED = [kind for kind in MACHINES if "shared" in kind]
