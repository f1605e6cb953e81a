"""What is known of PFs and VFs, joined: where a VF is, and who has it."""

from __future__ import annotations

from typing import Any

import pytest

from ibdra_domain.hardware import (
    CharDevice,
    Hca,
    NetDevice,
    PciFunction,
    RdmaIsolation,
    SysfsReading,
)
from ibdra_domain.identifiers import ZERO_GUID, Gid, Guid, PciAddress
from ibdra_domain.pf_views import PfView, VfPlace, VfView, pf_views
from ibdra_domain.ports.sriov import VfSettings
from unit.domain.domain_facts import a_char_device, an_hca_port

PF, VF = PciAddress("0000:3b:00.0"), PciAddress("0000:3b:00.1")
GUID = Guid("a288:c203:0140:1000")
GID = Gid(f"fe80:0000:0000:0000:{GUID}")
VF_HCA = Hca(name="mlx5_2", pci=VF, node_guid=GUID, ports=(an_hca_port(gid0=GID),))
VF_NETDEV = NetDevice(name="ib2", pci=VF, port=1, infiniband=True)
VF_NODE = a_char_device(pci=VF, rdma_device="mlx5_2", name="uverbs1", minor=193)


def view(
    *,
    driver: str | None = "mlx5_core",
    hca: Hca | None = VF_HCA,
    netdev: NetDevice | None = VF_NETDEV,
    nodes: tuple[CharDevice, ...] = (VF_NODE,),
    isolation: RdmaIsolation = RdmaIsolation.EXCLUSIVE,
    **known: Any,
) -> tuple[PfView, VfView]:
    """Join a machine of one PF and one VF."""
    pf = PciFunction(
        address=PF, driver="mlx5_core", vfs=(VF,), total_vfs=8, num_vfs=1, autoprobe=True
    )
    reading = SysfsReading(
        functions=(pf, PciFunction(address=VF, physfn=PF, driver=driver)),
        hcas=(
            Hca(
                name="mlx5_0", pci=PF, node_guid=Guid("a088:c203:0040:1000"), ports=(an_hca_port(),)
            ),
            *((hca,) if hca else ()),
        ),
        netdevs=(
            NetDevice(name="ib0", pci=PF, port=1, infiniband=True),
            *((netdev,) if netdev else ()),
        ),
        isolation=isolation,
    )
    (found,) = pf_views(reading, nodes=nodes, **known)
    return found, found.vfs[0]


def test_a_pf_is_seen_whole() -> None:
    """Names, numbers and GUIDs from wherever they stand."""
    pf, _ = view()
    assert ("mlx5_0", "ib0", 8, 1, True, ("InfiniBand",)) == (
        pf.rdma_device,
        pf.interface,
        pf.possible,
        pf.present,
        pf.autoprobe,
        pf.link_layers,
    )
    assert 2 == len(pf.own_guids)


def test_a_vf_at_home_shows_who_it_is() -> None:
    """What it shows, what is set, and who holds it."""
    told = VfSettings(index=0, node_guid=GUID)
    _, vf = view(settings={PF: [told]}, holders={VF: "team/job"})
    assert (VfPlace.HERE, VF, GUID, GUID, told, "team/job") == (
        vf.place,
        vf.address,
        vf.node_guid,
        vf.port_guid,
        vf.settings,
        vf.holder,
    )
    assert not vf.lacks_guid


@pytest.mark.parametrize(
    ("facts", "place"),
    [
        ({"hca": None, "netdev": None}, VfPlace.AWAY),
        ({"hca": None}, VfPlace.AWAY),
        ({"netdev": None}, VfPlace.HERE),
        ({"netdev": None, "isolation": RdmaIsolation.SHARED}, VfPlace.AWAY),
        ({"isolation": RdmaIsolation.SHARED}, VfPlace.HERE),
        ({"hca": None, "nodes": (), "driver": None}, VfPlace.UNBOUND),
        ({"hca": None, "nodes": (), "driver": "vfio-pci"}, VfPlace.OTHER_DRIVER),
        ({"hca": None, "nodes": ()}, VfPlace.NO_DEVICE),
    ],
    ids=[
        "in a pod",
        "only its device in a pod",
        "no interface yet",
        "shared, its interface in a pod",
        "shared, at home",
        "unbound",
        "another driver",
        "no RDMA driver",
    ],
)
def test_where_a_vf_is(facts: dict[str, Any], place: VfPlace) -> None:
    """Its uverbs node is seen from everywhere; in shared mode its interface tells."""
    _, vf = view(**facts)
    assert place is vf.place


@pytest.mark.parametrize(
    "hca",
    [
        Hca(name="mlx5_2", pci=VF, node_guid=ZERO_GUID, ports=(an_hca_port(gid0=GID),)),
        Hca(
            name="mlx5_2",
            pci=VF,
            node_guid=GUID,
            ports=(an_hca_port(gid0=Gid(f"fe80:0000:0000:0000:{ZERO_GUID}")),),
        ),
    ],
    ids=["node", "port"],
)
def test_a_zero_guid_is_seen(hca: Hca) -> None:
    """Of either kind."""
    assert view(hca=hca)[1].lacks_guid


def test_functions_without_sriov_are_no_pfs() -> None:
    """Neither VFs nor PFs that can have none."""
    functions = (
        PciFunction(address=PF, total_vfs=0),
        PciFunction(address=PciAddress("0000:5e:00.0")),
        PciFunction(address=VF, physfn=PF, total_vfs=8),
    )
    assert () == pf_views(SysfsReading(functions=functions))


def test_a_plane_is_not_taken_for_the_pf() -> None:
    """An XDR HCA shows its planes as a second device, without uverbs."""
    plane = Hca(name="smi1", pci=PF, has_uverbs=False, ports=(an_hca_port(), an_hca_port(number=2)))
    whole = Hca(name="mlx5_0", pci=PF, has_uverbs=True, ports=(an_hca_port(),))
    pf = PciFunction(address=PF, driver="mlx5_core", total_vfs=8, num_vfs=0)
    (found,) = pf_views(SysfsReading(functions=(pf,), hcas=(whole, plane)))
    assert ("mlx5_0", 1) == (found.rdma_device, len(found.link_layers))
