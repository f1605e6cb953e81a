"""Machines for the contract of the SR-IOV ports: the simulated one, and a kernel's.

Why: the suite is the same for both, so that what provisioning is tested on behaves as what
it will run on.  A machine starts with two PFs of 8 possible VFs, none of them made.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from contract.netlink.kernel_machine import IN_GUEST, eventually
from contract.virtual_node.inside import MODE
from ibdra_adapters.netlink.events import LinuxEvents
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_adapters.netlink.vf_attributes import LinuxVfAttributes
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import HcaProfile, PortProfile, Profile
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import (
    CharDevice,
    CharDeviceKind,
    Hca,
    NetDevice,
    PciFunction,
    RdmaIsolation,
)
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.netlink import Links, Namespaces, Netns, RdmaDevices
from ibdra_domain.ports.sriov import SriovControl, VfAttributes
from ibdra_domain.ports.sysfs import Sysfs

DRIVER = "mlx5_core"

TOTAL = 8
PFS = (PciAddress("0000:41:00.0"), PciAddress("0000:81:00.0"))
GUIDS = (Guid("0c42:a103:0041:0000"), Guid("0c42:a103:0081:0000"))


class Machine(Protocol):
    """The ports of a machine, and what the suite does to it."""

    @property
    def sysfs(self) -> Sysfs: ...
    @property
    def sriov(self) -> SriovControl: ...
    @property
    def vf_attributes(self) -> VfAttributes: ...
    @property
    def namespaces(self) -> Namespaces: ...
    @property
    def rdma(self) -> RdmaDevices: ...
    @property
    def links(self) -> Links: ...
    def events(self) -> Events: ...
    def clock(self) -> float: ...
    def start_process(self) -> int: ...
    def end_process(self, pid: int) -> None: ...
    def close(self) -> None: ...


def profile(*, zero_vf_guids: bool = False) -> Profile:
    """Describe the simulated machine; by default its VFs have GUIDs of their own."""
    return Profile(
        description="two HDR PFs without VFs",
        ipoib_follows_device=True,
        hcas=tuple(
            HcaProfile(
                model="ConnectX-6",
                rdma=f"mlx5_{index}",
                pci=pci,
                root=f"pci0000:{pci[5:7]}",
                node_guid=guid,
                numa=index,
                total_vfs=TOTAL,
                zero_vf_guids=zero_vf_guids,
                ports=(PortProfile(rate="200 Gb/sec (4X HDR)", netdev=f"ib{index}"),),
            )
            for index, (pci, guid) in enumerate(zip(PFS, GUIDS, strict=True))
        ),
    )


class SimulationUnderTest:
    """The simulated machine under the suite."""

    def __init__(self, folder: Path, *, zero_vf_guids: bool = False) -> None:
        self.machine = SimulatedMachine(profile(zero_vf_guids=zero_vf_guids), folder)
        self.sysfs: Sysfs = self.machine.sysfs
        self.sriov: SriovControl = self.machine.sriov
        self.vf_attributes: VfAttributes = self.machine.vf_attributes
        self.namespaces = self.machine.namespaces
        self.rdma = self.machine.rdma
        self.links = self.machine.links

    def events(self) -> FakeEvents:
        """Listen."""
        return FakeEvents(self.machine.kernel)

    def clock(self) -> float:
        """Tell the time."""
        return self.machine.kernel.clock()

    def start_process(self) -> int:
        """Start a process in a network namespace of its own."""
        return self.machine.kernel.start_process()

    def end_process(self, pid: int) -> None:
        """End it."""
        self.machine.kernel.end_process(pid)

    def close(self) -> None:
        """See that no namespace was kept open."""
        assert 0 == sum(self.machine.kernel.handles.values())


class KernelUnderTest:
    """The virtual node under the suite, put back to how it was booted."""

    def __init__(self) -> None:
        self.sysfs = SysfsTree()
        self.sriov = SysfsSriov()
        self.vf_attributes = LinuxVfAttributes()
        self.namespaces = LinuxNamespaces()
        self.rdma = LinuxRdmaDevices(self.namespaces)
        self.links = LinuxLinks()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def events(self) -> LinuxEvents:
        """Listen."""
        return LinuxEvents()

    def clock(self) -> float:
        """Tell the time."""
        return time.monotonic()

    def start_process(self) -> int:
        """Start a process in a network namespace of its own."""
        process = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        own, host = Path(f"/proc/{process.pid}/ns/net"), Path("/proc/1/ns/net").stat().st_ino
        eventually(lambda: own.stat().st_ino != host)
        self._processes[process.pid] = process
        return process.pid

    def end_process(self, pid: int) -> None:
        """End it."""
        process = self._processes.pop(pid)
        process.kill()
        process.wait()

    def close(self) -> None:
        """End what the test left running, and remove its VFs."""
        for pid in list(self._processes):
            self.end_process(pid)
        self._clean()
        targets = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                targets.append(str(entry.readlink()))
        assert not [target for target in targets if target.startswith("net:[")]

    def _clean(self) -> None:
        for pf in PFS:
            with contextlib.suppress(KernelRefused):
                self.sriov.bind(pf, DRIVER)
            self.sriov.set_num_vfs(pf, 0)
            self.sriov.set_autoprobe(pf, enabled=True)
            interfaces = Path("/sys/bus/pci/devices", pf, "net")
            eventually(lambda at=interfaces: list(at.iterdir()))  # type: ignore[misc]  # a default binds the loop's value
        eventually(self._is_switched)  # refused while a dead process' namespace is cleaned up

    def _is_switched(self) -> bool:
        if self.rdma.isolation() is not RdmaIsolation(MODE):
            self.rdma.set_isolation(RdmaIsolation(MODE))
        return True


def function(machine: Machine, address: PciAddress) -> PciFunction:
    """Give what sysfs says of a function."""
    return next(f for f in machine.sysfs.read().functions if f.address == address)


def vfs_of(machine: Machine, pf: PciAddress) -> list[PciAddress]:
    """Give a PF's VFs, by index."""
    return [vf for vf in function(machine, pf).vfs if vf is not None]


