"""The kube ports in front of the in-memory API server.

Why: the driver's use cases see claims, its own slices and claim status; the object store
behind them is what tests and the demo's scheduler turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from ibdra_adapters.kube.decoding import decoded
from ibdra_adapters.kube.fake_api import FakeKubeApi, Json, ObjectWatch
from ibdra_domain.errors import KubeConflict, KubeNotFound
from ibdra_domain.kube_objects import (
    RESOURCE_API_VERSION,
    AllocatedDeviceStatus,
    ConsumerReference,
    ResourceClaim,
    ResourceSlice,
)
from ibdra_domain.ports.kube import SliceChange, SliceEvent


class FakeClaims:
    """Fulfils the Claims port."""

    def __init__(self, api: FakeKubeApi) -> None:
        self._api = api

    def get(self, namespace: str, name: str) -> ResourceClaim:
        """Fulfil the port."""
        return decoded(self._api.get("ResourceClaim", namespace, name), ResourceClaim)


class FakeSlices:
    """Fulfils the Slices port for one driver and node."""

    def __init__(self, api: FakeKubeApi, *, driver: str, node: str) -> None:
        self._api = api
        self._driver = driver
        self._node = node

    def list(self) -> tuple[ResourceSlice, ...]:
        """Fulfil the port."""
        bodies = self._api.list("ResourceSlice")
        return tuple(decoded(body, ResourceSlice) for body in bodies if self._ours(body))

    def create(self, wanted: ResourceSlice) -> ResourceSlice:
        """Fulfil the port."""
        return decoded(self._api.create(wanted.to_builtins()), ResourceSlice)

    def replace(self, wanted: ResourceSlice) -> ResourceSlice:
        """Fulfil the port."""
        return decoded(self._api.replace(wanted.to_builtins()), ResourceSlice)

    def delete(self, unwanted: ResourceSlice) -> None:
        """Fulfil the port."""
        demanded = {
            "uid": unwanted.metadata.uid,
            "resourceVersion": unwanted.metadata.resource_version,
        }
        try:
            self._api.delete("ResourceSlice", "", unwanted.metadata.name, **demanded)
        except KubeNotFound:
            return

    def watch(self) -> FakeSliceWatch:
        """Fulfil the port."""
        return FakeSliceWatch(self._api.watch("ResourceSlice"), ours=self._ours)

    def _ours(self, body: dict[str, Any]) -> bool:
        spec = body.get("spec")
        if not isinstance(spec, dict):
            return False
        return bool(spec.get("driver") == self._driver and spec.get("nodeName") == self._node)


class FakeSliceWatch:
    """Fulfils SliceWatch."""

    def __init__(self, events: ObjectWatch, *, ours: Callable[[Json], bool]) -> None:
        self._events = events
        self._ours = ours

    def __iter__(self) -> Iterator[SliceEvent]:
        """Fulfil the port."""
        return self

    def __next__(self) -> SliceEvent:
        """Fulfil the port."""
        event = next(event for event in self._events if self._ours(event.body))
        return SliceEvent(SliceChange(event.change), decoded(event.body, ResourceSlice))

    def close(self) -> None:
        """Fulfil the port."""
        self._events.close()


class FakeClaimStatus:
    """Fulfils the ClaimStatus port."""

    def __init__(self, api: FakeKubeApi, *, driver: str) -> None:
        self._api = api
        self._driver = driver

    def apply(
        self, namespace: str, name: str, devices: Sequence[AllocatedDeviceStatus], *, uid: str = ""
    ) -> None:
        """Fulfil the port."""
        there = self._api.get("ResourceClaim", namespace, name)["metadata"]["uid"]
        if uid and uid != there:
            raise KubeConflict(
                f"claim {namespace}/{name} has UID {there}, not {uid}",
                remedy="read it again and decide anew",
            )
        patch: Json = {
            "apiVersion": RESOURCE_API_VERSION,
            "kind": "ResourceClaim",
            "status": {"devices": msgspec.json.decode(msgspec.json.encode(tuple(devices)))},
        }
        self._api.apply(
            "ResourceClaim", namespace, name, patch=patch, manager=self._driver, force=True
        )


class FakeNodes:
    """Fulfils the Nodes port."""

    def __init__(self, api: FakeKubeApi) -> None:
        self._api = api

    def uid(self, name: str) -> str:
        """Fulfil the port."""
        uid: str = self._api.get("Node", "", name)["metadata"]["uid"]
        return uid


class FakePodEvents:
    """Fulfils the PodEvents port."""

    def __init__(self, api: FakeKubeApi, *, driver: str) -> None:
        self._api = api
        self._driver = driver

    def warn(self, pod: ConsumerReference, *, namespace: str, reason: str, message: str) -> None:
        """Fulfil the port."""
        about = {"kind": "Pod", "namespace": namespace, "name": pod.name, "uid": pod.uid}
        said = {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}
        for event in self._api.list("Event"):
            if event.items() >= said.items():
                self._api.replace(event | {"count": event["count"] + 1})
                return
        metadata = {"namespace": namespace, "generateName": f"{pod.name}."}
        self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": metadata,
                **said,
                "count": 1,
                "source": {"component": self._driver},
            }
        )
