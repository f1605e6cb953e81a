"""What excludes what, as counters: whoever counts right never gives out the same silicon twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.exclusion import Exclusion, counters_of
from ibdra_domain.identifiers import PciAddress, device_name
from ibdra_domain.inventory import FunctionType, IbDevice
from ibdra_domain.kube_objects import (
    MAX_COUNTED_DEVICES_PER_SLICE,
    MAX_COUNTER_SETS_PER_SLICE,
    MAX_COUNTERS_PER_SET,
)
from ibdra_domain.preparation import shares_hardware
from ibdra_domain.publication import DRIVER_NAME, counted, to_dra_device
from ibdra_domain.slices import to_slices
from unit.domain.domain_facts import NODE, a_device


def hca(
    bus: int, *, pf_ports: int = 1, vfs: Sequence[int] = (), in_vm: bool = False
) -> list[IbDevice]:
    """Make an HCA's devices: its PF's ports, and a number of ports for each of its VFs."""
    pf = PciAddress(f"0000:{bus:02x}:00.0")
    functions = [PciAddress(f"0000:{bus:02x}:{n // 8:02x}.{n % 8}") for n in range(1, len(vfs) + 1)]
    own = [
        a_device(name=device_name(pf, port), pci=pf, port=port) for port in range(1, pf_ports + 1)
    ]
    return own + [
        a_device(
            name=device_name(vf, port),
            pci=vf,
            port=port,
            function_type=FunctionType.VF,
            parent_pci=None if in_vm else pf,
        )
        for vf, ports in zip(functions, vfs, strict=True)
        for port in range(1, ports + 1)
    ]


nodes = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 2), max_size=12), st.booleans()),
    max_size=5,
).map(
    lambda hcas: [
        device
        for bus, (ports, vfs, in_vm) in enumerate(hcas, 16)
        for device in hca(bus, pf_ports=0 if in_vm else ports, vfs=vfs, in_vm=in_vm)
    ]
)


def fits(exclusion: Exclusion, together: Iterable[IbDevice]) -> bool:
    """Count as a scheduler does: all that is taken must be there."""
    left = {(s.name, n): int(c.value) for s in exclusion.sets for n, c in s.counters.items()}
    for device in together:
        taken = exclusion.taken.get(device.name)
        for name, counter in (taken.counters if taken else {}).items():
            left[taken.counter_set, name] -= int(counter.value)  # type: ignore[union-attr]  # it has counters, so it is there
    return all(value >= 0 for value in left.values())


def test_an_hca_with_one_device_has_nothing_to_exclude() -> None:
    """No counter, and 128 devices in a slice."""
    assert Exclusion() == counters_of([*hca(16), *hca(17, pf_ports=0, vfs=[1], in_vm=True)])


def test_a_pf_takes_all_and_a_vf_one() -> None:
    """Of as many as there are VF ports."""
    exclusion = counters_of(hca(0x3B, vfs=[1, 1, 1]))
    (only,) = exclusion.sets
    assert ("hca-0000-3b-00-0", "3") == (only.name, only.counters["functions"].value)
    values = [taken.counters["functions"].value for taken in exclusion.taken.values()]
    assert ["3", "1", "1", "1"] == values


def test_two_ports_of_one_function_are_one() -> None:
    """Of a PF without VFs, each port takes the one there is."""
    exclusion = counters_of(hca(0x3B, pf_ports=2))
    assert ["1", "1"] == [t.counters["functions"].value for t in exclusion.taken.values()]


@given(devices=nodes)
def test_counting_tells_the_same_as_the_check_at_prepare(devices: list[IbDevice]) -> None:
    """Two devices fit together by the counters if and only if they share no hardware."""
    exclusion = counters_of(devices)
    for one, other in combinations(devices, 2):
        assert fits(exclusion, [one, other]) != shares_hardware(one, other)


@given(devices=nodes)
def test_all_vfs_fit_at_once(devices: list[IbDevice]) -> None:
    """One port of each is never refused."""
    vfs = {d.pci: d for d in devices if d.function_type is FunctionType.VF}
    assert fits(counters_of(devices), vfs.values())


@given(devices=nodes)
def test_slices_keep_the_apis_limits(devices: list[IbDevice]) -> None:
    """Devices and counters in slices of their own, so many of each, and every set is there."""
    exclusion = counters_of(devices)
    published = counted(map(to_dra_device, devices), exclusion)
    slices = to_slices(published, node=NODE, driver=DRIVER_NAME, counter_sets=exclusion.sets)
    assert published == tuple(d for s in slices for d in s.spec.devices)
    assert exclusion.sets == tuple(c for s in slices for c in s.spec.shared_counters)
    for each in slices:
        assert not (each.spec.devices and each.spec.shared_counters)
        assert len(each.spec.shared_counters) <= MAX_COUNTER_SETS_PER_SLICE
        assert len(slices) == each.spec.pool.resource_slice_count
        if exclusion.sets:
            assert len(each.spec.devices) <= MAX_COUNTED_DEVICES_PER_SLICE
    assert all(len(s.counters) <= MAX_COUNTERS_PER_SET for s in exclusion.sets)


def test_more_two_port_vfs_than_a_set_has_room_for() -> None:
    """The set stays within its limit; what it cannot count is told apart at prepare."""
    exclusion = counters_of(hca(16, vfs=[2] * 40))
    assert MAX_COUNTERS_PER_SET == len(exclusion.sets[0].counters)
    assert 81 == len(exclusion.taken)
