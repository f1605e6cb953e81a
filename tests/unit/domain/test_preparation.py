"""Allocation and inventory decided: who gets a device, and who is refused."""

from __future__ import annotations

from typing import Any

import pytest

from ibdra_domain.errors import ConfigRefused, DeviceRefused
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import ZERO_GUID, DeviceName, Gid, device_name
from ibdra_domain.inventory import IbDevice, Inventory, Presence
from ibdra_domain.preparation import PreparedClaim, prepare_claim
from unit.domain.domain_facts import (
    DEFAULT_PKEY,
    NODE,
    OTHER_VF,
    PF,
    TENANT_PKEY,
    VF,
    a_char_device,
    a_claim_ref,
    a_device,
    a_port,
    a_prepared_claim,
    a_vf,
    an_allocated_device,
    an_allocation,
    an_hca_port,
    rdma_cm,
)

PF_NODE = a_char_device()
VF_NODE = a_char_device(name="uverbs2", minor=194, rdma_device="mlx5_2", pci=VF)
OTHER_CLAIM = a_claim_ref(name="other", uid="uid-2")


def prepare(*devices: IbDevice, **changes: Any) -> PreparedClaim:
    """Prepare a claim of all of these devices, which are all there is."""
    config = changes.pop("config", IbConfig())
    admin = changes.pop("admin", False)
    wanted = tuple(an_allocated_device(device=d.name, config=config, admin=admin) for d in devices)
    options: dict[str, Any] = {
        "inventory": Inventory(devices=devices),
        "held": (),
        "pkey_tables": {},
        "char_devices": (PF_NODE, VF_NODE, rdma_cm()),
    }
    return prepare_claim(an_allocation(devices=wanted), **options | changes)


def test_a_free_device_is_prepared() -> None:
    """With its facts of now and its device node."""
    assert a_prepared_claim() == prepare(a_device())


def test_a_port_carries_what_was_allocated() -> None:
    """Request, share and config of each device, in the allocation's order."""
    wanted = (
        an_allocated_device(request="b", device=device_name(VF, 1), share_id="s"),
        an_allocated_device(request="a", config=IbConfig(traffic_class=1)),
    )
    claim = prepare_claim(
        an_allocation(devices=wanted),
        inventory=Inventory(devices=(a_device(), a_vf())),
        held=(),
        pkey_tables={},
        char_devices=(PF_NODE, VF_NODE),
    )
    assert [("b", "s", None), ("a", None, 1)] == [
        (p.request, p.share_id, p.config.traffic_class) for p in claim.ports
    ]
    assert (a_claim_ref(), NODE) == (claim.claim, claim.pool)


@pytest.mark.parametrize(
    "devices", [(), (a_device(presence=Presence.GONE),)], ids=["unknown", "pulled out"]
)
@pytest.mark.parametrize("admin", [False, True], ids=["ordinary", "admin"])
def test_a_device_that_is_not_here_is_refused(
    devices: tuple[IbDevice, ...], *, admin: bool
) -> None:
    """The scheduler acted on a slice of before."""
    allocation = an_allocation(devices=(an_allocated_device(admin=admin),))
    inventory = Inventory(devices=devices)
    with pytest.raises(DeviceRefused, match=f"{device_name(PF, 1)} is not on this node"):
        prepare_claim(
            allocation, inventory=inventory, held=(), pkey_tables={}, char_devices=(PF_NODE,)
        )


def test_a_device_in_another_namespace_is_refused() -> None:
    """Nobody of ours holds it, so a person must look who does."""
    with pytest.raises(DeviceRefused, match="is in another network namespace"):
        prepare(a_device(presence=Presence.AWAY))


def test_who_holds_a_device_is_named_before_where_it_is() -> None:
    """A device in use is away; the reader wants to know whose pod has it."""
    held = [a_prepared_claim(claim=OTHER_CLAIM)]
    with pytest.raises(DeviceRefused, match="is held by claim team/other"):
        prepare(a_device(presence=Presence.AWAY), held=held)


def test_admin_access_sees_a_device_that_is_away() -> None:
    """Its nodes are found by its PCI function; that is what monitoring is for."""
    away = a_device(presence=Presence.AWAY)
    assert (PF_NODE,) == prepare(away, admin=True).ports[0].char_devices


@pytest.mark.parametrize(
    "fields",
    [
        {"node_guid": ZERO_GUID},
        {"link": an_hca_port(gid0=Gid("fe80:0000:0000:0000:0000:0000:0000:0000"))},
    ],
    ids=["node", "port"],
)
def test_a_device_without_guid_is_refused(fields: dict[str, Any]) -> None:
    """The remedy is a command."""
    with pytest.raises(DeviceRefused, match="all-zero node or port GUID") as caught:
        prepare(a_vf(**fields))
    assert "ibdra provision" in caught.value.remedy


def test_a_device_allocated_twice_is_refused() -> None:
    """No scheduler should do that, and two containers would share one device."""
    with pytest.raises(DeviceRefused, match="is allocated twice in claim"):
        prepare_claim(
            an_allocation(devices=(an_allocated_device(), an_allocated_device(request="b"))),
            inventory=Inventory(devices=(a_device(),)),
            held=(),
            pkey_tables={},
            char_devices=(PF_NODE,),
        )


def test_admin_access_shares_a_device_even_within_a_claim() -> None:
    """An administrator may look at what another request of the claim uses."""
    wanted = (an_allocated_device(), an_allocated_device(request="look", admin=True))
    claim = prepare_claim(
        an_allocation(devices=wanted),
        inventory=Inventory(devices=(a_device(),)),
        held=(),
        pkey_tables={},
        char_devices=(PF_NODE,),
    )
    assert [False, True] == [p.admin for p in claim.ports]
    assert ["hca"] == [p.request for p in claim.moving]


