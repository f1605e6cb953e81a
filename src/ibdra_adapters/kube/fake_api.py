"""An API server's object store in memory: versions, conflicts, watches, applied fields.

Why: the parts of an API server that make drivers fail are not its data but its manners:
somebody else writes first, a watch breaks, an apply takes away what it no longer names.
Objects are plain JSON, as on the wire (D12).
"""

from __future__ import annotations

import copy
import queue
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ibdra_adapters.kube.field_owners import FieldOwners
from ibdra_domain.errors import (
    KubeConflict,
    KubeFailed,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)

Json = dict[str, Any]


class ObjectKey(NamedTuple):
    """Which object: ``namespace`` is empty for cluster-wide kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"


class ObjectEvent(NamedTuple):
    """One change: ADDED, MODIFIED or DELETED, and the object."""

    change: str
    body: Json


class ObjectWatch:
    """One watcher's events: waits for the next, until it is cut off or closed."""

    def __init__(self, kind: str, *, ended: Callable[[ObjectWatch], None]) -> None:
        self.kind = kind
        self._ended = ended
        self._events: queue.SimpleQueue[ObjectEvent | None] = queue.SimpleQueue()
        self._closed = False

    def __iter__(self) -> Iterator[ObjectEvent]:
        return self

    def __next__(self) -> ObjectEvent:
        """Wait; KubeUnavailable once cut off, StopIteration once closed."""
        event = None if self._closed else self._events.get()
        if event is not None and not self._closed:
            return event
        self._events.put(None)  # whoever asks again gets the same answer
        if self._closed:
            raise StopIteration
        raise KubeUnavailable(f"the watch on {self.kind} was cut off", remedy="watch again")

    def tell(self, event: ObjectEvent) -> None:
        """Add an event."""
        self._events.put(event)

    def cut(self) -> None:
        """End it as a server's restart does."""
        self._events.put(None)

    def close(self) -> None:
        """End it for good, and wake who waits."""
        self._closed = True
        self._ended(self)
        self._events.put(None)


