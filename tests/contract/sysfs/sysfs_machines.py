"""Machines for the contract of the ``Sysfs`` port: the fake, and the reader over a tree.

Why: the suite says once what a port has (pkeys, a switch, nodes).  ``TreeMachine`` writes
it down as the kernel would show it, so that the reader has to read it back.  In the virtual
node a real kernel is one more machine, which shows what its README says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ibdra_adapters.sysfs.fake import FakeSysfs
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.hardware import CharDevice, CharDeviceKind, ErrorCounters, SysfsReading
from ibdra_domain.identifiers import Pkey
from ibdra_domain.ports.sysfs import PortCounters, Sysfs
from unit.domain.domain_facts import (
    IPOIB_ADDRESS,
    PF,
    a_char_device,
    a_function,
    a_netdev,
    an_hca,
    an_hca_port,
    rdma_cm,
)

READING = SysfsReading(
    addresses=frozenset({PF}),
    functions=(a_function(total_vfs=None, num_vfs=None),),
    hcas=(an_hca(ports=(an_hca_port(active_mtu=None),)),),
    netdevs=(a_netdev(),),
)
NODES = (
    a_char_device(),
    a_char_device(kind=CharDeviceKind.ISSM, name="issm0", minor=64, port=1),
    a_char_device(kind=CharDeviceKind.UMAD, name="umad0", minor=0, port=1),
    rdma_cm(),
)
FOLDERS = {CharDeviceKind.UVERBS: "infiniband_verbs"}


class Machine(Protocol):
    """What the suite does to a machine with an HCA ``mlx5_0``, and the port that looks at it."""

    @property
    def sysfs(self) -> Sysfs: ...
    @property
    def reading(self) -> SysfsReading: ...
    def add_nodes(self) -> tuple[CharDevice, ...]: ...
    def set_pkeys(self, port: int, *table: int) -> None: ...
    def set_switch(self, port: int, value: int) -> None: ...


class CountingMachine(Protocol):
    """A machine whose HCA ``mlx5_0`` counts what it is told to."""

    @property
    def sysfs(self) -> PortCounters: ...
    def set_counters(self, port: int, **counters: int) -> None: ...


class FakeMachine:
    """The shipped fake under the suite."""

    reading = READING

    def __init__(self) -> None:
        self.sysfs = FakeSysfs(READING)

    def add_nodes(self) -> tuple[CharDevice, ...]:
        self.sysfs.nodes += NODES
        return NODES

    def set_pkeys(self, port: int, *table: int) -> None:
        self.sysfs.pkeys["mlx5_0", port] = tuple(Pkey(entry) for entry in table)

    def set_switch(self, port: int, value: int) -> None:
        self.sysfs.traffic_classes["mlx5_0", port] = value

    def set_counters(self, port: int, **counters: int) -> None:
        self.sysfs.counters["mlx5_0", port] = ErrorCounters(**counters)


class TreeMachine:
    """The real adapter over a tree of files."""

    reading = READING

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sysfs = SysfsTree(root)
        pcie = f"devices/pci0000:3a/{PF}"
        self.hca = f"{pcie}/infiniband/mlx5_0"
        self.write(
            pcie,
            {
                "vendor": "0x15b3",
                "device": "0x101b",
                "class": "0x020700",
                "numa_node": "0",
                "net/ib0/dev_port": "0",
                "net/ib0/address": IPOIB_ADDRESS,
                "net/ib0/type": "32",
            },
        )
        self.write(
            self.hca,
            {
                "node_guid": "a088:c203:0012:3456",
                "fw_ver": "20.43.1014",
                "board_id": "MT_0000000226",
                "hca_type": "MT4123",
                "ports/1/state": "4: ACTIVE",
                "ports/1/phys_state": "5: LinkUp",
                "ports/1/link_layer": "InfiniBand",
                "ports/1/rate": "200 Gb/sec (4X HDR)",
                "ports/1/lid": "0x2f",
                "ports/1/sm_lid": "0x1",
                "ports/1/gids/0": "fe80:0000:0000:0000:a088:c203:0012:3457",
            },
        )
        self.link("bus/pci/devices/" + PF, f"../../../{pcie}")
        self.link(f"{pcie}/driver", "../../../bus/pci/drivers/mlx5_core")
        self.link("class/infiniband/mlx5_0", f"../../{self.hca}")

    def write(self, folder: str, files: dict[str, str]) -> None:
        """Write attributes, each with the kernel's newline."""
        for name, text in files.items():
            path = self.root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).symlink_to(target)

    def add_nodes(self) -> tuple[CharDevice, ...]:
        for node in NODES:
            numbers = {"dev": f"{node.major}:{node.minor}"}
            if node.rdma_device is None:
                self.write(f"class/misc/{node.name}", numbers)
                continue
            kind = FOLDERS.get(node.kind, "infiniband_mad")
            folder = f"devices/pci0000:3a/{PF}/{kind}/{node.name}"
            port = {"port": str(node.port)} if node.port else {}
            self.write(folder, numbers | {"ibdev": node.rdma_device} | port)
            self.link(f"class/{kind}/{node.name}", f"../../{folder}")
        return NODES

    def set_pkeys(self, port: int, *table: int) -> None:
        files = {str(index): f"{entry:#06x}" for index, entry in enumerate(table)}
        self.write(f"{self.hca}/ports/{port}/pkeys", files)

    def set_switch(self, port: int, value: int) -> None:
        self.switch(port).parent.mkdir(parents=True, exist_ok=True)
        self.switch(port).write_text(f"Global tclass={value}\n" if value >= 0 else "")

    def set_counters(self, port: int, **counters: int) -> None:
        files = {name: str(value) for name, value in counters.items()}
        self.write(f"{self.hca}/ports/{port}/counters", files)

    def switch(self, port: int) -> Path:
        """Give the file by which a port's traffic class is set."""
        return self.root / self.hca / f"tc/{port}/traffic_class"
