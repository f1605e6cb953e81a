"""Facts joined into devices: kind, order, memory, warnings."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from ibdra_domain.hardware import Hca, PciFunction, RdmaIsolation, SysfsReading, VerbsReading
from ibdra_domain.identifiers import ZERO_GUID, Gid, Guid, PciAddress
from ibdra_domain.inventory import (
    VF_DEVICE_IDS,
    FunctionType,
    Inventory,
    Platform,
    Presence,
    function_type,
    take_inventory,
)
from ibdra_domain.link import LinkLayer
from unit.domain.domain_facts import (
    NODE_GUID,
    PF,
    VF,
    a_device,
    a_function,
    a_netdev,
    a_vf,
    a_vf_function,
    an_hca,
    an_hca_port,
)

BARE = {"node_guid": None, "firmware": None, "board_id": None, "hca_type": None}


def inventory_of(*hcas: Hca, functions: Any = None, verbs: Any = (), **changes: Any) -> Inventory:
    """Take the inventory of a machine with these HCAs, on the PF and its VF."""
    found = (a_function(vfs=(VF,)), a_vf_function()) if functions is None else functions
    options = {k: changes.pop(k) for k in ("remembered", "include_ethernet") if k in changes}
    addresses = changes.pop("addresses", frozenset(function.address for function in found))
    sysfs = SysfsReading(addresses=addresses, functions=found, hcas=hcas, **changes)
    return take_inventory(sysfs, VerbsReading(hcas=verbs), **options)


def a_vf_hca(**changes: Any) -> Hca:
    """Build the VF's RDMA device."""
    return an_hca(**{"name": "mlx5_2", "pci": VF} | changes)


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (a_function(), FunctionType.PF),
        (a_vf_function(), FunctionType.VF),
        (a_function(total_vfs=None), FunctionType.PF),
        (a_function(total_vfs=0), FunctionType.PF),
        (a_function(total_vfs=None, device=0x101C), FunctionType.VF),
        (a_function(total_vfs=None, device=0x101C, vendor=0x1D0F), FunctionType.PF),
        (a_function(total_vfs=8, device=0x101C), FunctionType.PF),
    ],
    ids=[
        "SR-IOV capability",
        "physfn link",
        "no SR-IOV",
        "SR-IOV switched off",
        "VF id in a VM",
        "same id, other vendor",
        "VF id but SR-IOV",
    ],
)
def test_a_vf_is_told_from_a_pf(function: PciFunction, kind: FunctionType) -> None:
    """By its physfn link, else by the capability, else by a known device id."""
    assert kind is function_type(function)


def test_known_vf_ids_are_even_numbers_of_one_vendor() -> None:
    """mlx5's VF ids follow their PF's; an odd one in the table would be a PF's."""
    assert {0} == {device % 2 for device in VF_DEVICE_IDS}


def test_one_device_for_each_infiniband_port() -> None:
    """Everything both sources know of the port is in it."""
    found = inventory_of(an_hca(), netdevs=(a_netdev(),), isolation=RdmaIsolation.EXCLUSIVE)
    assert (a_device(),) == found.devices
    assert RdmaIsolation.EXCLUSIVE is found.isolation


def test_a_vf_names_its_parent() -> None:
    """Address, RDMA device and the VF's number."""
    found = inventory_of(an_hca(), a_vf_hca())
    vf = found.devices[0]
    assert (FunctionType.VF, PF, "mlx5_0", 0) == (
        vf.function_type,
        vf.parent_pci,
        vf.parent_rdma_device,
        vf.vf_index,
    )
    assert PF == vf.hardware
    assert PF == found.devices[1].hardware


def test_a_plane_is_nobodys_parent() -> None:
    """An XDR HCA's plane shares the PF's function; a VF's parent is the real device."""
    plane = an_hca(name="smi0", has_uverbs=False)
    found = inventory_of(an_hca(has_uverbs=True), a_vf_hca(), plane)
    assert ["mlx5_0", None] == [d.parent_rdma_device for d in found.devices]
    assert ["mlx5_2", "mlx5_0"] == [d.rdma_device for d in found.devices]


