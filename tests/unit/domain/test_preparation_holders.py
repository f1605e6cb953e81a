"""Whatever the scheduler allocates: no hardware has two holders, but for admin access.

Counters keep a scheduler from it; they can be off, or not kept by the API server.  Then the
check at prepare is all there is, so it is asked with allocations that know nothing of them.
"""

from __future__ import annotations

from itertools import combinations

from hypothesis import event, given
from hypothesis import strategies as st

from ibdra_domain.errors import DeviceRefused
from ibdra_domain.identifiers import DeviceName
from ibdra_domain.inventory import IbDevice, Inventory
from ibdra_domain.preparation import PreparedClaim, prepare_claim, shares_hardware
from unit.domain.domain_facts import (
    a_char_device,
    a_claim_ref,
    an_allocated_device,
    an_allocation,
    rdma_cm,
)
from unit.domain.test_exclusion import hca

NODE = (
    *hca(0x3B, vfs=[1, 1, 2]),
    *hca(0x5E, pf_ports=2),
    *hca(0x86, vfs=[1]),
    *hca(0x87, pf_ports=0, vfs=[1], in_vm=True),
)
NODES = (
    *(
        a_char_device(name=f"uverbs{number}", minor=192 + number, pci=pci)
        for number, pci in enumerate(sorted({device.pci for device in NODE}))
    ),
    rdma_cm(),
)
Wanted = list[tuple[IbDevice, bool]]

claims = st.integers(0, 4)
prepares = st.tuples(claims, st.lists(st.tuples(st.sampled_from(NODE), st.booleans()), max_size=3))
unprepares = st.tuples(claims, st.none())


def held_hardware(prepared: PreparedClaim) -> list[IbDevice]:
    """Give the devices that a claim has alone."""
    return [port.device for port in prepared.moving]


def prepare(number: int, wanted: Wanted, held: dict[int, PreparedClaim]) -> PreparedClaim:
    """Prepare a claim of any devices, with admin access or without."""
    devices = tuple(
        an_allocated_device(request=f"r{n}", device=DeviceName(device.name), admin=admin)
        for n, (device, admin) in enumerate(wanted)
    )
    return prepare_claim(
        an_allocation(claim=a_claim_ref(name=f"c{number}", uid=f"uid-{number}"), devices=devices),
        inventory=Inventory(devices=NODE),
        held=held.values(),
        pkey_tables={},
        char_devices=NODES,
    )


@given(steps=st.lists(st.one_of(prepares, unprepares), max_size=20))
def test_no_two_holders_overlap_and_nobody_is_refused_without_need(
    steps: list[tuple[int, Wanted | None]],
) -> None:
    """After any steps; who is refused would have overlapped, with a holder or with himself."""
    held: dict[int, PreparedClaim] = {}
    for number, wanted in steps:
        if wanted is None:
            held.pop(number, None)
            continue
        if number in held:  # a claim's devices never change
            continue
        alone = [device for device, admin in wanted if not admin]
        others = [device for other in held.values() for device in held_hardware(other)]
        overlap = any(shares_hardware(one, other) for one in alone for other in others)
        try:
            held[number] = prepare(number, wanted, held)
        except DeviceRefused:
            event("refused")
            assert overlap or len(alone) > len({device.name for device in alone})
        else:
            event("prepared")
            assert not overlap
        for one, other in combinations(held.values(), 2):
            assert not any(
                shares_hardware(a, b) for a in held_hardware(one) for b in held_hardware(other)
            )
