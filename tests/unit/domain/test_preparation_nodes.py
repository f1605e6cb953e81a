"""Device nodes by need, and the exclusion of holders as a property."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.allocation import AllocatedDevice
from ibdra_domain.errors import DeviceRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import IbDevice, Inventory
from ibdra_domain.preparation import (
    PreparedClaim,
    choose_char_devices,
    prepare_claim,
    shares_hardware,
)
from unit.domain.domain_facts import (
    PF,
    VF,
    a_char_device,
    a_claim_ref,
    a_device,
    a_vf,
    an_allocated_device,
    an_allocation,
    rdma_cm,
)


def a_umad(**changes: object) -> CharDevice:
    """Build a port's umad node."""
    return a_char_device(**{"kind": CharDeviceKind.UMAD, "name": "umad0", "port": 1} | changes)


UVERBS = a_char_device()
UMAD = a_umad(minor=0)
ISSM = a_umad(kind=CharDeviceKind.ISSM, name="issm0", minor=64)
SIBLINGS = (a_umad(name="umad1", port=2, minor=1), a_umad(pci=VF, minor=2))
NODES = (ISSM, *SIBLINGS, UMAD, rdma_cm(), UVERBS, a_char_device(name="uverbs2", pci=VF))


@pytest.mark.parametrize(
    ("admin", "with_umad", "expected"),
    [
        (False, False, (UVERBS,)),
        (False, True, (UVERBS, UMAD)),
        (True, False, (UVERBS, UMAD, ISSM)),
        (True, True, (UVERBS, UMAD, ISSM)),
    ],
    ids=["ordinary", "ordinary with umad", "admin", "admin with umad"],
)
def test_nodes_are_given_by_need(
    *, admin: bool, with_umad: bool, expected: tuple[CharDevice, ...]
) -> None:
    """Never another port's or another device's; always in one order (D8)."""
    for nodes in (NODES, NODES[::-1]):
        found = choose_char_devices(a_device(), nodes, admin=admin, with_umad=with_umad)
        assert expected == found


def test_a_node_is_known_by_its_function_before_its_name() -> None:
    """RDMA names are given anew; a function's stays, also when the device is away."""
    renamed = a_char_device(rdma_device="mlx5_9")
    mistaken = a_char_device(pci=VF, name="uverbs7", minor=199)
    assert (renamed,) == choose_char_devices(a_device(), (renamed, mistaken), admin=False)


def test_a_node_without_function_is_known_by_name() -> None:
    """Where sysfs does not show what is below it."""
    bare = a_char_device(pci=None)
    assert (bare,) == choose_char_devices(a_device(), (bare,), admin=False)
    with pytest.raises(DeviceRefused):
        choose_char_devices(a_device(rdma_device="mlx5_9"), (bare,), admin=False)


@pytest.mark.parametrize("nodes", [(), (UMAD, ISSM, rdma_cm())], ids=["none", "others only"])
def test_a_device_without_uverbs_is_refused(nodes: tuple[CharDevice, ...]) -> None:
    """A container without the node could not use the device."""
    with pytest.raises(DeviceRefused, match="has no uverbs node"):
        choose_char_devices(a_device(), nodes, admin=True)


# Two PFs of two ports, each with two VFs: the domain's bus tells the PFs apart.
FUNCTIONS = [PciAddress(f"0000:{bus}:00.{f}") for bus in ("3b", "5e") for f in (0, 2, 3)]
MACHINE = tuple(
    a_vf(pci=pci, parent_pci=PciAddress(f"{pci[:-1]}0"), port=port)
    if pci[-1] != "0"
    else a_device(pci=pci, port=port)
    for pci in FUNCTIONS
    for port in (1, 2)
)
HAS_NODES = tuple(a_char_device(pci=pci, name=f"uverbs{n}") for n, pci in enumerate(FUNCTIONS))
devices = st.sampled_from(MACHINE)
wishes = st.lists(
    st.builds(
        lambda device, admin: an_allocated_device(device=device.name, admin=admin),
        devices,
        st.integers(0, 4).map(lambda n: n == 0),
    ),
    min_size=1,
    max_size=3,
)


@given(devices, devices)
def test_sharing_hardware_is_mutual(one: IbDevice, other: IbDevice) -> None:
    """It is having a function, or a PF and its VF, in common."""
    expected = one.pci == other.pci or (
        one.hardware == other.hardware and one.function_type != other.function_type
    )
    assert expected == shares_hardware(one, other)
    assert expected == shares_hardware(other, one)


@given(st.lists(st.tuples(st.integers(0, 5), wishes), max_size=12))
def test_no_hardware_has_two_holders(requests: list[tuple[int, list[AllocatedDevice]]]) -> None:
    """Whatever is asked, in any order, again and again: different claims never overlap."""
    held: dict[str, PreparedClaim] = {}
    for number, wanted in requests:
        claim = a_claim_ref(uid=f"uid-{number}")
        try:
            held[claim.uid] = prepare_claim(
                an_allocation(claim=claim, devices=tuple(wanted)),
                inventory=Inventory(devices=MACHINE),
                held=held.values(),
                pkey_tables={},
                char_devices=HAS_NODES,
            )
        except DeviceRefused:
            continue
    for one, other in combinations(held.values(), 2):
        for port in one.moving:
            assert not any(shares_hardware(port.device, p.device) for p in other.moving)


def test_a_machine_full_of_vfs_has_a_holder_each() -> None:
    """Exclusion does not go further than it must."""
    held: list[PreparedClaim] = []
    for number, pci in enumerate(f for f in FUNCTIONS if f[-1] != "0"):
        device = next(d for d in MACHINE if d.pci == pci)
        allocation = an_allocation(
            claim=a_claim_ref(uid=f"uid-{number}"),
            devices=(an_allocated_device(device=device.name),),
        )
        held.append(
            prepare_claim(
                allocation,
                inventory=Inventory(devices=MACHINE),
                held=held,
                pkey_tables={},
                char_devices=HAS_NODES,
            )
        )
    assert 4 == len(held)
    assert PF not in {p.device.pci for claim in held for p in claim.ports}