def test_vfs_are_offered_first() -> None:
    """A claim that does not care takes a VF, not a whole PF; then by address and port."""
    late = PciAddress("10000:01:00.0")
    functions = (a_function(address=late), a_function(), a_vf_function())
    ports = (an_hca_port(number=2), an_hca_port(number=1))
    found = inventory_of(
        an_hca(name="mlx5_9", pci=late), an_hca(ports=ports), a_vf_hca(), functions=functions
    )
    names = [(d.pci, d.port) for d in found.devices]
    assert [(VF, 1), (PF, 1), (PF, 2), (late, 1)] == names


def test_ethernet_ports_are_left_out() -> None:
    """Ports of the same HCAs, and layers nobody has heard of, are not ours (D3)."""
    layers = (LinkLayer.ETHERNET, "Unspecified", None)
    ports = tuple(an_hca_port(number=n, link_layer=x) for n, x in enumerate(layers, 1))
    found = inventory_of(an_hca(ports=ports))
    assert () == found.devices
    assert () == found.warnings[1:]


def test_ethernet_ports_are_taken_on_demand() -> None:
    """A setting includes them, and their interfaces."""
    port = an_hca_port(link_layer=LinkLayer.ETHERNET)
    netdev = a_netdev(name="eth2", hardware_address="a0:88:c2:12:34:56", infiniband=False)
    found = inventory_of(an_hca(ports=(port,)), netdevs=(netdev,), include_ethernet=True)
    assert [("eth2", None)] == [(d.netdev, d.netdev_guid) for d in found.devices]


def test_an_ethernet_interface_is_not_an_infiniband_ports() -> None:
    """A function may have both kinds of ports."""
    found = inventory_of(an_hca(), netdevs=(a_netdev(infiniband=False),))
    assert [None] == [d.netdev for d in found.devices]


def test_sysfs_has_the_first_word() -> None:
    """The library fills only what sysfs left open."""
    sysfs = an_hca(ports=(an_hca_port(lid=1, active_mtu=None, gid0=None),))
    verbs = an_hca(firmware="other", ports=(an_hca_port(lid=2, active_mtu=2048),), pci=None)
    device = inventory_of(sysfs, verbs=(verbs,)).devices[0]
    assert an_hca_port(lid=1, active_mtu=2048) == device.link
    assert "20.43.1014" == device.firmware


def test_libibverbs_fills_what_sysfs_left_open() -> None:
    """Node GUID and firmware too."""
    device = inventory_of(an_hca(**BARE), verbs=(an_hca(),)).devices[0]
    assert (NODE_GUID, "20.43.1014") == (device.node_guid, device.firmware)


@pytest.mark.parametrize(
    "verbs",
    [(), (an_hca(name="mlx5_7"),), (an_hca(ports=()),)],
    ids=["no library", "another device", "port not opened"],
)
def test_sysfs_alone_is_enough(verbs: tuple[Hca, ...]) -> None:
    """What nobody knows stays unknown."""
    sysfs = an_hca(**BARE | {"ports": (an_hca_port(active_mtu=None),)})
    device = inventory_of(sysfs, verbs=verbs).devices[0]
    assert device.link.active_mtu is None
    assert device.board_id is None


def test_a_zero_guid_is_seen() -> None:
    """Node or port GUID; an unknown GUID is another matter."""
    assert a_vf(node_guid=ZERO_GUID).lacks_guid
    assert not a_vf(node_guid=Guid("0000:0000:0000:0001")).lacks_guid
    assert not a_vf(node_guid=None).lacks_guid
    zero = Gid("fe80:0000:0000:0000:0000:0000:0000:0000")
    assert a_vf(link=an_hca_port(gid0=zero)).lacks_guid
    assert not a_vf(link=an_hca_port(gid0=None)).lacks_guid


def test_a_roce_port_without_address_lacks_no_guid() -> None:
    """Its GIDs come from network addresses: a zero one is an interface without any."""
    zero = Gid("0000:0000:0000:0000:0000:0000:0000:0000")
    assert not a_vf(link=an_hca_port(gid0=zero, link_layer=LinkLayer.ETHERNET)).lacks_guid


@pytest.mark.parametrize("pci", [None, PciAddress("0000:00:00.0")], ids=["none", "unknown"])
def test_a_device_without_function_is_reported(pci: PciAddress | None) -> None:
    """Identity is the PCI function: Soft-RoCE and the like have none (D1)."""
    found = inventory_of(an_hca(pci=pci), functions=())
    assert () == found.devices
    assert ("mlx5_0: no PCI function below it, so it is not published",) == found.warnings


