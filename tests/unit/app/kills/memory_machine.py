"""The simulated machine without files: what its sysfs would say, said at once.

Why: a machine is made for every step that a driver can be killed at, thousands in all, and
most of the simulation's time goes into writing and reading a tree.  A test beside this
compares it with the simulation and the real reader.
"""

from __future__ import annotations

import errno

from msgspec.structs import replace

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_adapters.simulation.machine import _verbs_view
from ibdra_adapters.simulation.profile import Profile, SimulatedHca, expand
from ibdra_domain.errors import HardwareUnreadable, KernelRefused
from ibdra_domain.hardware import (
    CharDevice,
    Hca,
    NetDevice,
    PciFunction,
    SysfsReading,
    VerbsReading,
)
from ibdra_domain.identifiers import PciAddress, Pkey
from ibdra_domain.inventory import MELLANOX

UNSET = -1
_FLAGS = "00:00:10:48"


class MemoryMachine:
    """Fulfils what the use cases' tests want of a simulated machine."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.hcas = {hca.name: hca for hca in expand(profile)}
        self.kernel = FakeKernel(
            isolation=profile.isolation, ipoib_follows_device=profile.ipoib_follows_device
        )
        self.sysfs = MemorySysfs(self)
        self.verbs = MemoryVerbs(self)
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma = FakeRdmaDevices(self.kernel)
        self.links = FakeLinks(self.kernel)
        self.traffic_classes = {
            name: dict.fromkeys(range(1, len(hca.ports) + 1), UNSET)
            for name, hca in self.hcas.items()
        }
        for name in self.hcas:
            self.plug_in(name)

    def plug_in(self, name: str) -> None:
        """Give the machine one of its devices, for the first time or again."""
        hca = self.hcas[name]
        ports = tuple(
            FakePort(
                number=number,
                guid=guid,
                netdev=port.netdev,
                mtu=port.mtu,
                broadcast_mtu=port.broadcast_mtu,
            )
            for number, (port, guid) in enumerate(zip(hca.ports, hca.port_guids, strict=True), 1)
        )
        self.traffic_classes[name] = dict.fromkeys(self.traffic_classes[name], UNSET)
        self.kernel.add_device(name, pci=hca.pci, ports=ports)

    def pull_out(self, name: str) -> None:
        """Take a device away; its PCI function stays, as when its driver is unbound."""
        self.kernel.remove_device(name)

    def watch(self) -> FakeEvents:
        """Listen to what happens."""
        return FakeEvents(self.kernel)

    def at_home(self, name: str) -> bool:
        """Tell whether the host's namespace shows a device."""
        return name in self.kernel.visible(self.kernel.init_netns)


class MemorySysfs:
    """Fulfils the Sysfs port."""

    def __init__(self, machine: MemoryMachine) -> None:
        self._machine = machine

    def read(self) -> SysfsReading:
        """Fulfil the port."""
        machine = self._machine
        host = machine.kernel.links_of(machine.kernel.init_netns)
        return SysfsReading(
            addresses=frozenset(hca.pci for hca in machine.hcas.values()),
            functions=tuple(_function(hca) for hca in machine.hcas.values()),
            hcas=tuple(_hca(h) for h in machine.hcas.values() if machine.at_home(h.name)),
            netdevs=tuple(
                NetDevice(
                    name=x.link.name,
                    pci=machine.hcas[x.rdma].pci,
                    port=x.port,
                    hardware_address=_address(str(x.link.port_guid)),
                    infiniband=True,
                )
                for x in host
                if x.link.parent is None
            ),
            isolation=machine.kernel.isolation,
        )

    def pkey_table(self, rdma_device: str, port: int) -> tuple[Pkey, ...]:
        """Fulfil the port."""
        if not self._machine.at_home(rdma_device):
            raise HardwareUnreadable(f"{rdma_device} is not here", remedy="ask again")
        pkeys = self._machine.hcas[rdma_device].ports[port - 1].pkeys
        return tuple(Pkey(int(pkey, 16)) for pkey in pkeys)

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        nodes = self._machine.kernel.char_devices()
        return tuple(node for node in nodes if below is None or node.pci == below)

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Fulfil the port."""
        found = (x.name for x in self._machine.kernel.devices.values() if x.pci == pci)
        return tuple(name for name in found if self._machine.at_home(name))

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port."""
        machine = self._machine
        if not machine.profile.traffic_class_switch or not machine.at_home(rdma_device):
            return None
        return machine.traffic_classes[rdma_device][port]

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        if not self._machine.at_home(rdma_device):
            raise KernelRefused(f"{rdma_device} is not here", remedy="none", errno=errno.ENOENT)
        self._machine.traffic_classes[rdma_device][port] = value


class MemoryVerbs:
    """What libibverbs opens in the host's namespace."""

    def __init__(self, machine: MemoryMachine) -> None:
        self._machine = machine

    def read(self) -> VerbsReading:
        """Fulfil the port."""
        machine = self._machine
        shown = (hca for hca in machine.hcas.values() if machine.at_home(hca.name))
        return VerbsReading(hcas=tuple(_verbs_view(hca) for hca in shown))

    def read_port(self, rdma_device: str, port: int) -> None:
        """Fulfil the port; no use case that is killed asks this."""
        raise NotImplementedError


def _function(hca: SimulatedHca) -> PciFunction:
    return PciFunction(
        address=hca.pci,
        vendor=MELLANOX,
        device=hca.device_id,
        driver=hca.model.driver,
        numa_node=hca.numa,
        pcie_root=hca.root,
        physfn=hca.physfn,
        vfs=hca.vfs,
        total_vfs=hca.total_vfs,
        num_vfs=len(hca.vfs) if hca.total_vfs else None,
        autoprobe=True if hca.total_vfs else None,
    )


def _hca(hca: SimulatedHca) -> Hca:
    """Take libibverbs' view for what both say, and what only sysfs says from the model."""
    view = _verbs_view(hca)
    return Hca(
        name=hca.name,
        pci=hca.pci,
        node_guid=hca.node_guid,
        firmware=view.firmware,
        board_id=hca.model.board,
        hca_type=hca.model.hca_type,
        ports=tuple(replace(port, active_mtu=None) for port in view.ports),
    )


def _address(guid: str) -> str:
    octets = guid.replace(":", "")
    tail = ":".join(octets[i : i + 2] for i in range(0, 16, 2))
    return f"{_FLAGS}:fe:80:00:00:00:00:00:00:{tail}"
