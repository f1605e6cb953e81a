"""RDMA devices, their ports, partition tables and character devices.

Why: names here are whatever the administrator or udev chose, so nothing is guessed from
a name: the PCI function below a device is read from where its link leads.

Source: ``Documentation/ABI/stable/sysfs-class-infiniband``.
"""

from __future__ import annotations

import re
from collections import Counter

from msgspec.structs import replace

from ibdra_adapters.sysfs.files import Tree, decimal, hexadecimal
from ibdra_adapters.sysfs.pci import address_of
from ibdra_domain.hardware import CharDevice, CharDeviceKind, ErrorCounters, Hca, HcaPort
from ibdra_domain.identifiers import PciAddress, Pkey, parse_gid, parse_guid, parse_pkey
from ibdra_domain.link import parse_physical_state, parse_port_state, parse_rate

CLASS = "class/infiniband"
_NUMBER = re.compile(r"[1-9]\d{0,2}\Z", re.ASCII)
_PKEY_INDEX = re.compile(r"(?:0|[1-9]\d{0,4})\Z", re.ASCII)
_NUMBERED_NODE = re.compile(r"(uverbs|umad|issm)(\d{1,7})\Z", re.ASCII)
_DEV = re.compile(r"(\d{1,4}):(\d{1,8})\Z")


def read_hcas(tree: Tree) -> tuple[Hca, ...]:
    """Read all RDMA devices of our namespace with all their ports."""
    found = [_read_hca(tree, name) for name in tree.names(CLASS)]
    below = Counter(hca.pci for hca in found if hca.pci is not None)
    if max(below.values(), default=0) > 1:
        served = {n.rdma_device for n in read_char_devices(tree) if n.kind is CharDeviceKind.UVERBS}
        found = [
            replace(hca, has_uverbs=hca.name in served)
            if hca.pci is not None and below[hca.pci] > 1
            else hca
            for hca in found
        ]
    return tuple(hca for hca in found if hca.ports or hca.node_guid)


def _read_hca(tree: Tree, name: str) -> Hca:
    base = f"{CLASS}/{name}/"
    return Hca(
        name=name,
        pci=function_below(tree, f"{CLASS}/{name}"),
        node_guid=tree.parsed(base + "node_guid", parse_guid),
        firmware=tree.text(base + "fw_ver") or None,
        board_id=tree.text(base + "board_id", optional=True) or None,
        hca_type=tree.text(base + "hca_type", optional=True) or None,
        ports=tuple(
            _read_port(tree, f"{base}ports/{number}/", int(number))
            for number in _port_numbers(tree, base)
        ),
    )


def function_below(tree: Tree, path: str) -> PciAddress | None:
    """Tell which PCI function a class entry sits on.

    From the entry's own link (``../../devices/pci0000:3a/…/0000:3b:00.0/infiniband/mlx5_0``),
    else from its ``device`` link; None for a device without hardware (Soft-RoCE).
    """
    target = tree.link(path) or ""
    parts = target.split("/")
    if len(parts) > 2 and (address := address_of(parts[-3])) is not None:
        return address
    below = tree.link(f"{path}/device")
    return address_of(below.rsplit("/", 1)[-1]) if below else None


def read_pkeys(tree: Tree, name: str, port: int) -> tuple[Pkey, ...] | None:
    """Read a port's partition table in index order, trailing empty entries cut.

    An entry that cannot be read counts as empty; None if there is no table.  An index has
    16 bits: another number is no entry, and must not size the table.
    """
    base = f"{CLASS}/{name}/ports/{port}/pkeys"
    names = tree.listing(base, optional=False)
    if names is None:
        return None
    indexes = [int(i) for i in names if _PKEY_INDEX.match(i) and int(i) <= 0xFFFF]
    table = [Pkey(0)] * (max(indexes, default=-1) + 1)
    for index in indexes:
        table[index] = tree.parsed(f"{base}/{index}", parse_pkey) or Pkey(0)
    while table and not table[-1]:
        table.pop()
    return tuple(table)


def read_error_counters(tree: Tree, name: str, port: int) -> ErrorCounters:
    """Read a port's error counters; a VF may have none."""
    base = f"{CLASS}/{name}/ports/{port}/counters"
    return ErrorCounters(
        **{
            counter: tree.parsed(f"{base}/{counter}", _count, optional=True)
            for counter in ErrorCounters.__struct_fields__
        }
    )


def read_char_devices(tree: Tree, below: PciAddress | None = None) -> list[CharDevice]:
    """List uverbs, umad and issm nodes of all namespaces, and ``rdma_cm``; or one function's."""
    found = []
    for folder in ("class/infiniband_verbs", "class/infiniband_mad"):
        for name in tree.names(folder):
            match = _NUMBERED_NODE.match(name)
            if match is None:
                continue
            if below is not None and function_below(tree, f"{folder}/{name}") != below:
                continue
            numbers = tree.parsed(f"{folder}/{name}/dev", _device_numbers)
            if numbers is None:
                continue
            kind = CharDeviceKind(match[1])
            port = 0
            if kind is not CharDeviceKind.UVERBS:
                # without its port it would pass for a node of all the device's ports
                known = tree.parsed(f"{folder}/{name}/port", _port_number)
                if known is None:
                    continue
                port = known
            found.append(
                CharDevice(
                    kind=kind,
                    name=name,
                    major=numbers[0],
                    minor=numbers[1],
                    rdma_device=tree.text(f"{folder}/{name}/ibdev"),
                    port=port,
                    pci=function_below(tree, f"{folder}/{name}"),
                )
            )
    if below is not None:
        return found
    numbers = tree.parsed("class/misc/rdma_cm/dev", _device_numbers, optional=True)
    if numbers is not None:
        kind = CharDeviceKind.RDMA_CM
        found.append(CharDevice(kind=kind, name="rdma_cm", major=numbers[0], minor=numbers[1]))
    return found


def _port_numbers(tree: Tree, base: str) -> list[str]:
    numbers = []
    for name in tree.names(f"{base}ports", optional=False):
        if _port_number(name) is not None:
            numbers.append(name)
        else:
            tree.note(f"{base}ports/{name}", "it is not a port number")
    return sorted(numbers, key=int)


def _read_port(tree: Tree, base: str, number: int) -> HcaPort:
    return HcaPort(
        number=number,
        state=tree.parsed(base + "state", parse_port_state),
        physical_state=tree.parsed(base + "phys_state", parse_physical_state),
        link_layer=tree.text(base + "link_layer") or None,
        rate=tree.parsed(base + "rate", parse_rate),
        lid=tree.parsed(base + "lid", _lid),
        sm_lid=tree.parsed(base + "sm_lid", _lid),
        gid0=tree.parsed(base + "gids/0", parse_gid),
    )


def _port_number(text: str) -> int | None:
    return int(text) if _NUMBER.match(text) and int(text) <= 255 else None


def _lid(text: str) -> int | None:
    value = hexadecimal(text)
    return value if value is not None and value <= 0xFFFFFFFF else None


def _count(text: str) -> int | None:
    value = decimal(text)
    return value if value is not None and value >= 0 else None


def _device_numbers(text: str) -> tuple[int, int] | None:
    match = _DEV.match(text)
    return (int(match[1]), int(match[2])) if match else None
