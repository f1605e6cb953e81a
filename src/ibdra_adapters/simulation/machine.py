"""The simulated machine: one description, seen through verbs, sysfs and netlink alike.

Why: the adapters must never disagree about where a device is.  The fake kernel is the one
truth; whenever it changes a device, the sysfs tree and libibverbs' view are brought up to
date before its caller goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort, FakeRdma
from ibdra_adapters.simulation.profile import PortProfile, Profile, SimulatedHca, expand
from ibdra_adapters.simulation.sriov import SimulatedSriov, SimulatedVfAttributes
from ibdra_adapters.simulation.sysfs_tree import SysfsWriter
from ibdra_adapters.sysfs.reader import UNSET_TRAFFIC_CLASS, SysfsTree
from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_domain.hardware import CharDevice, ErrorCounters, Hca, HcaPort, SysfsReading
from ibdra_domain.identifiers import Gid, Guid, PciAddress, Pkey
from ibdra_domain.link import LinkLayer, PortState, parse_rate


class SimulatedMachine:
    """A machine made from a profile; its tree is written below ``folder``.

    ``verbs``, ``sysfs``, ``namespaces``, ``rdma``, ``links``, ``sriov`` and
    ``vf_attributes`` fulfil the domain's ports, ``kernel`` is what makes things happen
    behind them.  ``functions`` are all PCI functions, ``hcas`` by name those with a driver.
    """

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile = profile
        self.functions = {hca.pci: hca for hca in expand(profile)}
        self.hcas: dict[str, SimulatedHca] = {}
        self.kernel = FakeKernel(
            isolation=profile.isolation, ipoib_follows_device=profile.ipoib_follows_device
        )
        self.verbs = FakeVerbs()
        self.sysfs = SimulatedSysfs(self, folder)
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma = FakeRdmaDevices(self.kernel)
        self.links = FakeLinks(self.kernel)
        self.traffic_classes: dict[str, dict[int, int]] = {}
        self.counters: dict[str, ErrorCounters] = {}
        self._writer = SysfsWriter(folder)
        self._writer.write_machine(isolation=profile.isolation)
        self.kernel.watchers.append(self._show)
        for hca in self.functions.values():
            self._writer.write_function(hca)
            self.plug(hca, up=True)
        profiles = {PciAddress(hca.pci.lower()): hca for hca in profile.hcas}
        self.sriov = SimulatedSriov(self, profiles)
        self.vf_attributes = SimulatedVfAttributes(self, self.sriov)

    def watch(self) -> FakeEvents:
        """Listen to what happens."""
        return FakeEvents(self.kernel)

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Do what the vendor's driver does when its file is written."""
        self.traffic_classes[rdma_device][port] = value
        self._writer.write_traffic_class(self.hcas[rdma_device], port, value)

    def is_bound(self, function: PciAddress) -> bool:
        """Tell whether a function has its driver."""
        return self.functions[function].name in self.hcas

    def plug(self, hca: SimulatedHca, *, up: bool = False) -> None:
        """Bind a function to its driver: its RDMA device and interfaces come."""
        self.functions[hca.pci] = self.hcas[hca.name] = hca
        ports = range(1, len(hca.ports) + 1)
        self.traffic_classes[hca.name] = dict.fromkeys(ports, UNSET_TRAFFIC_CLASS)
        self._writer.write_driver(hca)
        taken = {x.link.name for x in self.kernel.links_of(self.kernel.init_netns)}
        self.kernel.add_device(hca.name, pci=hca.pci, ports=_kernel_ports(hca, taken), up=up)

    def unplug(self, function: PciAddress) -> None:
        """Unbind a function from its driver, wherever its RDMA device is."""
        hca = self.functions[function]
        if self.hcas.get(hca.name) is not None:
            self.kernel.remove_device(hca.name)
            del self.hcas[hca.name]
            self._writer.remove_driver(hca)

    def change(self, hca: SimulatedHca) -> None:
        """Change what the ports of a bound function are like."""
        with self.kernel.lock:
            self.functions[hca.pci] = self.hcas[hca.name] = hca
            self._show(self.kernel.devices[hca.name])

    def set_port_state(self, rdma_device: str, state: PortState, *, port: int = 1) -> None:
        """Let a port go up or down; whoever watches the device is told, as by libibverbs."""
        hca = self.hcas[rdma_device]
        ports = list(hca.ports)
        ports[port - 1] = replace(ports[port - 1], state=state)
        self.change(replace(hca, ports=tuple(ports)))
        up = state is PortState.ACTIVE
        event = AsyncEventType.PORT_ACTIVE if up else AsyncEventType.PORT_ERROR
        self.verbs.tell(rdma_device, event, port=port)

    def count(self, rdma_device: str, counters: ErrorCounters) -> None:
        """Let the ports of a PF have counted this; nobody is told, as on a real one."""
        with self.kernel.lock:
            self.counters[rdma_device] = counters
            self._show(self.kernel.devices[rdma_device])

    def set_vfs(self, pf: PciAddress, vfs: Sequence[SimulatedHca]) -> None:
        """Let a PF have these VFs, without drivers, and no others."""
        for address in self.functions[pf].vfs:
            self._writer.remove_function(self.functions.pop(address))
        for vf in vfs:
            self.functions[vf.pci] = vf
            self._writer.write_function(vf)
        hca = replace(self.functions[pf], vfs=tuple(vf.pci for vf in vfs))
        self.functions[pf] = hca
        if hca.name in self.hcas:
            self.hcas[hca.name] = hca
        self._writer.write_vfs(hca)

    def write_autoprobe(self, pf: PciAddress, *, enabled: bool) -> None:
        """Show whether a PF's VFs are probed."""
        self._writer.write_autoprobe(self.functions[pf], enabled=enabled)

    def _show(self, device: FakeRdma) -> None:
        hca = self.hcas[device.name]
        init = self.kernel.init_netns
        visible = device.name in self.kernel.visible(init)
        self._writer.write_above(
            hca,
            visible=visible,
            links=[(x.port, x.link) for x in self.kernel.links_of(init) if x.rdma == hca.name],
            nodes=self.kernel.nodes_of(device),
            traffic_classes=(
                self.traffic_classes[hca.name] if self.profile.traffic_class_switch else None
            ),
            counters=self.counters.get(hca.name),
        )
        if visible:
            self.verbs.put(_verbs_view(hca))
        else:
            self.verbs.remove(hca.name)