def test_a_device_held_by_another_claim_is_refused() -> None:
    """The refusal names the holder."""
    held = [a_prepared_claim(claim=OTHER_CLAIM)]
    with pytest.raises(DeviceRefused) as caught:
        prepare(a_device(), held=held)
    expected = "device pci-0000-3b-00-0-port1 is held by claim team/other (uid-2)"
    assert expected == caught.value.problem


@pytest.mark.parametrize(
    ("wanted", "holder"),
    [
        (a_device(port=2), a_device()),
        (a_vf(), a_device()),
        (a_device(), a_vf()),
        (a_vf(), a_device(port=2)),
    ],
    ids=["sibling port", "VF of a held PF", "PF of a held VF", "VF of another port's PF"],
)
def test_hardware_has_one_holder(wanted: IbDevice, holder: IbDevice) -> None:
    """Though the scheduler may see separate devices (D9)."""
    held = [a_prepared_claim(a_port(device=holder), claim=OTHER_CLAIM)]
    through = f"is held by claim team/other .uid-2. through {holder.name} of the same HCA"
    with pytest.raises(DeviceRefused, match=through):
        prepare(wanted, held=held)


@pytest.mark.parametrize(
    ("held", "admin"),
    [
        ([a_prepared_claim()], False),
        ([a_prepared_claim(a_port(admin=True), claim=OTHER_CLAIM)], False),
        ([a_prepared_claim(claim=OTHER_CLAIM)], True),
        ([a_prepared_claim(a_port(device=a_vf(pci=OTHER_VF)), claim=OTHER_CLAIM)], False),
    ],
    ids=["this very claim", "an administrator", "wanted by an administrator", "another VF"],
)
def test_what_does_not_stand_in_the_way(held: list[PreparedClaim], *, admin: bool) -> None:
    """Asking again, looking on, and two VFs of one PF."""
    assert 1 == len(prepare(a_vf(), held=held, admin=admin).ports)


def test_ports_of_one_hca_may_be_one_claims() -> None:
    """One holder, two ports."""
    ports = (a_device(), a_device(port=2))
    assert [1, 2] == [p.device.port for p in prepare(*ports).ports]


@pytest.mark.parametrize(
    ("mtu", "active", "reason"),
    [
        (4096, 4096, None),
        (256, 4096, None),
        (4096, 2048, r"mtu 4096 is above the active MTU of mlx5_0 port 1 \(2048\)"),
        (4096, None, None),
        (None, None, None),
    ],
)
def test_an_mtu_must_fit_the_port(mtu: int | None, active: int | None, reason: str | None) -> None:
    """At most the active one; where nobody may ask the HCA for it, that is said."""
    device = a_device(link=an_hca_port(active_mtu=active))
    if reason is None:
        (port,) = prepare(device, config=IbConfig(mtu=mtu)).ports
        assert mtu == port.config.mtu
        assert (mtu is not None and active is None) == ("active MTU is unknown" in str(port))
    else:
        with pytest.raises(ConfigRefused, match=reason):
            prepare(device, config=IbConfig(mtu=mtu))


@pytest.mark.parametrize(
    ("table", "index"),
    [((TENANT_PKEY,), 0), ((DEFAULT_PKEY, 0, TENANT_PKEY, TENANT_PKEY), 2)],
    ids=["first", "behind a hole"],
)
def test_a_pkeys_index_is_its_first_place_in_the_table(table: Any, index: int) -> None:
    """Holes count."""
    tables = {device_name(PF, 1): table}
    claim = prepare(a_device(), config=IbConfig(pkey=TENANT_PKEY), pkey_tables=tables)
    assert index == claim.ports[0].pkey_index


@pytest.mark.parametrize(
    ("tables", "listed", "hint"),
    [
        ({}, "empty", None),
        ({device_name(PF, 1): ()}, "empty", None),
        ({device_name(PF, 1): (0, 0x8000)}, "empty", None),
        ({device_name(VF, 1): (TENANT_PKEY,)}, "empty", None),
        ({device_name(PF, 1): (DEFAULT_PKEY, 0, 0x8002)}, "0xffff, 0x8002", None),
        ({device_name(PF, 1): (DEFAULT_PKEY, 0x0001)}, "0xffff, 0x0001", "0x0001"),
    ],
    ids=["no table", "empty", "holes only", "another's", "other keys", "other membership"],
)
def test_a_pkey_that_is_not_in_the_table_is_refused(
    tables: dict[DeviceName, Any], listed: str, hint: str | None
) -> None:
    """The kernel would take it and wait for ever; we say what there is."""
    with pytest.raises(ConfigRefused) as caught:
        prepare(a_device(), config=IbConfig(pkey=TENANT_PKEY), pkey_tables=tables)
    where = "pkey 0x8001 is not in the partition table of mlx5_0 port 1"
    assert f"{where} ({listed})" == caught.value.problem
    assert (hint is not None) == ("or use" in caught.value.remedy)
    assert (hint or "") in caught.value.remedy


@pytest.mark.parametrize(
    ("pkey", "index", "netdev", "child"),
    [
        (None, None, "ib0", None),
        (TENANT_PKEY, 0, "ib0", None),
        (TENANT_PKEY, 3, "ib0", TENANT_PKEY),
        (TENANT_PKEY, 3, None, None),
    ],
    ids=["no pkey", "the parent's own", "another", "no interface"],
)
def test_a_pkey_gets_an_interface_where_it_needs_one(
    pkey: int | None, index: int | None, netdev: str | None, child: int | None
) -> None:
    """Index 0 is the partition the parent is in already."""
    port = a_port(config=IbConfig(pkey=pkey), pkey_index=index, device=a_device(netdev=netdev))
    assert child == port.child_pkey
