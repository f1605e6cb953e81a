"""Properties of the pool plan: whatever is on the server, the changes make it right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain.kube_objects import (
    MAX_DEVICES_PER_SLICE,
    Counter,
    CounterSet,
    Device,
    DeviceAttribute,
    DeviceCapacity,
    DeviceCounterConsumption,
    ObjectMeta,
    ResourceSlice,
)
from ibdra_domain.pool import PoolChanges, ServerKeeps, plan_pool
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.slices import to_slices

NODE = "node-a"


def devices_of(numbers: Sequence[int], *, state: str = "Active") -> list[Device]:
    return [
        Device(name=f"pci-{n:04x}", attributes={"portState": DeviceAttribute(string=state)})
        for n in numbers
    ]


def applied(present: Sequence[ResourceSlice], changes: PoolChanges) -> tuple[ResourceSlice, ...]:
    """Do what a server does, in the plan's order."""
    now = {s.metadata.name: s for s in present}
    for unwanted in changes.delete:
        assert unwanted == now.pop(unwanted.metadata.name)
    for wanted in changes.replace:
        assert now[wanted.metadata.name].metadata == wanted.metadata
        now[wanted.metadata.name] = wanted
    for wanted in changes.create:
        assert wanted.metadata.name not in now
        assert ObjectMeta(name=wanted.metadata.name) == wanted.metadata
        metadata = replace(wanted.metadata, uid=f"uid-{wanted.metadata.name}", resource_version="7")
        now[wanted.metadata.name] = replace(wanted, metadata=metadata)
    return tuple(now[name] for name in sorted(now, key=lambda n: int(n.partition("-")[0], 16)))


def in_order(pool: Sequence[ResourceSlice]) -> list[Device]:
    return [device for one in pool for device in one.spec.devices]


def assert_is_right(pool: Sequence[ResourceSlice], devices: Sequence[Device]) -> None:
    assert list(devices) == in_order(pool)
    assert 1 == len({s.spec.pool.generation for s in pool})
    assert {len(pool)} == {s.spec.pool.resource_slice_count for s in pool}
    names = [d.name for d in in_order(pool)]
    assert len(names) == len(set(names))
    assert max(len(s.spec.devices) for s in pool) <= MAX_DEVICES_PER_SLICE


SIZES = st.sampled_from([0, 1, 2, 127, 128, 129, 255, 256, 257, 400])


@st.composite
def inventories(draw: st.DrawFn) -> list[Device]:
    """Draw a node's devices: some missing from the middle, some with another state."""
    numbers = list(range(draw(SIZES)))
    for gone in draw(st.lists(st.integers(0, 400), max_size=3)):
        if gone in numbers:
            numbers.remove(gone)
    devices = devices_of(numbers)
    for changed in draw(st.lists(st.integers(0, 400), max_size=3)):
        if changed < len(devices):
            devices[changed] = devices_of([numbers[changed]], state="Down")[0]
    return devices


@st.composite
def servers(draw: st.DrawFn) -> list[ResourceSlice]:
    """Draw what a server may hold: a former pool, slices lost, generations torn apart."""
    present = []
    for index, former in enumerate(to_slices(draw(inventories()), node=NODE, driver=DRIVER_NAME)):
        if draw(st.integers(0, 9)) == 0:
            continue  # somebody deleted it
        generation = draw(st.sampled_from([3, 3, 3, 4]))
        pool = replace(former.spec.pool, generation=generation)
        present.append(
            replace(
                former,
                metadata=replace(former.metadata, uid=f"uid-{index}", resource_version=str(index)),
                spec=replace(former.spec, pool=pool),
            )
        )
    return present


@given(present=servers(), devices=inventories())
def test_the_changes_always_give_the_wanted_pool(
    present: list[ResourceSlice], devices: list[Device]
) -> None:
    """Applied, a plan leaves the devices in order, in slices of one generation and count."""
    assert_is_right(
        applied(present, plan_pool(present, devices, node=NODE, driver=DRIVER_NAME)), devices
    )


@given(present=servers(), devices=inventories())
def test_a_second_plan_is_empty(present: list[ResourceSlice], devices: list[Device]) -> None:
    """Once applied there is nothing left to do."""
    now = applied(present, plan_pool(present, devices, node=NODE, driver=DRIVER_NAME))
    assert PoolChanges() == plan_pool(now, devices, node=NODE, driver=DRIVER_NAME)


@given(present=servers(), devices=inventories())
def test_a_generation_never_goes_back(present: list[ResourceSlice], devices: list[Device]) -> None:
    """The pool's generation is at least the newest that was ever seen on the server."""
    newest = max((s.spec.pool.generation for s in present), default=0)
    now = applied(present, plan_pool(present, devices, node=NODE, driver=DRIVER_NAME))
    assert newest <= now[0].spec.pool.generation


