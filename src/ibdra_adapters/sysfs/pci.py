"""PCI functions: which there are, how they hang together, what SR-IOV says.

Why: the PCI function is a device's identity (D1), and the only thing that stays visible
on the host while the RDMA device is in a pod's namespace.

Source: ``Documentation/ABI/testing/sysfs-bus-pci``; class codes from the PCI Code and ID
Assignment Specification (0x0207: InfiniBand controller).
"""

from __future__ import annotations

import re

from ibdra_adapters.sysfs.files import Tree, decimal, hexadecimal
from ibdra_domain.errors import InvalidIdentifier
from ibdra_domain.hardware import NetDevice, PciFunction
from ibdra_domain.identifiers import PciAddress, parse_pci_address

_ROOT = re.compile(r"(?:\A|/)(pci[0-9a-f]{4,8}:[0-9a-f]{2})/")
_INFINIBAND_CLASS = "0x0207"
_ARPHRD_INFINIBAND = "32"
_SWITCH = {"1": True, "0": False}


def address_of(text: str) -> PciAddress | None:
    """Read a PCI address; None for anything else."""
    try:
        return parse_pci_address(text)
    except InvalidIdentifier:
        return None


def addresses(tree: Tree) -> list[PciAddress]:
    """List all PCI functions of the machine."""
    return [found for name in tree.names("bus/pci/devices") if (found := address_of(name))]


def is_infiniband_controller(tree: Tree, address: str) -> bool:
    """Tell an HCA in InfiniBand mode by its class, whether or not it shows an RDMA device."""
    text = tree.text(f"bus/pci/devices/{address}/class", optional=True)
    return text is not None and text.startswith(_INFINIBAND_CLASS)


def read_function(tree: Tree, address: PciAddress) -> PciFunction:
    """Read one function."""
    base = f"bus/pci/devices/{address}/"
    physfn = _linked_address(tree, base + "physfn")
    total = num = autoprobe = None
    vfs: tuple[PciAddress | None, ...] = ()
    if physfn is None:
        total = tree.parsed(base + "sriov_totalvfs", _count, optional=True)
        if total:
            num = tree.parsed(base + "sriov_numvfs", _count)
            vfs = _virtual_functions(tree, base, num or 0)
            autoprobe = tree.parsed(base + "sriov_drivers_autoprobe", _SWITCH.get, optional=True)
    # a kernel built without NUMA has no such file anywhere
    numa_node = tree.parsed(base + "numa_node", decimal, optional=True)
    driver = tree.link(base + "driver")
    return PciFunction(
        address=address,
        vendor=tree.parsed(base + "vendor", hexadecimal) or 0,
        device=tree.parsed(base + "device", hexadecimal) or 0,
        driver=driver.rsplit("/", 1)[-1] if driver else None,
        numa_node=-1 if numa_node is None else numa_node,
        pcie_root=_pcie_root(tree, address),
        physfn=physfn,
        vfs=vfs,
        total_vfs=total,
        num_vfs=num,
        autoprobe=autoprobe,
    )


def read_netdevs(tree: Tree, address: PciAddress) -> list[NetDevice]:
    """Read a function's network interfaces, one a port.

    Where a port has several, the one that is no child of another counts.
    """
    base = f"bus/pci/devices/{address}/net"
    found: dict[int, list[NetDevice]] = {}
    for name in tree.names(base):
        here = f"{base}/{name}/"
        port = tree.parsed(here + "dev_port", decimal, optional=True)
        if not port:  # older drivers number their ports in dev_id only
            port = tree.parsed(here + "dev_id", hexadecimal, optional=True) or 0
        netdev = NetDevice(
            name=name,
            pci=address,
            port=port + 1,
            hardware_address=tree.text(here + "address") or "",
            infiniband=tree.text(here + "type") == _ARPHRD_INFINIBAND,
        )
        found.setdefault(netdev.port, []).append(netdev)
    return [
        several[0] if len(several) == 1 else min(several, key=lambda n: _childhood(tree, base, n))
        for several in found.values()
    ]


def _childhood(tree: Tree, base: str, netdev: NetDevice) -> tuple[bool, int, str]:
    """Order interfaces: those that sit on no other (iflink is their own index) first."""
    own, below = (
        tree.text(f"{base}/{netdev.name}/{file}", optional=True) for file in ("ifindex", "iflink")
    )
    return own != below, len(netdev.name), netdev.name


def _virtual_functions(tree: Tree, base: str, count: int) -> tuple[PciAddress | None, ...]:
    return tuple(_linked_address(tree, f"{base}virtfn{i}", optional=False) for i in range(count))


def _linked_address(tree: Tree, path: str, *, optional: bool = True) -> PciAddress | None:
    target = tree.link(path, optional=optional)
    if target is None:
        return None
    address = address_of(target.rsplit("/", 1)[-1])
    if address is None:
        tree.note(path, f"it leads to {target}, which is no PCI function")
    return address


def _pcie_root(tree: Tree, address: PciAddress) -> str | None:
    """Give the root complex a function hangs on: ``pci0000:3a``."""
    target = tree.link(f"bus/pci/devices/{address}")
    match = _ROOT.search(target or "") or _ROOT.search(tree.resolved(f"bus/pci/devices/{address}/"))
    return match[1] if match else None


def _count(text: str) -> int | None:
    value = decimal(text)
    return value if value is not None and 0 <= value <= 0xFFFF else None
