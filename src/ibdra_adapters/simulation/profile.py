"""Descriptions of machines: small TOML files, expanded into HCAs with all their functions.

Why: a profile should read like a sentence about a machine ("eight ConnectX-7 on two NUMA
nodes, four VFs each"), so what every card of a model has in common stands in a table
here, and VFs are derived from their PF.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import msgspec

from ibdra_domain.errors import InvalidIdentifier, InvalidProfile
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.identifiers import (
    Guid,
    PciAddress,
    guid_from_int,
    guid_to_int,
    parse_guid,
    parse_pci_address,
    parse_pkey,
)
from ibdra_domain.link import LinkLayer, PortState, parse_rate

PROFILE_FOLDER = Path(__file__).parent / "profiles"
_PHYSICAL = {PortState.DOWN: "2: Polling"}
_STATES = {
    PortState.DOWN: "1: DOWN",
    PortState.INIT: "2: INIT",
    PortState.ARMED: "3: ARMED",
    PortState.ACTIVE: "4: ACTIVE",
}


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What all cards of a model have in common (PCI ids of vendor 15b3)."""

    device: int
    vf_device: int
    hca_type: str
    board: str
    firmware: str
    driver: str = "mlx5_core"


MODELS = {
    "ConnectX-3": Model(
        device=0x1003,
        vf_device=0x1004,
        hca_type="MT4099",
        board="MT_1090110018",
        firmware="2.42.5000",
        driver="mlx4_core",
    ),
    "ConnectX-6": Model(
        device=0x101B,
        vf_device=0x101C,
        hca_type="MT4123",
        board="MT_0000000223",
        firmware="20.39.1002",
    ),
    "ConnectX-7": Model(
        device=0x1021,
        vf_device=0x101E,
        hca_type="MT4129",
        board="MT_0000000838",
        firmware="28.39.1002",
    ),
}


class PortProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A port; ``mtu`` is the active InfiniBand MTU, ``pkeys`` its partition table.

    ``broadcast_mtu`` is that of the fabric's IPoIB broadcast group, where it is smaller.
    """

    rate: str
    state: PortState = PortState.ACTIVE
    link_layer: LinkLayer = LinkLayer.INFINIBAND
    lid: int = 0
    sm_lid: int = 1
    mtu: int = 4096
    broadcast_mtu: int | None = None
    pkeys: tuple[str, ...] = ("0xffff",)
    netdev: str | None = None

    @property
    def state_line(self) -> str:
        """Print ``state`` as sysfs does."""
        return _STATES.get(self.state, "0: NOP")

    @property
    def physical_line(self) -> str:
        """Print ``phys_state`` as sysfs does."""
        return _PHYSICAL.get(self.state, "5: LinkUp")


class HcaProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A card's function as a profile writes it.

    ``vfs`` of ``total_vfs`` exist already; their RDMA devices are named by ``vf_rdma``
    and their interfaces by ``vf_netdev``, where ``{rdma}`` and ``{netdev}`` stand for the
    PF's and ``{index}`` for the VF's index.
    VFs that are made later are named alike; with ``zero_vf_guids`` they have an all-zero
    GUID and a port that is disabled until the PF says otherwise, as ConnectX cards do it.
    ``passed_through``: the function is a VF whose PF the machine cannot see.
    """

    model: str
    pci: str
    root: str
    rdma: str
    node_guid: str
    ports: tuple[PortProfile, ...]
    bridges: tuple[str, ...] = ()
    numa: int = -1
    total_vfs: int = 0
    vfs: int = 0
    vf_rdma: str = "{rdma}v{index}"
    vf_netdev: str = "{netdev}v{index}"
    zero_vf_guids: bool = False
    passed_through: bool = False


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine.

    ``ipoib_follows_device``: interfaces are re-created in their device's namespace, as by
    kernels since about 6.17.  ``traffic_class_switch``: the vendor's driver is loaded,
    with its sysfs file.  ``pending``: examples that find no device on such a machine.
    """

    description: str
    hcas: tuple[HcaProfile, ...]
    isolation: RdmaIsolation = RdmaIsolation.EXCLUSIVE
    ipoib_follows_device: bool = False
    traffic_class_switch: bool = False
    pending: tuple[str, ...] = ()


class SimulatedHca(msgspec.Struct, frozen=True, kw_only=True):
    """One PCI function with an RDMA device: a PF, a VF, or a passed-through VF."""

    name: str
    pci: PciAddress
    root: str
    bridges: tuple[str, ...]
    model: Model
    device_id: int
    numa: int
    node_guid: Guid
    ports: tuple[PortProfile, ...]
    port_guids: tuple[Guid, ...]
    physfn: PciAddress | None = None
    vf_index: int | None = None
    total_vfs: int | None = None
    vfs: tuple[PciAddress, ...] = ()


def profile_names() -> tuple[str, ...]:
    """List the profiles that come with the driver."""
    return tuple(sorted(path.stem for path in PROFILE_FOLDER.glob("*.toml")))


def load_profile(name: str) -> Profile:
    """Load a shipped profile by name, or any by its path.  Raises InvalidProfile."""
    path = Path(name) if name.endswith(".toml") else PROFILE_FOLDER / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return msgspec.convert(document, Profile, strict=True)
    except FileNotFoundError as error:
        raise InvalidProfile(
            f"there is no machine profile {name!r}",
            remedy=f"use one of {', '.join(profile_names())}, or the path of a .toml file",
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidProfile(
            f"profile {name} cannot be read ({error})", remedy="compare it with a shipped one"
        ) from error


def expand(profile: Profile) -> tuple[SimulatedHca, ...]:
    """Derive every function with an RDMA device: PFs as given, then each PF's VFs.

    Raises InvalidProfile if the description contradicts itself.
    """
    try:
        pfs = [_card(hca) for hca in profile.hcas]
        vfs = [
            virtual_function(pf, hca, index)
            for pf, hca in zip(pfs, profile.hcas, strict=True)
            for index in range(hca.vfs)
        ]
    except (InvalidIdentifier, KeyError, IndexError, ValueError) as error:
        raise InvalidProfile(
            f"the profile does not make sense ({error!r})", remedy="compare it with a shipped one"
        ) from error
    every = (*pfs, *vfs)
    names = Counter(h.name for h in every)
    addresses = Counter(h.pci for h in every)
    guids = Counter(guid for h in every for guid in h.port_guids)
    twice = [str(value) for c in (names, addresses, guids) for value, n in c.items() if n > 1]
    if twice:
        raise InvalidProfile(f"{', '.join(twice)} is given twice", remedy="make them differ")
    return every


def vf_address(pf: PciAddress, index: int) -> PciAddress:
    """Give a VF's address: with ARI, bus and function numbers just go on from the PF's."""
    domain, bus, rest = pf.split(":")
    slot, function = rest.split(".")
    number = (int(bus, 16) << 8) + (int(slot, 16) << 3) + int(function) + 1 + index
    return PciAddress(f"{domain}:{number >> 8:02x}:{number >> 3 & 31:02x}.{number & 7}")


def _card(hca: HcaProfile) -> SimulatedHca:
    model = MODELS[hca.model]
    pci = parse_pci_address(hca.pci)
    if not hca.ports:
        raise InvalidProfile(f"{hca.rdma} has no port", remedy="give it one")
    for port in hca.ports:
        if parse_rate(port.rate) is None:
            raise InvalidProfile(f"{port.rate!r} is no rate", remedy="write it as sysfs prints it")
        for pkey in port.pkeys:
            parse_pkey(pkey)
    if hca.vfs > hca.total_vfs:
        raise InvalidProfile(
            f"{hca.rdma} has {hca.vfs} of {hca.total_vfs} VFs", remedy="raise total_vfs"
        )
    return SimulatedHca(
        name=hca.rdma,
        pci=pci,
        root=hca.root,
        bridges=hca.bridges,
        model=model,
        device_id=model.vf_device if hca.passed_through else model.device,
        numa=hca.numa,
        node_guid=parse_guid(hca.node_guid),
        ports=hca.ports,
        port_guids=_port_guids(hca.node_guid, len(hca.ports)),
        total_vfs=hca.total_vfs or None,
        vfs=tuple(vf_address(pci, i) for i in range(hca.vfs)),
    )


def virtual_function(pf: SimulatedHca, hca: HcaProfile, index: int) -> SimulatedHca:
    """Derive a PF's VF, with the GUID it has burnt in."""
    guid = guid_from_int(guid_to_int(pf.node_guid) + (index + 1 << 8))
    netdev = pf.ports[0].netdev
    ports = tuple(
        msgspec.structs.replace(
            port,
            netdev=hca.vf_netdev.format(netdev=netdev, index=index) if netdev else None,
        )
        for port in pf.ports
    )
    return msgspec.structs.replace(
        pf,
        name=hca.vf_rdma.format(rdma=pf.name, index=index),
        pci=vf_address(pf.pci, index),
        device_id=pf.model.vf_device,
        node_guid=guid,
        ports=ports,
        port_guids=_port_guids(guid, len(ports)),
        physfn=pf.pci,
        vf_index=index,
        total_vfs=None,
        vfs=(),
    )


def _port_guids(node_guid: str, count: int) -> tuple[Guid, ...]:
    """Count up from the node GUID, as on most HCAs with several ports."""
    first = guid_to_int(parse_guid(node_guid))
    return tuple(guid_from_int(first + offset + (count > 1)) for offset in range(count))