class FakeKubeApi:
    """One cluster's objects; safe to use from several threads.

    ``fail_next`` makes that many of the next calls fail with KubeUnavailable.  Without
    ``keeps_counters`` or ``keeps_taints`` it drops those of a slice, as one whose feature
    gate is off.  With ``old_counters`` it takes a device's counters only beside their set, in
    the same slice, as Kubernetes 1.34.
    """

    def __init__(
        self,
        *,
        keeps_counters: bool = True,
        keeps_taints: bool = True,
        old_counters: bool = False,
    ) -> None:
        self._old_counters = old_counters
        self._keeps_counters = keeps_counters
        self._keeps_taints = keeps_taints
        self._lock = threading.RLock()
        self._objects: dict[ObjectKey, Json] = {}
        self._owners: dict[ObjectKey, FieldOwners] = {}
        self._version = 100
        self._watchers: list[ObjectWatch] = []
        self.fail_next = 0
        self.calls: list[str] = []

    def create(self, body: Mapping[str, Any]) -> Json:
        """Create an object; ``generateName`` is completed.  KubeConflict if it exists."""
        with self._lock:
            fresh: Json = copy.deepcopy(dict(body))
            metadata = fresh.setdefault("metadata", {})
            if not metadata.get("name"):
                metadata["name"] = f"{metadata.get('generateName', '')}{uuid.uuid4().hex[:5]}"
            key = _key(fresh)
            self._record("create", key)
            if key in self._objects:
                raise KubeConflict(f"{key} exists already", remedy="read it and decide anew")
            metadata["uid"] = metadata.get("uid") or str(uuid.uuid4())
            return self._store(key, fresh, "ADDED")

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """Read an object."""
        with self._lock:
            key = ObjectKey(kind, namespace, name)
            self._record("get", key)
            return copy.deepcopy(self._existing(key))

    def list(self, kind: str) -> list[Json]:
        """Read all objects of a kind, by namespace and name."""
        with self._lock:
            self._record("list", ObjectKey(kind, "", ""))
            return [
                copy.deepcopy(self._objects[k]) for k in sorted(self._objects) if k.kind == kind
            ]

    def replace(self, body: Mapping[str, Any]) -> Json:
        """Write over an object; its ``resourceVersion`` must be the latest, if given."""
        with self._lock:
            key = _key(body)
            self._record("update", key)
            current = self._existing(key)
            _check_preconditions(key, current, body.get("metadata", {}))
            fresh = copy.deepcopy(dict(body))
            fresh["metadata"]["uid"] = current["metadata"]["uid"]
            return self._store(key, fresh, "MODIFIED")

    def delete(self, kind: str, namespace: str, name: str, **preconditions: str) -> None:
        """Delete an object; ``uid`` and ``resourceVersion`` may be demanded."""
        with self._lock:
            key = ObjectKey(kind, namespace, name)
            self._record("delete", key)
            current = self._existing(key)
            _check_preconditions(key, current, preconditions)
            del self._objects[key]
            self._owners.pop(key, None)
            self._version += 1
            current["metadata"]["resourceVersion"] = str(self._version)
            self._tell(key, ObjectEvent("DELETED", current))

    def apply(
        self,
        kind: str,
        namespace: str,
        name: str,
        *,
        patch: Json,
        manager: str,
        force: bool = False,
    ) -> Json:
        """Server-side apply: own what the patch names, give up what it no longer does.

        KubeConflict if another manager owns a field with another value, unless ``force``.
        """
        with self._lock:
            key = ObjectKey(kind, namespace, name)
            self._record("apply", key)
            current = copy.deepcopy(self._existing(key))
            owners = self._owners.setdefault(key, FieldOwners())
            fields = {k: v for k, v in patch.items() if k in ("spec", "status")}
            contested = owners.contested(current, fields, manager=manager)
            if contested and not force:
                raise KubeConflict(
                    f"{key}: fields {', '.join(sorted(contested))} belong to another manager",
                    remedy="apply with force, or leave them out",
                )
            owners.apply(current, fields, manager=manager)
            return self._store(key, current, "MODIFIED")

    def watch(self, kind: str) -> ObjectWatch:
        """Give what is there as ADDED, then every change; KubeUnavailable when cut off.

        The watch is on from this call, not from the first item.
        """
        watch = ObjectWatch(kind, ended=self._forget)
        with self._lock:
            self._record("watch", ObjectKey(kind, "", ""))
            for key in sorted(self._objects):
                if key.kind == kind:
                    watch.tell(ObjectEvent("ADDED", copy.deepcopy(self._objects[key])))
            self._watchers.append(watch)
        return watch

    def disconnect(self) -> None:
        """Cut every watch off, as a restart of the server does."""
        with self._lock:
            cut, self._watchers = self._watchers, []
        for watch in cut:
            watch.cut()

    def _forget(self, watch: ObjectWatch) -> None:
        with self._lock:
            self._watchers = [other for other in self._watchers if other is not watch]

    def _existing(self, key: ObjectKey) -> Json:
        found = self._objects.get(key)
        if found is None:
            raise KubeNotFound(f"there is no {key}", remedy="it was deleted, or never created")
        return found

    def _store(self, key: ObjectKey, body: Json, change: str) -> Json:
        """Keep an object and tell the watchers; one that is as it was stays untouched."""
        if key.kind == "ResourceSlice" and not self._keeps_counters:
            _drop_counters(body["spec"])
        if key.kind == "ResourceSlice":
            _date_taints(body, keep=self._keeps_taints)
            if self._old_counters:
                _check_counters(key, body["spec"])
        there = self._objects.get(key)
        if there is not None:
            body["metadata"]["resourceVersion"] = there["metadata"]["resourceVersion"]
            if body == there:
                return copy.deepcopy(there)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = body
        self._tell(key, ObjectEvent(change, body))
        return copy.deepcopy(body)

    def _tell(self, key: ObjectKey, event: ObjectEvent) -> None:
        for watch in self._watchers:
            if watch.kind == key.kind:
                watch.tell(ObjectEvent(event.change, copy.deepcopy(event.body)))

    def _record(self, verb: str, key: ObjectKey) -> None:
        self.calls.append(f"{verb} {key}")
        if self.fail_next > 0:
            self.fail_next -= 1
            raise KubeUnavailable("the API server does not answer", remedy="try again")


def _key(body: Mapping[str, Any]) -> ObjectKey:
    metadata = body.get("metadata", {})
    kind, name = body.get("kind"), metadata.get("name")
    if not kind or not name:
        raise KubeFailed("an object has no kind or no name", remedy="give both")
    return ObjectKey(kind, metadata.get("namespace", ""), name)


def _check_preconditions(key: ObjectKey, current: Json, wanted: Mapping[str, Any]) -> None:
    for field in ("uid", "resourceVersion"):
        value = wanted.get(field)
        if value and value != current["metadata"][field]:
            raise KubeConflict(
                f"{key} has {field} {current['metadata'][field]}, not {value}",
                remedy="read it again and decide anew",
            )


def _drop_counters(spec: Json) -> None:
    spec.pop("sharedCounters", None)
    for device in spec.get("devices", ()):
        device.pop("consumesCounters", None)


def _check_counters(key: ObjectKey, spec: Json) -> None:
    beside = {one["name"] for one in spec.get("sharedCounters", ())}
    for device in spec.get("devices", ()):
        for taken in device.get("consumesCounters", ()):
            if taken["counterSet"] not in beside:
                raise KubeInvalid(
                    f"{key}: 422, device {device['name']}: counterSet {taken['counterSet']}: must "
                    "reference a counterSet defined in the ResourceSlice sharedCounters",
                    remedy="compare the driver's version with the cluster's",
                )


def _date_taints(body: Json, *, keep: bool) -> None:
    """Drop taints, or say since when they are there where the writer does not."""
    spec = body.get("spec")
    devices = spec.get("devices") if isinstance(spec, dict) else None
    for device in devices if isinstance(devices, list) else ():
        if not isinstance(device, dict):
            continue
        if not keep:
            device.pop("taints", None)
        for taint in device.get("taints", ()):
            taint.setdefault("timeAdded", "2026-01-01T00:00:00Z")
