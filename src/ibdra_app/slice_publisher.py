"""A node's ResourceSlices, kept as a driver says they should be.

Why: any DRA driver's, not InfiniBand's.  It knows what the server has from its own writes
and a watch, so that one device's change is one call; an event that contradicts what it
knows (somebody deleted a slice, as every kubelet does when it starts) makes it list anew.
What the server does not keep is seen in its first answer and left out from then on, or
every look would write the pool anew.  So are counters where they are refused: Kubernetes
1.34 wants a device's in the slice of their set, later ones in another, and a pool without
them is better than none.  A watch that ends may mean another server, or other feature gates,
so then everything is offered again, though not often: an old server has to refuse it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic

from msgspec.structs import replace

from ibdra_domain.errors import KubeFailed, KubeInvalid
from ibdra_domain.kube_objects import (
    MAX_COUNTED_DEVICES_PER_SLICE,
    CounterSet,
    Device,
    OwnerReference,
    ResourceSlice,
)
from ibdra_domain.pool import PoolChanges, ServerKeeps, plan_pool
from ibdra_domain.ports.kube import Nodes, SliceChange, SliceEvent, Slices

_log = logging.getLogger(__name__)

OFFER_AGAIN = 3600.0
"""Seconds at least, until what the server did not keep is offered again."""


class SlicePublisher:
    """Writes one driver's pool on one node; any thread may call it.

    Parameters
    ----------
    driver, node:
        Whose pool it is; the pool has the node's name.
    nodes:
        Gives the node's UID: the slices belong to it and go with it.
    may_taint:
        Devices may get taints one day.  Slices are then cut small from the start (the
        API's limit), so that a first taint is one write and not a new cut.
    clock:
        Gives seconds that never go back.
    """

    def __init__(
        self,
        *,
        slices: Slices,
        nodes: Nodes,
        driver: str,
        node: str,
        may_taint: bool = False,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._slices = slices
        self._nodes = nodes
        self._driver = driver
        self._node = node
        self._may_taint = may_taint
        self._clock = clock
        self._owner: OwnerReference | None = None
        self._known: dict[str, ResourceSlice] | None = None
        self._lock = threading.Lock()
        self.keeps = ServerKeeps()
        self._learned_at = clock()
        self._told: set[ServerKeeps] = set()

    def publish(
        self, devices: Sequence[Device], *, counter_sets: Sequence[CounterSet] = ()
    ) -> PoolChanges:
        """Write what changed; gives the last changes written.

        Raises KubeNotFound while the node is not registered, KubeConflict if somebody else
        wrote first (do it again), KubeUnavailable, KubeFailed.
        """
        with self._lock:
            try:
                return self._offer(devices, counter_sets)
            except KubeFailed:
                self._known = None
                raise

    def seen(self, event: SliceEvent) -> bool:
        """Take notice of a watched event; tells whether the slices must be published anew."""
        with self._lock:  # not while a write of ours is under way, which the watch sees first
            if self._known is None:
                return False
            known = self._known.get(event.slice.metadata.name)
            if event.change is SliceChange.DELETED:
                contradicts = known is not None and _uid(known) == _uid(event.slice)
            else:
                contradicts = known is None or _newer(event.slice, known)
            if contradicts:
                self._known = None
            return contradicts

    def forget(self) -> None:
        """Take nothing for known any more: the watch broke."""
        with self._lock:
            self._known = None
            if self._clock() - self._learned_at >= OFFER_AGAIN:
                self.keeps = ServerKeeps()

    def _offer(self, devices: Sequence[Device], counter_sets: Sequence[CounterSet]) -> PoolChanges:
        """Write it; without counters if the server takes it only so."""
        try:
            return self._settle(devices, counter_sets)
        except KubeInvalid as refused:
            if not counter_sets or not self.keeps.counters:
                raise
            offered, self.keeps = self.keeps, replace(self.keeps, counters=False)
            try:
                changes = self._settle(devices, counter_sets)
            except KubeFailed:
                self.keeps = offered  # it was not them, or nobody knows yet
                raise
            self._learned("the API server refuses counters, slices are without", refused)
            return changes

    def _settle(self, devices: Sequence[Device], counter_sets: Sequence[CounterSet]) -> PoolChanges:
        """Write it, and write it anew without what the server turns out not to keep."""
        before = None
        while before != self.keeps:
            if before is not None:
                self._learned("the API server does not keep all of a slice", self.keeps)
            before = self.keeps
            changes = self._write(devices, counter_sets)
        return changes

    def _learned(self, what: str, detail: object) -> None:
        """Say it once, not whenever it is offered again in vain."""
        self._learned_at = self._clock()
        level = logging.DEBUG if self.keeps in self._told else logging.WARNING
        _log.log(level, "%s: %s", what, detail)
        self._told.add(self.keeps)

    def _write(self, devices: Sequence[Device], counter_sets: Sequence[CounterSet]) -> PoolChanges:
        if self._known is None:
            self._owner = self._owned_by()
            self._known = {one.metadata.name: one for one in self._slices.list()}
        small = self._may_taint and self.keeps.taints
        changes = plan_pool(
            tuple(self._known.values()),
            self.keeps.kept(devices),
            node=self._node,
            driver=self._driver,
            counter_sets=counter_sets if self.keeps.counters else (),
            owner=self._owner,
            per_slice=MAX_COUNTED_DEVICES_PER_SLICE if small else None,
        )
        for unwanted in changes.delete:
            self._slices.delete(unwanted)
            del self._known[unwanted.metadata.name]
        for call, several in (
            (self._slices.replace, changes.replace),
            (self._slices.create, changes.create),
        ):
            for wanted in several:
                found = call(wanted)
                self._known[found.metadata.name] = found
                learned = self.keeps.learned(wanted, found)
                if learned != self.keeps:  # the rest would be written twice
                    self.keeps = learned
                    return changes
        return changes

    def _owned_by(self) -> OwnerReference:
        return OwnerReference(
            api_version="v1",
            kind="Node",
            name=self._node,
            uid=self._nodes.uid(self._node),
            controller=True,
        )


def _uid(one: ResourceSlice) -> str:
    return one.metadata.uid


def _newer(seen: ResourceSlice, known: ResourceSlice) -> bool:
    """Tell whether a watch shows what we have not written ourselves.

    Resource versions of one object are comparable numbers (KEP-5504); where they are not,
    any other version counts.
    """
    ours, theirs = known.metadata.resource_version, seen.metadata.resource_version
    if _uid(seen) == _uid(known) and ours.isdecimal() and theirs.isdecimal():
        return int(theirs) > int(ours)
    return ours != theirs
