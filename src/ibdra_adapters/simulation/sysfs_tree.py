"""A simulated machine's ``/sys``: real files and links, as the kernel lays them out.

Why: the simulation is read by the real sysfs reader, so that the demo and every test on
it go through the code that runs on hardware.  Everything above a PCI function
(``infiniband``, ``net``, character devices) is written anew whenever the kernel re-creates
it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ibdra_adapters.simulation.profile import PortProfile, SimulatedHca
from ibdra_domain.hardware import CharDevice, CharDeviceKind, ErrorCounters, RdmaIsolation
from ibdra_domain.identifiers import Guid
from ibdra_domain.link import LinkLayer
from ibdra_domain.ports.netlink import Link

_ABOVE = ("infiniband", "infiniband_verbs", "infiniband_mad", "net")
_SUBNET = "fe80:0000:0000:0000"


class SysfsWriter:
    """Writes one machine's tree below ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._class_links: dict[str, list[Path]] = {}

    def write_machine(self, *, isolation: RdmaIsolation) -> None:
        """Write what does not belong to one device."""
        for folder in (
            "class/infiniband",
            "class/infiniband_verbs",
            "class/infiniband_mad",
            "class/net",
            "bus/pci/devices",
        ):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        self._put("class/misc/rdma_cm/dev", "10:58")
        self.write_isolation(isolation)

    def write_isolation(self, isolation: RdmaIsolation) -> None:
        """Write the machine's RDMA mode."""
        shared = isolation is RdmaIsolation.SHARED
        self._put("module/ib_core/parameters/netns_mode", "Y" if shared else "N")

    def write_function(self, hca: SimulatedHca) -> None:
        """Write a PCI function, without what is above it."""
        folder = self._folder(hca)
        folder.mkdir(parents=True, exist_ok=True)
        infiniband = hca.ports[0].link_layer is LinkLayer.INFINIBAND
        facts = {
            "vendor": "0x15b3",
            "device": f"{hca.device_id:#06x}",
            "class": "0x020700" if infiniband else "0x020000",
            "numa_node": str(hca.numa),
        }
        if hca.total_vfs is not None:
            facts |= {"sriov_totalvfs": str(hca.total_vfs), "sriov_drivers_autoprobe": "1"}
        for name, value in facts.items():
            (folder / name).write_text(value + "\n")
        _link(self._root / "bus/pci/devices" / hca.pci, folder)
        if hca.total_vfs is not None:
            self.write_vfs(hca)
        if hca.physfn is not None:
            _link(folder / "physfn", folder.parent / hca.physfn)

    def remove_function(self, hca: SimulatedHca) -> None:
        """Remove a function that has no driver any more."""
        (self._root / "bus/pci/devices" / hca.pci).unlink()
        shutil.rmtree(self._folder(hca))

    def write_vfs(self, pf: SimulatedHca) -> None:
        """Write how many VFs a PF has, and the links to them."""
        folder = self._folder(pf)
        (folder / "sriov_numvfs").write_text(f"{len(pf.vfs)}\n")
        for old in folder.glob("virtfn*"):
            old.unlink()
        for index, vf in enumerate(pf.vfs):
            _link(folder / f"virtfn{index}", folder.parent / vf)

    def write_autoprobe(self, pf: SimulatedHca, *, enabled: bool) -> None:
        """Write whether drivers bind to a PF's VFs."""
        (self._folder(pf) / "sriov_drivers_autoprobe").write_text(f"{enabled:d}\n")

    def write_driver(self, hca: SimulatedHca) -> None:
        """Bind a function to its driver."""
        driver = self._root / "bus/pci/drivers" / hca.model.driver
        driver.mkdir(parents=True, exist_ok=True)
        _link(self._folder(hca) / "driver", driver)

    def remove_driver(self, hca: SimulatedHca) -> None:
        """Unbind a function: nothing is above it then."""
        self._clear_above(hca)
        (self._folder(hca) / "driver").unlink()

    def write_above(
        self,
        hca: SimulatedHca,
        *,
        visible: bool,
        links: Iterable[tuple[int, Link]],
        nodes: Iterable[CharDevice],
        traffic_classes: dict[int, int] | None,
        counters: ErrorCounters | None = None,
    ) -> None:
        """Write what the host's namespace shows above a function, and nothing else.

        ``links`` come with their port's number; ``traffic_classes`` is None without the
        vendor's switch, ``counters`` where nothing was ever counted.
        """
        folder = self._folder(hca)
        self._clear_above(hca)
        (folder / "infiniband").mkdir()
        if visible:
            self._write_rdma(hca, folder, traffic_classes)
            for number in range(1, len(hca.ports) + 1 if counters else 1):
                _write_counters(folder / f"infiniband/{hca.name}/ports/{number}", counters)
        for node in nodes:
            self._write_node(hca, folder, node)
        for port, link in links:
            self._write_netdev(hca, folder, port, link)

    def write_traffic_class(self, hca: SimulatedHca, port: int, value: int) -> None:
        """Print a port's traffic class as the vendor's driver does: nothing if unset."""
        path = self._folder(hca) / f"infiniband/{hca.name}/tc/{port}/traffic_class"
        path.write_text(f"Global tclass={value}\n" if value >= 0 else "")

    def _clear_above(self, hca: SimulatedHca) -> None:
        for name in _ABOVE:
            shutil.rmtree(self._folder(hca) / name, ignore_errors=True)
        for old in self._class_links.pop(hca.name, ()):
            old.unlink(missing_ok=True)

    def _write_rdma(
        self, hca: SimulatedHca, folder: Path, traffic_classes: dict[int, int] | None
    ) -> None:
        base = folder / "infiniband" / hca.name
        base.mkdir()
        _link(base / "device", folder)
        for name, value in {
            "node_guid": hca.node_guid,
            "sys_image_guid": hca.node_guid,
            "node_type": "1: CA",
            "fw_ver": hca.model.firmware,
            "board_id": hca.model.board,
            "hca_type": hca.model.hca_type,
        }.items():
            (base / name).write_text(value + "\n")
        for number, (port, guid) in enumerate(zip(hca.ports, hca.port_guids, strict=True), 1):
            _write_port(base / f"ports/{number}", port, guid)
            if traffic_classes is not None:
                (base / f"tc/{number}").mkdir(parents=True)
                self.write_traffic_class(hca, number, traffic_classes[number])
        self._class(hca, "infiniband", base)

    def _write_node(self, hca: SimulatedHca, folder: Path, node: CharDevice) -> None:
        verbs = node.kind is CharDeviceKind.UVERBS
        kind = "infiniband_verbs" if verbs else "infiniband_mad"
        base = folder / kind / node.name
        base.mkdir(parents=True)
        (base / "dev").write_text(f"{node.major}:{node.minor}\n")
        (base / "ibdev").write_text(f"{hca.name}\n")
        if not verbs:
            (base / "port").write_text(f"{node.port}\n")
        _link(base / "device", folder)
        self._class(hca, kind, base)

    def _write_netdev(self, hca: SimulatedHca, folder: Path, port: int, link: Link) -> None:
        base = folder / "net" / link.name
        base.mkdir(parents=True)
        infiniband = hca.ports[port - 1].link_layer is LinkLayer.INFINIBAND
        guid = (link.port_guid or "").replace(":", "")
        octets = "00001048" + _SUBNET.replace(":", "") + guid if infiniband else "0" + guid[5:]
        address = ":".join(octets[i : i + 2] for i in range(0, len(octets), 2))
        for name, value in {
            "address": address,
            "type": "32" if infiniband else "1",
            "dev_port": str(port - 1),
            "dev_id": f"{port - 1:#x}",
            "mtu": str(link.mtu),
            "ifindex": str(link.index),
            "iflink": str(link.parent or link.index),
        }.items():
            (base / name).write_text(value + "\n")
        _link(base / "device", folder)
        self._class(hca, "net", base)

    def _class(self, hca: SimulatedHca, name: str, target: Path) -> None:
        link = self._root / "class" / name / target.name
        _link(link, target)
        self._class_links.setdefault(hca.name, []).append(link)

    def _folder(self, hca: SimulatedHca) -> Path:
        return self._root.joinpath("devices", hca.root, *hca.bridges, hca.pci)

    def _put(self, path: str, value: str) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(value + "\n")


def _write_port(base: Path, port: PortProfile, guid: Guid) -> None:
    for folder in ("gids", "pkeys"):
        (base / folder).mkdir(parents=True)
    for name, value in {
        "state": port.state_line,
        "phys_state": port.physical_line,
        "link_layer": port.link_layer.value,
        "rate": port.rate,
        "lid": f"{port.lid:#x}",
        "sm_lid": f"{port.sm_lid:#x}",
        "gids/0": f"{_SUBNET}:{guid}",
    }.items():
        (base / name).write_text(value + "\n")
    for index in range(8):
        pkey = port.pkeys[index] if index < len(port.pkeys) else "0x0000"
        (base / f"pkeys/{index}").write_text(pkey + "\n")


def _write_counters(base: Path, counters: ErrorCounters | None) -> None:
    (base / "counters").mkdir()
    for name in ErrorCounters.__struct_fields__:
        (base / "counters" / name).write_text(f"{getattr(counters, name) or 0}\n")


def _link(link: Path, target: Path) -> None:
    """Make a relative link, as sysfs does."""
    link.symlink_to(os.path.relpath(target, link.parent))
