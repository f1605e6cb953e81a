"""Clusters for the contract of the kube ports: what tests turn behind the ports' backs.

Why: the contract must hold for a real API server as for the one in memory.  Whatever has
these few methods can be a parameter of the ``cluster`` fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ibdra_adapters.kube.fake import (
    FakeClaims,
    FakeClaimStatus,
    FakeNodes,
    FakePodEvents,
    FakeSlices,
)
from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_domain.errors import KubeUnavailable
from ibdra_domain.kube_objects import Device, DeviceAttribute, ResourceSlice
from ibdra_domain.ports.kube import Claims, ClaimStatus, Nodes, PodEvents, SliceEvent, Slices
from ibdra_domain.slices import to_slices

Json = dict[str, Any]
DRIVER = "ib.sigs.k8s.io"
GPU = "gpu.example.com"
NODE = "node-a"


class Cluster(Protocol):
    """An API server, its ports, and what other clients and fate do to it."""

    keeps_counters: bool

    def claims(self) -> Claims:
        """Give the port."""

    def slices(self, *, driver: str = DRIVER, node: str = NODE) -> Slices:
        """Give the port of one driver and node."""

    def claim_status(self, *, driver: str = DRIVER) -> ClaimStatus:
        """Give the port of one driver."""

    def nodes(self) -> Nodes:
        """Give the port."""

    def pod_events(self, *, driver: str = DRIVER) -> PodEvents:
        """Give the port of one driver."""

    def create(self, body: Json) -> Json:
        """Create any object, as another client."""

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """Read any object whole."""

    def list(self, kind: str, *, namespace: str) -> list[Json]:
        """Read a namespace's objects whole."""

    def apply(
        self, kind: str, namespace: str, name: str, *, patch: Json, manager: str, force: bool
    ) -> Json:
        """Server-side apply, as another field manager."""

    def cut_watches(self) -> None:
        """End every watch that has seen all there is, as a restart of the server does."""

    def be_unavailable(self, calls: int) -> None:
        """Answer none of the next calls."""


class FakeCluster:
    """The API server in memory."""

    def __init__(self, *, keeps_counters: bool = True, old_counters: bool = False) -> None:
        self.keeps_counters = keeps_counters
        self.api = FakeKubeApi(keeps_counters=keeps_counters, old_counters=old_counters)

    def claims(self) -> Claims:
        return FakeClaims(self.api)

    def slices(self, *, driver: str = DRIVER, node: str = NODE) -> Slices:
        return FakeSlices(self.api, driver=driver, node=node)

    def claim_status(self, *, driver: str = DRIVER) -> ClaimStatus:
        return FakeClaimStatus(self.api, driver=driver)

    def nodes(self) -> Nodes:
        return FakeNodes(self.api)

    def pod_events(self, *, driver: str = DRIVER) -> PodEvents:
        return FakePodEvents(self.api, driver=driver)

    def create(self, body: Json) -> Json:
        return self.api.create(body)

    def get(self, kind: str, namespace: str, name: str) -> Json:
        return self.api.get(kind, namespace, name)

    def list(self, kind: str, *, namespace: str) -> list[Json]:
        return [o for o in self.api.list(kind) if o["metadata"]["namespace"] == namespace]

    def apply(
        self, kind: str, namespace: str, name: str, *, patch: Json, manager: str, force: bool
    ) -> Json:
        return self.api.apply(kind, namespace, name, patch=patch, manager=manager, force=force)

    def cut_watches(self) -> None:
        self.api.disconnect()

    def be_unavailable(self, calls: int) -> None:
        self.api.fail_next = calls


def a_slice(
    index: int = 0, *, driver: str = DRIVER, node: str = NODE, state: str = "Active"
) -> ResourceSlice:
    """Make one slice of a pool, as yet unknown to any server."""
    device = Device(name=f"dev-{index}", attributes={"portState": DeviceAttribute(string=state)})
    pool = to_slices([device] * (index + 1), node=node, driver=driver, per_slice=1)
    return pool[index]


def a_claim(name: str = "claim-a", **fields: object) -> Json:
    """Make a claim as the claim controller would."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"namespace": "ns", "name": name},
        "spec": {"devices": {"requests": [{"name": "vf", "exactly": {"deviceClassName": "vf"}}]}},
        **fields,
    }


def a_consumer() -> Json:
    """Name who has a claim: no pod, or a cluster would find that it does not exist."""
    return {"apiGroup": "jobs.example.com", "resource": "jobs", "name": "job0", "uid": "u1"}


def an_allocation() -> Json:
    """Make the status of a claim that has two of our devices and one of another driver."""
    results = [
        {"request": "vf", "driver": driver, "pool": NODE, "device": device}
        for driver, device in ((DRIVER, "dev-0"), (DRIVER, "dev-1"), (GPU, "gpu-0"))
    ]
    return {
        "status": {
            "allocation": {"devices": {"results": results}},
            "reservedFor": [a_consumer()],
        }
    }


def seen_until_cut(cluster: Cluster, *watches: Iterator[SliceEvent]) -> list[list[SliceEvent]]:
    """Cut the watches off and give what each had seen until then: nothing is waited for."""
    cluster.cut_watches()
    return [_drained(watch) for watch in watches]


def _drained(watch: Iterator[SliceEvent]) -> list[SliceEvent]:
    seen: list[SliceEvent] = []
    try:
        for event in watch:
            seen.append(event)  # noqa: PERF402 -- a list(...) would lose what came before the cut
    except KubeUnavailable:
        return seen
    raise AssertionError("a watch that is cut off must say so")
