"""The slices there are against the slices there should be -> the fewest writes.

Why: every write of a slice wakes every scheduler and every other driver in the cluster.
One port's change is one slice written; only when several slices change does the whole
pool get a new generation, which tells the scheduler to wait until it has seen them all.

Source: KEP-4381, "ResourcePool"; ``resourceslice/resourceslicecontroller.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from ibdra_domain.kube_objects import (
    Counter,
    CounterSet,
    Device,
    DeviceCapacity,
    OwnerReference,
    ResourceSlice,
    ResourceSliceSpec,
)
from ibdra_domain.quantities import plain
from ibdra_domain.slices import to_slices

_QuantityT = TypeVar("_QuantityT", Counter, DeviceCapacity)


class PoolChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What to write, in this order: obsolete slices go first, so that no device is twice."""

    delete: tuple[ResourceSlice, ...] = ()
    replace: tuple[ResourceSlice, ...] = ()
    create: tuple[ResourceSlice, ...] = ()

    @property
    def count(self) -> int:
        """Count the calls to the API server."""
        return len(self.delete) + len(self.replace) + len(self.create)


def plan_pool(
    present: Sequence[ResourceSlice],
    devices: Sequence[Device],
    *,
    node: str,
    driver: str,
    counter_sets: Sequence[CounterSet] = (),
    owner: OwnerReference | None = None,
    per_slice: int | None = None,
) -> PoolChanges:
    """Compare a node's slices on the server with the devices and counters it has.

    ``owner`` is whose end is the slices' end: their node.  Taints keep the time at which
    the server says they were added.
    """
    dated = _with_times(devices, present)

    def slices(generation: int) -> tuple[ResourceSlice, ...]:
        made = to_slices(
            dated,
            node=node,
            driver=driver,
            generation=generation,
            counter_sets=counter_sets,
            per_slice=per_slice,
        )
        owners = () if owner is None else (owner,)
        return tuple(
            replace(s, metadata=replace(s.metadata, owner_references=owners)) for s in made
        )

    newest = max((s.spec.pool.generation for s in present), default=0)
    there = {s.metadata.name: s for s in present}
    wanted = slices(max(newest, 1))
    obsolete = there.keys() - {s.metadata.name for s in wanted}
    changed = [s for s in wanted if _differs(there.get(s.metadata.name), s)]
    if len(changed) + len(obsolete) > 1 and present:
        wanted = slices(newest + 1)
        changed = list(wanted)
    return PoolChanges(
        delete=tuple(there[name] for name in sorted(obsolete)),
        replace=tuple(
            _over(there[s.metadata.name], s) for s in changed if s.metadata.name in there
        ),
        create=tuple(s for s in changed if s.metadata.name not in there),
    )


def _differs(there: ResourceSlice | None, wanted: ResourceSlice) -> bool:
    if there is None or not _are_same(there.spec, wanted.spec):
        return True
    owners = wanted.metadata.owner_references
    return bool(owners) and there.metadata.owner_references != owners


def _are_same(there: ResourceSliceSpec, wanted: ResourceSliceSpec) -> bool:
    return there == wanted or _with_plain(there) == _with_plain(wanted)


def _with_plain(spec: ResourceSliceSpec) -> ResourceSliceSpec:
    """Write its quantities so that equal values are equal."""
    return replace(
        spec,
        devices=tuple(
            replace(
                device,
                capacity=_plain(device.capacity),
                consumes_counters=tuple(
                    replace(taken, counters=_plain(taken.counters))
                    for taken in device.consumes_counters
                ),
            )
            for device in spec.devices
        ),
        shared_counters=tuple(
            replace(one, counters=_plain(one.counters)) for one in spec.shared_counters
        ),
    )


def _plain(quantities: Mapping[str, _QuantityT]) -> dict[str, _QuantityT]:
    return {name: replace(one, value=plain(one.value)) for name, one in quantities.items()}


def _over(there: ResourceSlice, wanted: ResourceSlice) -> ResourceSlice:
    """Give what is written over a slice: its own metadata, and the owner that it should have."""
    owners = wanted.metadata.owner_references or there.metadata.owner_references
    return replace(wanted, metadata=replace(there.metadata, owner_references=owners))


def _with_times(devices: Sequence[Device], present: Sequence[ResourceSlice]) -> tuple[Device, ...]:
    """Give the devices with their taints' times, as far as the server has told them."""
    times = {
        (device.name, taint.key, taint.value, taint.effect): taint.time_added
        for one in present
        for device in one.spec.devices
        for taint in device.taints
    }
    if not times:
        return tuple(devices)
    return tuple(
        replace(
            device,
            taints=tuple(
                replace(t, time_added=times.get((device.name, t.key, t.value, t.effect)))
                for t in device.taints
            ),
        )
        if device.taints
        else device
        for device in devices
    )


class ServerKeeps(msgspec.Struct, frozen=True, kw_only=True):
    """Which newer parts of a slice the API server keeps; it drops the others in silence (D14)."""

    counters: bool = True
    taints: bool = True

    def learned(self, wanted: ResourceSlice, found: ResourceSlice) -> ServerKeeps:
        """Compare what was written with what the server says it has."""
        return ServerKeeps(
            counters=self.counters and _counters(wanted) == _counters(found),
            taints=self.taints and _taints(wanted) == _taints(found),
        )

    def kept(self, devices: Iterable[Device]) -> tuple[Device, ...]:
        """Give the devices without what would be dropped."""
        without: dict[str, tuple[()]] = {}
        if not self.counters:
            without["consumes_counters"] = ()
        if not self.taints:
            without["taints"] = ()
        return tuple(replace(device, **without) if without else device for device in devices)


def _counters(one: ResourceSlice) -> object:
    spec = _with_plain(one.spec)
    return [d.consumes_counters for d in spec.devices], spec.shared_counters


def _taints(one: ResourceSlice) -> object:
    return [[(t.key, t.value, t.effect) for t in d.taints] for d in one.spec.devices]
