"""The simulated machine: one description, seen through verbs, sysfs and netlink alike.

Why: the adapters must never disagree about where a device is.  The fake kernel is the one
truth; whenever it changes a device, the sysfs tree and libibverbs' view are brought up to
date before its caller goes on.
"""

from __future__ import annotations

from pathlib import Path

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort, FakeRdma
from ibdra_adapters.simulation.profile import PortProfile, Profile, SimulatedHca, expand
from ibdra_adapters.simulation.sysfs_tree import SysfsWriter
from ibdra_adapters.sysfs.reader import UNSET_TRAFFIC_CLASS, SysfsTree
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_domain.hardware import CharDevice, Hca, HcaPort, SysfsReading
from ibdra_domain.identifiers import Gid, Guid, Pkey
from ibdra_domain.link import LinkLayer, parse_rate


class SimulatedMachine:
    """A machine made from a profile; its tree is written below ``folder``.

    ``verbs``, ``sysfs``, ``namespaces``, ``rdma`` and ``links`` fulfil the domain's
    ports, ``kernel`` is what makes things happen behind them.
    """

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile = profile
        self.hcas = {hca.name: hca for hca in expand(profile)}
        self.kernel = FakeKernel(
            isolation=profile.isolation, ipoib_follows_device=profile.ipoib_follows_device
        )
        self.verbs = FakeVerbs()
        self.sysfs = SimulatedSysfs(self, folder)
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma = FakeRdmaDevices(self.kernel)
        self.links = FakeLinks(self.kernel)
        self.traffic_classes: dict[str, dict[int, int]] = {
            name: dict.fromkeys(range(1, len(hca.ports) + 1), UNSET_TRAFFIC_CLASS)
            for name, hca in self.hcas.items()
        }
        self._writer = SysfsWriter(folder)
        self._writer.write_machine(isolation=profile.isolation)
        for hca in self.hcas.values():
            self._writer.write_function(hca)
            self.kernel.add_device(hca.name, pci=hca.pci, ports=_kernel_ports(hca))
            self._show(self.kernel.devices[hca.name])
        self.kernel.watchers.append(self._show)

    def watch(self) -> FakeEvents:
        """Listen to what happens."""
        return FakeEvents(self.kernel)

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Do what the vendor's driver does when its file is written."""
        self.traffic_classes[rdma_device][port] = value
        self._writer.write_traffic_class(self.hcas[rdma_device], port, value)

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

    def char_devices(self) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        return self._tree.char_devices()

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port."""
        return self._tree.traffic_class(rdma_device, port)

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        self._tree.set_traffic_class(rdma_device, port, value)
        self._machine.set_traffic_class(rdma_device, port, value)


def _kernel_ports(hca: SimulatedHca) -> tuple[FakePort, ...]:
    return tuple(
        FakePort(number=number, guid=guid, netdev=port.netdev, mtu=port.mtu)
        for number, (port, guid) in enumerate(zip(hca.ports, hca.port_guids, strict=True), 1)
    )


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