@given(present=servers(), devices=inventories())
def test_complete_is_only_what_is_right(
    present: list[ResourceSlice], devices: list[Device]
) -> None:
    """Between two writes no generation is complete but a whole pool, the old or the new one."""
    changes = plan_pool(present, devices, node=NODE, driver=DRIVER_NAME)
    steps = [
        *(PoolChanges(delete=(one,)) for one in changes.delete),
        *(PoolChanges(replace=(one,)) for one in changes.replace),
        *(PoolChanges(create=(one,)) for one in changes.create),
    ]
    now = tuple(present)
    if not is_complete(now):
        return  # it was torn before: what the scheduler makes of that is not our doing
    for step in steps:
        now = applied(now, step)
        if is_complete(now):
            names = [d.name for d in in_order(now)]
            assert len(names) == len(set(names))


def is_complete(pool: Sequence[ResourceSlice]) -> bool:
    """Tell what the scheduler does: all slices of the newest generation are there."""
    newest = max((s.spec.pool.generation for s in pool), default=0)
    current = [s for s in pool if s.spec.pool.generation == newest]
    return bool(current) and len(current) == current[0].spec.pool.resource_slice_count


def published(devices: Sequence[Device], *, generation: int = 5) -> tuple[ResourceSlice, ...]:
    return to_slices(devices, node=NODE, driver=DRIVER_NAME, generation=generation)


def test_nothing_published_yet_is_generation_one() -> None:
    """A first publication creates everything in generation 1."""
    changes = plan_pool([], devices_of(range(300)), node=NODE, driver=DRIVER_NAME)
    assert ((), ()) == (changes.delete, changes.replace)
    assert [1, 1, 1] == [s.spec.pool.generation for s in changes.create]


def test_one_changed_device_is_one_slice_of_the_same_generation() -> None:
    """A port that goes down in a pool of a thousand costs one write."""
    devices = devices_of(range(1000))
    present = published(devices)
    devices[500] = devices_of([500], state="Down")[0]
    changes = plan_pool(present, devices, node=NODE, driver=DRIVER_NAME)
    assert 1 == changes.count
    assert present[3].metadata == changes.replace[0].metadata
    assert 5 == changes.replace[0].spec.pool.generation


def test_two_changed_slices_are_a_new_generation_of_all() -> None:
    """The scheduler must wait until it has seen every slice."""
    devices = devices_of(range(1000))
    present = published(devices)
    for index in (0, 999):
        devices[index] = devices_of([index], state="Down")[0]
    changes = plan_pool(present, devices, node=NODE, driver=DRIVER_NAME)
    assert [6] * 8 == [s.spec.pool.generation for s in changes.replace]


def with_quantities(memory: str, parts: str) -> tuple[list[Device], list[CounterSet]]:
    taken = DeviceCounterConsumption(counter_set="all", counters={"parts": Counter(value=parts)})
    device = Device(
        name="gpu-0",
        capacity={"memory": DeviceCapacity(value=memory)},
        consumes_counters=(taken,),
    )
    return [device], [CounterSet(name="all", counters={"parts": Counter(value=parts)})]


@pytest.mark.parametrize(
    ("memory", "parts", "writes"),
    [("80Gi", "1k", 0), ("81920Mi", "1000", 0), ("81Gi", "1k", 1), ("80Gi", "2k", 2)],
)
def test_quantities_are_compared_by_value(memory: str, parts: str, writes: int) -> None:
    """A server writes 80Gi for our 81920Mi: that is no change, and nothing that it drops."""
    devices, sets = with_quantities("81920Mi", "1000")
    there_devices, there_sets = with_quantities(memory, parts)
    present = to_slices(there_devices, node=NODE, driver=DRIVER_NAME, counter_sets=there_sets)
    changes = plan_pool(present, devices, node=NODE, driver=DRIVER_NAME, counter_sets=sets)
    assert writes == changes.count
    wanted = to_slices(devices, node=NODE, driver=DRIVER_NAME, counter_sets=sets)
    for one, found in zip(wanted, present, strict=True):
        assert (parts != "2k") == ServerKeeps().learned(one, found).counters


def test_another_drivers_names_stay_apart() -> None:
    """The driver's name goes into the slices."""
    changes = plan_pool([], devices_of([1]), node=NODE, driver="gpu.example.com")
    assert ["gpu.example.com"] == [s.spec.driver for s in changes.create]
    assert ["0-gpu.example.com-node-a"] == [s.metadata.name for s in changes.create]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        (PoolChanges(), 0),
        (PoolChanges(delete=published([]), replace=published([]), create=published([])), 3),
    ],
    ids=["empty", "one-of-each"],
)
def test_counts_the_calls(changes: PoolChanges, count: int) -> None:
    """Each deletion, replacement and creation is one call."""
    assert count == changes.count
