"""The virtual node's own ``/sys`` under the sysfs contract.

Why: what the suite's trees hold is what we think a kernel shows.  What this kernel must show
is written down here from the node's README and from ``/dev``, not read from ``/sys``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from contract.verbs.kernel_verbs import ADDRESSES, IN_GUEST, put_right
from contract.virtual_node import inside
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.hardware import (
    CharDevice,
    CharDeviceKind,
    Hca,
    HcaPort,
    NetDevice,
    PciFunction,
    RdmaIsolation,
    SysfsReading,
)
from ibdra_domain.identifiers import Gid, Guid, PciAddress
from ibdra_domain.link import LinkLayer, PortState, Rate

__all__ = ["IN_GUEST", "KernelMachine"]


class KernelMachine:
    """The node, with one HCA on each socket and no VFs."""

    def __init__(self) -> None:
        self._functions = put_right()
        self.sysfs = SysfsTree()
        if self.sysfs.traffic_class("mlx5_0", 1) != -1:
            self.set_switch(1, -1)

    @property
    def reading(self) -> SysfsReading:
        """Say what is in the machine; names of interfaces are the kernel's, by the address."""
        return SysfsReading(
            addresses=frozenset(_addresses()),
            functions=tuple(_function(node) for node in (0, 1)),
            hcas=tuple(_hca(node) for node in (0, 1)),
            netdevs=tuple(_netdev(node) for node in (0, 1)),
            isolation=RdmaIsolation(inside.MODE),
        )

    def add_nodes(self) -> tuple[CharDevice, ...]:
        """Say which nodes are below /dev/infiniband; the n-th HCA has the n-th of each kind."""
        found = []
        for path in sorted(inside.NODES.iterdir()):
            number = path.stat().st_rdev
            node = CharDevice(
                kind=CharDeviceKind(path.name.rstrip("0123456789")),
                name=path.name,
                major=os.major(number),
                minor=os.minor(number),
            )
            for function in self._functions:
                if node.kind is CharDeviceKind.RDMA_CM:
                    break
                if path == inside.node_of(function, node.kind.value):
                    node = replace(
                        node,
                        rdma_device=inside.rdma_device(function),
                        port=0 if node.kind is CharDeviceKind.UVERBS else 1,
                        pci=PciAddress(function.name),
                    )
            found.append(node)
        return tuple(found)

    def set_pkeys(self, port: int, *table: int) -> None:
        """Give the port a partition table."""
        assert 1 == port
        inside.write(self._functions[0] / "stub_pkeys", " ".join(f"{entry:#x}" for entry in table))

    def set_switch(self, port: int, value: int) -> None:
        """Set the vendor's traffic class, past the adapter."""
        assert 1 == port
        inside.write(Path("/sys/class/infiniband/mlx5_0/tc/1/traffic_class"), str(value))


def _guid(node: int) -> Guid:
    return Guid(f"0c42:a103:00{'48'[node]}1:0000")


def _addresses() -> Iterator[PciAddress]:
    """Give the PCI functions that the kernel lists elsewhere; the node has one domain."""
    for line in Path("/proc/bus/pci/devices").read_text().splitlines():
        bus, function = divmod(int(line.split(maxsplit=1)[0], 16), 0x100)
        yield PciAddress(f"0000:{bus:02x}:{function >> 3:02x}.{function & 7}")


def _function(node: int) -> PciFunction:
    return PciFunction(
        address=PciAddress(ADDRESSES[node]),
        vendor=0x15B3,
        device=0x101B,
        driver="mlx5_core",
        numa_node=node,
        pcie_root=f"pci0000:{'48'[node]}0",
        total_vfs=8,
        num_vfs=0,
        autoprobe=True,
    )


def _hca(node: int) -> Hca:
    guid = _guid(node)
    port = HcaPort(
        number=1,
        state=PortState.ACTIVE,
        physical_state="LinkUp",
        link_layer=LinkLayer.INFINIBAND,
        rate=Rate(200000, 4),
        lid=int(f"{'48'[node]}1", 16),
        sm_lid=1,
        gid0=Gid(f"fe80:0000:0000:0000:{guid}"),
    )
    return Hca(
        name=f"mlx5_{node}",
        pci=PciAddress(ADDRESSES[node]),
        node_guid=guid,
        firmware="20.35.1012",
        board_id="MT_0000000223",
        hca_type="MT4123",
        ports=(port,),
    )


def _netdev(node: int) -> NetDevice:
    """Find the interface by its address, in what ``ip`` prints."""
    tail = ":".join(_guid(node).replace(":", "")[i : i + 2] for i in range(0, 16, 2))
    entries = [line.split() for line in inside.run("ip -o link").splitlines()]
    name, address = next(
        (words[1].rstrip(":"), words[words.index("link/infiniband") + 1])
        for words in entries
        if "link/infiniband" in words and words[words.index("link/infiniband") + 1].endswith(tail)
    )
    return NetDevice(
        name=name,
        pci=PciAddress(ADDRESSES[node]),
        port=1,
        hardware_address=address,
        infiniband=True,
    )
