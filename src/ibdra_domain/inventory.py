"""Verbs and sysfs facts joined into one device per InfiniBand port.

Why: everything downstream (slices, claims, attributes, exclusion) speaks of one kind of
thing, an :class:`IbDevice`.  Here it is decided what is a VF and what a PF (D3), which
ports are ours to publish, and what becomes of a device whose sysfs entries have gone
into a pod's namespace with it (D2): its PCI function stays, and the state store
remembers the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ibdra_domain.hardware import (
    Hca,
    HcaPort,
    PciFunction,
    RdmaIsolation,
    SysfsReading,
    VerbsReading,
)
from ibdra_domain.identifiers import (
    ZERO_GUID,
    DeviceName,
    Guid,
    PciAddress,
    device_name,
    gid_guid,
    pci_sort_key,
)
from ibdra_domain.link import LinkLayer

MELLANOX = 0x15B3
# PCI device ids of VFs (mlx4, Connect-IB and mlx5 families): a VF passed through to a VM
# has neither a physfn link nor an SR-IOV capability, its id is all there is.
VF_DEVICE_IDS = frozenset({0x1002, 0x1004, 0x1012, 0x1014, 0x1016, 0x1018, 0x101A, 0x101C, 0x101E})


class FunctionType(StrEnum):
    """What kind of PCI function an HCA is."""

    PF = "PF"
    VF = "VF"


class Platform(StrEnum):
    """What kind of machine this is, by its InfiniBand functions (D3)."""

    BARE_METAL = "bare metal"
    VIRTUAL_MACHINE = "virtual machine"
    UNKNOWN = "unknown"


class Presence(StrEnum):
    """Where a device is, seen from the host's network namespace."""

    HERE = "here"
    AWAY = "away"
    GONE = "gone"


class IbDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One port of an HCA: what ibdra publishes as one DRA device.

    ``netdev_guid`` is the part of the interface's hardware address that survives moves.
    ``presence`` AWAY means the RDMA device is in another network namespace, GONE that
    its PCI function has left the machine; the other facts are then as last seen.
    """

    name: DeviceName
    pci: PciAddress
    port: int
    function_type: FunctionType
    rdma_device: str
    link: HcaPort
    netdev: str | None = None
    netdev_guid: Guid | None = None
    numa_node: int = -1
    pcie_root: str | None = None
    node_guid: Guid | None = None
    firmware: str | None = None
    board_id: str | None = None
    hca_type: str | None = None
    parent_pci: PciAddress | None = None
    parent_rdma_device: str | None = None
    vf_index: int | None = None
    isolation: RdmaIsolation | None = None
    presence: Presence = Presence.HERE

    @property
    def hardware(self) -> PciAddress:
        """The PCI function that owns the silicon: the PF of a VF, else itself."""
        return self.parent_pci or self.pci

    @property
    def lacks_guid(self) -> bool:
        """A zero GUID: it must not be offered as good.

        Without a node GUID an HCA cannot register memory; without a port GUID the subnet
        manager never brings its port up, nor tells it from another that has none.
        """
        gid, layer = self.link.gid0, self.link.link_layer
        port = gid_guid(gid) if gid is not None and layer == LinkLayer.INFINIBAND else None
        return ZERO_GUID in (self.node_guid, port)


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What this node has, in the order in which it is offered to the scheduler."""

    platform: Platform = Platform.UNKNOWN
    isolation: RdmaIsolation | None = None
    devices: tuple[IbDevice, ...] = ()
    warnings: tuple[str, ...] = ()

    def device(self, name: str) -> IbDevice | None:
        """Find a device by its DRA name."""
        return next((d for d in self.devices if d.name == name), None)


def function_type(function: PciFunction) -> FunctionType:
    """Tell a VF from a PF (D3)."""
    if function.physfn is not None:
        return FunctionType.VF
    if function.total_vfs:
        return FunctionType.PF
    if function.vendor == MELLANOX and function.device in VF_DEVICE_IDS:
        return FunctionType.VF
    return FunctionType.PF


