"""What the driver tells a real API server: how claims' devices do, and pods what went wrong.

Why: apart from reading claims and keeping slices, because none of it may be in the way of
those: whoever calls this does so beside a prepare, not within it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from ibdra_adapters.kube.client import PATCH_APPLY, PATCH_MERGE, KubeClient
from ibdra_adapters.kube.decoding import decoded
from ibdra_adapters.kube.server import claim_path
from ibdra_domain.errors import KubeConflict, KubeNotFound
from ibdra_domain.kube_objects import (
    RESOURCE_API_VERSION,
    AllocatedDeviceStatus,
    ConsumerReference,
    ObjectMeta,
)

_MESSAGE_LIMIT = 1024  # of events


class ServerClaimStatus:
    """Fulfils the ClaimStatus port; the driver's name is the field manager's."""

    def __init__(self, client: KubeClient, *, driver: str) -> None:
        self._client = client
        self._driver = driver

    def apply(
        self, namespace: str, name: str, devices: Sequence[AllocatedDeviceStatus], *, uid: str = ""
    ) -> None:
        """Fulfil the port."""
        metadata = {"namespace": namespace, "name": name} | ({"uid": uid} if uid else {})
        patch = {
            "apiVersion": RESOURCE_API_VERSION,
            "kind": "ResourceClaim",
            "metadata": metadata,
            "status": {"devices": msgspec.json.decode(msgspec.json.encode(tuple(devices)))},
        }
        try:
            self._client.call(
                "PATCH",
                f"{claim_path(namespace, name)}/status",
                query={"fieldManager": self._driver, "force": "true"},
                body=patch,
                content_type=PATCH_APPLY,
            )
        except KubeNotFound as error:
            raise KubeNotFound(
                f"there is no claim {namespace}/{name}", remedy=error.remedy
            ) from error


class _Named(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class ServerNodes:
    """Fulfils the Nodes port."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def uid(self, name: str) -> str:
        """Fulfil the port."""
        try:
            body = self._client.call("GET", f"/api/v1/nodes/{quote(name, safe='')}")
        except KubeNotFound as error:
            raise KubeNotFound(
                f"there is no node {name}",
                remedy="give the name that `kubectl get nodes` shows as --node (or NODE_NAME)",
            ) from error
        return decoded(body, _Named).metadata.uid


class _Counted(msgspec.Struct, frozen=True):
    count: int = 1


class ServerPodEvents:
    """Fulfils the PodEvents port with core/v1 Events, one a pod and text."""

    def __init__(self, client: KubeClient, *, driver: str, node: str) -> None:
        self._client = client
        self._driver = driver
        self._node = node

    def warn(self, pod: ConsumerReference, *, namespace: str, reason: str, message: str) -> None:
        """Fulfil the port."""
        events = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        message = _fitting(message)
        digest = hashlib.sha256(f"{pod.uid}/{reason}/{message}".encode()).hexdigest()[:16]
        name, now = f"{pod.name[:236].rstrip('-.')}.{digest}", _now()
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": namespace,
                "name": pod.name,
                "uid": pod.uid,
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": {"component": self._driver, "host": self._node},
            "reportingComponent": self._driver,
            "reportingInstance": self._node,
        }
        try:
            self._client.call("POST", events, body=body)
        except KubeConflict:
            path = f"{events}/{quote(name, safe='')}"
            count = decoded(self._client.call("GET", path), _Counted).count
            patch = {"count": count + 1, "lastTimestamp": now}
            self._client.call("PATCH", path, body=patch, content_type=PATCH_MERGE)


def _fitting(message: str) -> str:
    """Cut it to what events take, and make it text: names of files may be none."""
    raw = message.encode(errors="replace")
    if len(raw) > _MESSAGE_LIMIT:
        raw = raw[: _MESSAGE_LIMIT - 3].decode(errors="ignore").encode() + b"..."
    return raw.decode()


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
