"""The kube ports in front of the in-memory API server.

Why: the driver's use cases see claims, its own slices and claim status; the object store
behind them is what tests and the demo's scheduler turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from ibdra_adapters.kube.fake_api import FakeKubeApi, Json
from ibdra_domain.errors import KubeFailed, KubeNotFound
from ibdra_domain.kube_objects import RESOURCE_API_VERSION, ResourceClaim, ResourceSlice
from ibdra_domain.ports.kube import SliceChange, SliceEvent

ObjectT = TypeVar("ObjectT")


def decoded(body: Json, kind: type[ObjectT]) -> ObjectT:
    """Read what we use of an object.  KubeFailed if it is not what it should be."""
    try:
        return msgspec.json.decode(msgspec.json.encode(body), type=kind)
    except msgspec.MsgspecError as error:
        raise KubeFailed(
            f"a {body.get('kind')} from the API server is not understood ({error})",
            remedy="upgrade the driver to one that knows this Kubernetes version",
        ) from error


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

    def watch(self) -> Iterator[SliceEvent]:
        """Fulfil the port."""
        events = self._api.watch("ResourceSlice")
        return (
            SliceEvent(SliceChange(event.change), decoded(event.body, ResourceSlice))
            for event in events
            if self._ours(event.body)
        )

    def _ours(self, body: dict[str, Any]) -> bool:
        spec = body.get("spec")
        if not isinstance(spec, dict):
            return False
        return bool(spec.get("driver") == self._driver and spec.get("nodeName") == self._node)


class FakeClaimStatus:
    """Fulfils the ClaimStatus port."""

    def __init__(self, api: FakeKubeApi, *, driver: str) -> None:
        self._api = api
        self._driver = driver

    def apply(self, namespace: str, name: str, devices: list[dict[str, object]]) -> None:
        """Fulfil the port."""
        patch: Json = {
            "apiVersion": RESOURCE_API_VERSION,
            "kind": "ResourceClaim",
            "status": {"devices": devices},
        }
        self._api.apply(
            "ResourceClaim", namespace, name, patch=patch, manager=self._driver, force=True
        )
