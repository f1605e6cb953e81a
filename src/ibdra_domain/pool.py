"""The slices there are against the slices there should be -> the fewest writes.

Why: every write of a slice wakes every scheduler and every other driver in the cluster.
One port's change is one slice written; only when several slices change does the whole
pool get a new generation, which tells the scheduler to wait until it has seen them all.

Source: KEP-4381, "ResourcePool"; ``resourceslice/resourceslicecontroller.go``.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from ibdra_domain.kube_objects import CounterSet, Device, ResourceSlice
from ibdra_domain.publication import DRIVER_NAME, to_slices


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
    driver: str = DRIVER_NAME,
    counter_sets: Sequence[CounterSet] = (),
) -> PoolChanges:
    """Compare a node's slices on the server with the devices and counters it has."""

    def slices(generation: int) -> tuple[ResourceSlice, ...]:
        return to_slices(
            devices, node=node, driver=driver, generation=generation, counter_sets=counter_sets
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
            replace(s, metadata=there[s.metadata.name].metadata)
            for s in changed
            if s.metadata.name in there
        ),
        create=tuple(s for s in changed if s.metadata.name not in there),
    )


def _differs(there: ResourceSlice | None, wanted: ResourceSlice) -> bool:
    return there is None or there.spec != wanted.spec