def hca_of(machine: Machine, address: PciAddress) -> Hca | None:
    """Give the RDMA device on a function, if the host's namespace shows it."""
    return next((hca for hca in machine.sysfs.read().hcas if hca.pci == address), None)


def netdev_of(machine: Machine, address: PciAddress) -> NetDevice | None:
    """Give the interface on a function, if the host's namespace shows it."""
    return next((n for n in machine.sysfs.read().netdevs if n.pci == address), None)


def nodes_of(machine: Machine, address: PciAddress) -> dict[CharDeviceKind, CharDevice]:
    """Give a function's character devices."""
    return {node.kind: node for node in machine.sysfs.char_devices() if node.pci == address}


def settled(machine: Machine, address: PciAddress) -> Hca:
    """Wait for a function's RDMA device, interface and nodes."""
    eventually(lambda: netdev_of(machine, address) and len(nodes_of(machine, address)) == 3)
    found = hca_of(machine, address)
    assert found is not None
    return found


def made(machine: Machine, count: int, pf: PciAddress = PFS[0]) -> list[PciAddress]:
    """Make VFs that bind by themselves, and wait for them."""
    machine.sriov.set_num_vfs(pf, count)
    vfs = vfs_of(machine, pf)
    for vf in vfs:
        settled(machine, vf)
    return vfs


@contextmanager
def interface(machine: Machine, address: PciAddress = PFS[0]) -> Iterator[tuple[int, Netns]]:
    """Give the index of a function's interface, and the host's namespace, open."""
    netdev = netdev_of(machine, address)
    assert netdev is not None
    host = machine.namespaces.host()
    try:
        yield next(x.index for x in machine.links.list(host) if x.name == netdev.name), host
    finally:
        host.close()


MACHINES: dict[str, Callable[[Path], Machine]] = {
    "simulated": SimulationUnderTest,
    "simulated, zero GUIDs": lambda folder: SimulationUnderTest(folder, zero_vf_guids=True),
}
if IN_GUEST:
    MACHINES = {f"kernel {os.uname().release}": lambda _: KernelUnderTest()}


def born_again() -> None:
    """Let the virtual node's PFs forget what was set for VFs: other suites run there too."""
    sriov = SysfsSriov()
    for pf in PFS:
        sriov.unbind(pf)
        sriov.bind(pf, DRIVER)


def a_machine(request: pytest.FixtureRequest, folder: Path) -> Iterator[Machine]:
    """Set up one of the machines, and see that nothing is left open behind a test."""
    machine = MACHINES[request.param](folder)
    yield machine
    machine.close()
