"""Devices of one driver on one node -> slices within the API's limits.

Why: apart from what a device is, so that any driver's devices are cut alike.  The order of
devices is the order in which the scheduler takes them, and it is kept.

Source: ``k8s.io/api/resource/v1`` (``types.go``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from ibdra_domain.kube_objects import (
    MAX_COUNTED_DEVICES_PER_SLICE,
    MAX_COUNTER_SETS_PER_SLICE,
    MAX_DEVICES_PER_SLICE,
    MAX_OBJECT_NAME,
    CounterSet,
    Device,
    ObjectMeta,
    ResourcePool,
    ResourceSlice,
    ResourceSliceSpec,
)

_EMPTY_POOL = ResourcePool(name="", generation=0, resource_slice_count=0)
_ItemT = TypeVar("_ItemT")


def to_slices(
    devices: Iterable[Device],
    *,
    node: str,
    driver: str,
    generation: int = 1,
    per_slice: int | None = None,
    counter_sets: Sequence[CounterSet] = (),
) -> tuple[ResourceSlice, ...]:
    """Cut a node's pool into slices, in order; one empty slice if there is no device.

    The pool is named after the node.  The empty slice says "nothing here", where no
    slice would say "the driver has not spoken yet".  Counter sets have slices of their own,
    last, since their order means nothing.
    """
    every = tuple(devices)
    counted = counter_sets or any(device.taints for device in every)
    most = MAX_COUNTED_DEVICES_PER_SLICE if counted else MAX_DEVICES_PER_SLICE
    specs = [
        ResourceSliceSpec(driver=driver, pool=_EMPTY_POOL, node_name=node, devices=chunk)
        for chunk in _chunks(every, per_slice or most) or [()]
    ] + [
        ResourceSliceSpec(driver=driver, pool=_EMPTY_POOL, node_name=node, shared_counters=chunk)
        for chunk in _chunks(tuple(counter_sets), MAX_COUNTER_SETS_PER_SLICE)
    ]
    pool = ResourcePool(name=node, generation=generation, resource_slice_count=len(specs))
    return tuple(
        ResourceSlice(
            metadata=ObjectMeta(name=slice_name(index, node=node, driver=driver)),
            spec=replace(spec, pool=pool),
        )
        for index, spec in enumerate(specs)
    )


def _chunks(every: tuple[_ItemT, ...], size: int) -> list[tuple[_ItemT, ...]]:
    return [every[i : i + size] for i in range(0, len(every), size)]


def slice_name(index: int, *, node: str, driver: str) -> str:
    """Name a slice: index first, so that listings sort as the scheduler searches.

    A name beyond the API's limit ends in a hash of what was cut off.
    """
    name = f"{index:x}-{driver}-{node}"
    if len(name) <= MAX_OBJECT_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: MAX_OBJECT_NAME - 17].rstrip('-.')}-{digest}"