def take_inventory(
    sysfs: SysfsReading,
    verbs: VerbsReading,
    *,
    remembered: Iterable[IbDevice] = (),
    include_ethernet: bool = False,
) -> Inventory:
    """Join what sysfs and libibverbs report, and what is remembered of devices in use.

    ``remembered`` are the devices that claims hold, as they were when they were
    prepared.  One that is not visible now stays in the inventory with those facts.
    Devices come VFs first, then PFs, each by PCI address and port: the scheduler takes
    the first that fits, and a claim that does not care should not cost a whole PF.
    """
    functions = {f.address: f for f in sysfs.functions}
    held = tuple(remembered)
    # A PF in use keeps its name for its VFs' attributes; a plane is nobody's parent.
    names = {old.pci: old.rdma_device for old in held} | {
        hca.pci: hca.name
        for hca in sysfs.hcas
        if hca.pci is not None and hca.has_uverbs is not False
    }
    netdevs = {(n.pci, n.port): n for n in sysfs.netdevs if n.infiniband or include_ethernet}
    opened = {hca.name: hca for hca in verbs.hcas}
    vf_indexes = {vf: i for f in sysfs.functions for i, vf in enumerate(f.vfs) if vf}
    warnings = [*sysfs.warnings, *verbs.warnings]

    found: dict[DeviceName, IbDevice] = {}
    for hca in sysfs.hcas:
        if hca.has_uverbs is False:
            continue
        function = functions.get(hca.pci) if hca.pci is not None else None
        if function is None:
            if _publishable(hca, include_ethernet=include_ethernet):
                warnings.append(f"{hca.name}: no PCI function below it, so it is not published")
            continue
        seen = opened.get(hca.name)
        for port in hca.ports:
            if not _is_published(port, include_ethernet=include_ethernet):
                continue
            netdev = netdevs.get((function.address, port.number))
            device = IbDevice(
                name=device_name(function.address, port.number),
                pci=function.address,
                port=port.number,
                function_type=function_type(function),
                rdma_device=hca.name,
                link=_joined(port, _port_of(seen, port.number)),
                netdev=netdev.name if netdev else None,
                netdev_guid=netdev.port_guid if netdev else None,
                numa_node=function.numa_node,
                pcie_root=function.pcie_root,
                node_guid=hca.node_guid or (seen.node_guid if seen else None),
                firmware=hca.firmware or (seen.firmware if seen else None),
                board_id=hca.board_id,
                hca_type=hca.hca_type,
                parent_pci=function.physfn,
                parent_rdma_device=names.get(function.physfn) if function.physfn else None,
                vf_index=vf_indexes.get(function.address),
                isolation=sysfs.isolation,
            )
            found[device.name] = device
    for old in held:
        now = found.get(old.name)
        if now is not None and now.netdev is None:  # shared mode: only the interface is away
            found[old.name] = msgspec.structs.replace(
                now, netdev=old.netdev, netdev_guid=old.netdev_guid
            )
        elif now is None:
            presence = Presence.AWAY if old.pci in sysfs.addresses else Presence.GONE
            found[old.name] = msgspec.structs.replace(old, presence=presence)

    devices = tuple(sorted(found.values(), key=_offer_order))
    warnings.extend(_unseen(functions, sysfs.hcas, devices))
    return Inventory(
        platform=_platform(functions, devices),
        isolation=sysfs.isolation,
        devices=devices,
        warnings=tuple(warnings),
    )


def _is_published(port: HcaPort, *, include_ethernet: bool) -> bool:
    return include_ethernet or port.link_layer == LinkLayer.INFINIBAND


def _publishable(hca: Hca, *, include_ethernet: bool) -> bool:
    return any(_is_published(port, include_ethernet=include_ethernet) for port in hca.ports)


def _port_of(hca: Hca | None, number: int) -> HcaPort | None:
    return next((p for p in hca.ports if p.number == number), None) if hca else None


def _joined(sysfs: HcaPort, verbs: HcaPort | None) -> HcaPort:
    """Take sysfs' word where it has one, libibverbs' where not."""
    if verbs is None:
        return sysfs
    missing = {
        field: getattr(verbs, field)
        for field in HcaPort.__struct_fields__
        if getattr(sysfs, field) is None
    }
    return msgspec.structs.replace(sysfs, **missing) if missing else sysfs


def _offer_order(device: IbDevice) -> tuple[bool, tuple[int, str], int]:
    return device.function_type is FunctionType.PF, pci_sort_key(device.pci), device.port


def _platform(
    functions: Mapping[PciAddress, PciFunction], devices: tuple[IbDevice, ...]
) -> Platform:
    owners = [functions[d.hardware] for d in devices if d.hardware in functions]
    if any(f.physfn is None and f.total_vfs for f in owners):
        return Platform.BARE_METAL
    if any(d.function_type is FunctionType.VF and d.parent_pci is None for d in devices):
        return Platform.VIRTUAL_MACHINE
    return Platform.UNKNOWN


def _unseen(
    functions: Mapping[PciAddress, PciFunction],
    hcas: tuple[Hca, ...],
    devices: tuple[IbDevice, ...],
) -> list[str]:
    """Say which functions could carry an HCA and show none, and why."""
    accounted = {hca.pci for hca in hcas} | {d.pci for d in devices}
    notes = []
    for address in sorted(functions.keys() - accounted, key=pci_sort_key):
        if functions[address].driver is None:
            notes.append(f"{address}: no driver is bound, so it has no port to publish")
        else:
            notes.append(
                f"{address}: driver {functions[address].driver} shows no RDMA device here; "
                "it is in another network namespace, or the RDMA driver is not loaded"
            )
    return notes