class SimulatedSysfs:
    """The real sysfs reader on the simulated tree; writes take the effect a kernel's would."""

    def __init__(self, machine: SimulatedMachine, folder: Path) -> None:
        self._machine = machine
        self._tree = SysfsTree(folder)

    def read(self) -> SysfsReading:
        """Fulfil the port."""
        return self._tree.read()

    def pkey_table(self, rdma_device: str, port: int) -> tuple[Pkey, ...]:
        """Fulfil the port."""
        return self._tree.pkey_table(rdma_device, port)

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        return self._tree.char_devices(below)

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Fulfil the port."""
        return self._tree.rdma_devices(pci)

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port."""
        return self._tree.traffic_class(rdma_device, port)

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        self._tree.set_traffic_class(rdma_device, port, value)
        self._machine.set_traffic_class(rdma_device, port, value)

    def error_counters(self, rdma_device: str, port: int) -> ErrorCounters:
        """Fulfil the port."""
        return self._tree.error_counters(rdma_device, port)


def _kernel_ports(hca: SimulatedHca, taken: Collection[str]) -> tuple[FakePort, ...]:
    return tuple(
        FakePort(
            number=number,
            guid=guid,
            netdev=_free_name(port.netdev, taken),
            mtu=port.mtu,
            broadcast_mtu=port.broadcast_mtu,
        )
        for number, (port, guid) in enumerate(zip(hca.ports, hca.port_guids, strict=True), 1)
    )


def _free_name(wanted: str | None, taken: Collection[str]) -> str | None:
    """Name an interface as the host's rules would, or as the kernel did if that is taken."""
    if wanted is None or wanted not in taken:
        return wanted
    return next(name for i in count() if (name := f"ib{i}") not in taken)


def _verbs_view(hca: SimulatedHca) -> Hca:
    return Hca(
        name=hca.name,
        node_guid=hca.node_guid,
        firmware=hca.model.firmware,
        ports=tuple(
            _verbs_port(number, port, guid)
            for number, (port, guid) in enumerate(zip(hca.ports, hca.port_guids, strict=True), 1)
        ),
    )


def _verbs_port(number: int, port: PortProfile, guid: Guid) -> HcaPort:
    return HcaPort(
        number=number,
        state=port.state,
        physical_state=port.physical_line.split(": ")[1],
        link_layer=port.link_layer,
        rate=parse_rate(port.rate),
        lid=port.lid,
        sm_lid=port.sm_lid,
        gid0=Gid(f"fe80:0000:0000:0000:{guid}"),
        active_mtu=port.mtu if port.link_layer is LinkLayer.INFINIBAND else None,
    )
