"""What there is to know of each PF and its VFs before anything is decided.

Why: whether a VF may be touched stands in four places (sysfs, the device nodes, what is
set at the PF, what claims hold).  Here they become one value a PF, so that the planner can
be read and tested without any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ibdra_domain.hardware import (
    CharDevice,
    CharDeviceKind,
    Hca,
    HcaPort,
    PciFunction,
    RdmaIsolation,
    SysfsReading,
)
from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress, gid_guid, pci_sort_key
from ibdra_domain.ports.sriov import VfSettings


class VfPlace(StrEnum):
    """What has become of a VF's function."""

    HERE = "here"
    UNBOUND = "unbound"
    AWAY = "in another namespace"
    OTHER_DRIVER = "with another driver"
    NO_DEVICE = "without RDMA device"


class VfView(msgspec.Struct, frozen=True, kw_only=True):
    """A VF as it is.

    ``node_guid`` and ``port_guid`` are what it shows, None where it shows nothing;
    ``settings`` what is set for it at the PF.  ``holder`` names the claim that has it.
    """

    index: int
    address: PciAddress | None
    place: VfPlace
    node_guid: Guid | None = None
    port_guid: Guid | None = None
    settings: VfSettings | None = None
    holder: str | None = None

    @property
    def lacks_guid(self) -> bool:
        """It is here, and cannot be used."""
        return self.place is VfPlace.HERE and ZERO_GUID in (self.node_guid, self.port_guid)


class PfView(msgspec.Struct, frozen=True, kw_only=True):
    """A PF with SR-IOV as it is.

    ``link_layers`` has one entry a port; it is empty, and ``rdma_device`` None, if the PF
    shows no RDMA device here; ``held_device`` is what it is called while a claim has it.
    ``interface`` is the PF's IPoIB interface.
    """

    address: PciAddress
    rdma_device: str | None = None
    link_layers: tuple[str | None, ...] = ()
    driver: str | None = None
    node_guid: Guid | None = None
    port_guid: Guid | None = None
    interface: str | None = None
    possible: int = 0
    present: int | None = None
    autoprobe: bool | None = None
    holder: str | None = None
    held_device: str | None = None
    vfs: tuple[VfView, ...] = ()

    @property
    def own_guids(self) -> frozenset[Guid]:
        """The GUIDs it has itself."""
        return frozenset(g for g in (self.node_guid, self.port_guid) if g)


def pf_views(
    reading: SysfsReading,
    *,
    nodes: Iterable[CharDevice] = (),
    settings: Mapping[PciAddress, Iterable[VfSettings]] = {},
    holders: Mapping[PciAddress, str] = {},
    held_devices: Mapping[PciAddress, str] = {},
) -> tuple[PfView, ...]:
    """Join what is known, by PF in the order of addresses.

    Parameters
    ----------
    nodes:
        All RDMA character devices: those of devices in other namespaces tell where a VF is.
    settings:
        What is set for VFs, by PF.
    holders:
        The claim that has a function, by the function's address.
    held_devices:
        The names of these functions' RDMA devices, which may not be seen from here.
    """
    hcas = {h.pci: h for h in reading.hcas if h.pci is not None and h.has_uverbs is not False}
    netdevs = {n.pci: n for n in reading.netdevs if n.infiniband and n.port == 1}
    functions = {f.address: f for f in reading.functions}
    served = {n.pci for n in nodes if n.kind is CharDeviceKind.UVERBS and n.pci is not None}
    found: list[PfView] = []
    for pf in sorted(reading.functions, key=lambda f: pci_sort_key(f.address)):
        if pf.physfn is not None or not pf.total_vfs:
            continue
        hca, netdev = hcas.get(pf.address), netdevs.get(pf.address)
        port = _port_guid(hca)
        told = {s.index: s for s in settings.get(pf.address, ())}
        found.append(
            PfView(
                address=pf.address,
                rdma_device=hca.name if hca else None,
                link_layers=tuple(p.link_layer for p in hca.ports) if hca else (),
                driver=pf.driver,
                node_guid=hca.node_guid if hca else None,
                port_guid=port,
                interface=netdev.name if netdev else None,
                possible=pf.total_vfs,
                present=pf.num_vfs,
                autoprobe=pf.autoprobe,
                holder=holders.get(pf.address),
                held_device=held_devices.get(pf.address),
                vfs=tuple(
                    VfView(
                        index=index,
                        address=vf,
                        place=_place(
                            functions.get(vf) if vf else None,
                            pf=pf,
                            visible=vf in hcas,
                            served=vf in served,
                            # in shared mode only the interface goes into a pod
                            whole=vf in netdevs or reading.isolation is not RdmaIsolation.SHARED,
                        ),
                        node_guid=hcas[vf].node_guid if vf in hcas else None,
                        port_guid=_port_guid(hcas[vf]) if vf in hcas else None,
                        settings=told.get(index),
                        holder=holders.get(vf) if vf else None,
                    )
                    for index, vf in enumerate(pf.vfs)
                ),
            )
        )
    return tuple(found)


def _place(
    function: PciFunction | None, *, pf: PciFunction, visible: bool, served: bool, whole: bool
) -> VfPlace:
    if visible:
        return VfPlace.HERE if whole else VfPlace.AWAY
    if served:
        return VfPlace.AWAY
    if function is not None and function.driver is None:
        return VfPlace.UNBOUND
    if function is not None and function.driver != pf.driver:
        return VfPlace.OTHER_DRIVER
    return VfPlace.NO_DEVICE


def _port_guid(hca: Hca | None) -> Guid | None:
    first: HcaPort | None = next((p for p in hca.ports if p.number == 1), None) if hca else None
    return gid_guid(first.gid0) if first and first.gid0 else None