def test_an_ethernet_device_without_function_is_no_news() -> None:
    """It would not have been published anyway."""
    port = an_hca_port(link_layer=LinkLayer.ETHERNET)
    assert () == inventory_of(an_hca(pci=None, ports=(port,)), functions=()).warnings


def test_a_function_without_device_is_explained() -> None:
    """Either no driver is bound, or the driver shows nothing here."""
    functions = (a_vf_function(), a_function(driver=None))
    unbound, unseen = inventory_of(functions=functions).warnings
    assert f"{PF}: no driver is bound, so it has no port to publish" == unbound
    assert unseen.startswith(f"{VF}: driver mlx5_core shows no RDMA device here; ")


def test_the_sources_warnings_are_passed_on() -> None:
    """Sysfs' first, then libibverbs'."""
    found = take_inventory(SysfsReading(warnings=("s",)), VerbsReading(warnings=("v",)))
    assert Inventory(warnings=("s", "v")) == found


def test_a_device_in_use_stays() -> None:
    """Its facts are as they were; its function's presence tells away from gone.

    An adapter that can be Ethernet too is of no class of ours, so its function is not among
    those that are read while its RDMA device is in a pod.
    """
    old = a_device(firmware="old", presence=Presence.HERE)
    other_class = inventory_of(functions=(), addresses=frozenset({PF}), remembered=[old])
    away = inventory_of(functions=(a_function(),), remembered=[old])
    gone = inventory_of(functions=(), remembered=[old])
    assert (a_device(firmware="old", presence=Presence.AWAY),) == away.devices
    assert (a_device(firmware="old", presence=Presence.GONE),) == gone.devices
    assert away.devices == other_class.devices
    assert () == away.warnings


def test_what_is_seen_is_believed_before_what_is_remembered() -> None:
    """A device that is back shows its facts of now."""
    old = a_device(firmware="old", presence=Presence.AWAY)
    assert [("20.43.1014", Presence.HERE)] == [
        (d.firmware, d.presence) for d in inventory_of(an_hca(), remembered=[old]).devices
    ]


def test_a_vf_keeps_its_parents_name_while_the_pf_is_in_use() -> None:
    """Selectors on ``parentDevice`` do not change their minds when somebody takes the PF."""
    found = inventory_of(a_vf_hca(), remembered=iter([a_device()]))
    assert "mlx5_0" == found.devices[0].parent_rdma_device


@pytest.mark.parametrize(
    ("functions", "hcas", "platform"),
    [
        ((), (), Platform.UNKNOWN),
        ((a_function(),), (an_hca(),), Platform.BARE_METAL),
        ((a_function(), a_vf_function()), (a_vf_hca(),), Platform.BARE_METAL),
        ((a_function(total_vfs=None),), (an_hca(),), Platform.UNKNOWN),
        ((a_function(total_vfs=None, device=0x101C),), (an_hca(),), Platform.VIRTUAL_MACHINE),
        ((a_function(),), (), Platform.UNKNOWN),
    ],
    ids=["nothing", "PF", "VF of a PF", "PF without SR-IOV", "passed-through VF", "no port"],
)
def test_the_platform_is_known_by_its_functions(
    functions: tuple[PciFunction, ...], hcas: tuple[Hca, ...], platform: Platform
) -> None:
    """Bare metal has a PF with SR-IOV, a VM a VF without PF (D3)."""
    assert platform is inventory_of(*hcas, functions=functions).platform


def test_a_device_is_found_by_name() -> None:
    """Or not."""
    found = inventory_of(an_hca())
    assert found.devices[0] is found.device("pci-0000-3b-00-0-port1")
    assert found.device("pci-0000-3b-00-0-port2") is None


def test_an_interface_that_is_away_keeps_its_name_in_the_inventory() -> None:
    """In shared mode only the interface goes into the pod; its attribute does not flap."""
    (seen,) = inventory_of(an_hca()).devices
    old = replace(seen, netdev="ib0", netdev_guid=seen.node_guid)
    (found,) = inventory_of(an_hca(), netdevs=(), remembered=[old]).devices
    assert ("ib0", old.netdev_guid) == (found.netdev, found.netdev_guid)
