"""The contract of ClaimStatus: server-side apply of the entries that are ours, and no more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from contract.kube.kube_clusters import DRIVER, GPU, NODE, Cluster, Json, a_claim, an_allocation
from ibdra_domain.errors import KubeConflict, KubeNotFound
from ibdra_domain.kube_objects import AllocatedDeviceStatus

TURNED = "2026-01-02T03:04:05Z"


def entry(device: str, *, driver: str = DRIVER, **fields: object) -> Json:
    return {"driver": driver, "pool": NODE, "device": device, **fields}


def said(entries: list[Json]) -> list[AllocatedDeviceStatus]:
    return msgspec.convert(entries, list[AllocatedDeviceStatus])


def condition(kind: str, status: str, reason: str = "Because") -> Json:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "why",
        "lastTransitionTime": TURNED,
    }


def devices_in(cluster: Cluster) -> list[Json]:
    status = cluster.get("ResourceClaim", "ns", "claim-a").get("status", {})
    devices: list[Json] = [
        {key: value for key, value in device.items() if value is not None}
        for device in status.get("devices", ())
    ]
    return sorted(devices, key=lambda d: (d["driver"], d["device"], d.get("shareID", "")))


@pytest.fixture
def claimed(cluster: Cluster) -> Cluster:
    """Give a cluster with a claim that the scheduler has reserved."""
    cluster.create(a_claim(**an_allocation()))
    return cluster


def test_adds_our_devices(claimed: Cluster) -> None:
    """Entries stand as they were given; the rest of the claim is as it was."""
    ours = entry("dev-0", networkData={"interfaceName": "ib0", "ips": ["10.0.0.1/24"]})
    before = claimed.get("ResourceClaim", "ns", "claim-a")
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    after = claimed.get("ResourceClaim", "ns", "claim-a")
    assert [ours] == devices_in(claimed)
    assert before["spec"] == after["spec"]
    assert before["status"]["reservedFor"] == after["status"]["reservedFor"]
    assert before["metadata"]["uid"] == after["metadata"]["uid"]


def test_a_claim_that_is_gone_is_not_found(cluster: Cluster) -> None:
    """Apply never creates a claim."""
    with pytest.raises(KubeNotFound, match="ns/claim-a"):
        cluster.claim_status().apply("ns", "claim-a", said([entry("dev-0")]))


def test_two_drivers_do_not_touch_each_other(claimed: Cluster) -> None:
    """A claim with devices of two drivers keeps both drivers' entries."""
    ours, theirs = (
        entry("dev-0", networkData={"interfaceName": "a"}),
        entry("gpu-0", driver=GPU, networkData={"interfaceName": "b"}),
    )
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    claimed.claim_status(driver=GPU).apply("ns", "claim-a", said([theirs]))
    assert [theirs, ours] == devices_in(claimed)
    claimed.claim_status().apply("ns", "claim-a", said([]))
    assert [theirs] == devices_in(claimed)


def test_what_is_no_longer_named_goes(claimed: Cluster) -> None:
    """An entry, a field or a condition left out of the next apply is removed."""
    first = entry("dev-0", networkData={"interfaceName": "ib0", "hardwareAddress": "00:11"})
    status = claimed.claim_status()
    status.apply(
        "ns", "claim-a", said([first, entry("dev-1", conditions=[condition("Ready", "True")])])
    )
    second = entry("dev-0", networkData={"interfaceName": "ib0"})
    status.apply("ns", "claim-a", said([second, entry("dev-1")]))
    assert [second, entry("dev-1")] == devices_in(claimed)
    status.apply("ns", "claim-a", said([second]))
    assert [second] == devices_in(claimed)
    status.apply("ns", "claim-a", said([]))
    assert [] == devices_in(claimed)


def test_applying_the_same_again_changes_nothing(claimed: Cluster) -> None:
    """A second apply of the same content is no write."""
    ours = entry("dev-0", conditions=[condition("Ready", "True")])
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    before = claimed.get("ResourceClaim", "ns", "claim-a")
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    assert before == claimed.get("ResourceClaim", "ns", "claim-a")


def test_conditions_are_told_apart_by_type(claimed: Cluster) -> None:
    """Conditions of two writers on one device stand side by side; one's change is in place."""
    claimed.claim_status().apply(
        "ns", "claim-a", said([entry("dev-0", conditions=[condition("Ready", "False")])])
    )
    health = [entry("dev-0", conditions=[condition("Healthy", "True")])]
    patch: dict[str, Any] = {"status": {"devices": health}}
    claimed.apply("ResourceClaim", "ns", "claim-a", patch=patch, manager="monitor", force=False)
    claimed.claim_status().apply(
        "ns", "claim-a", said([entry("dev-0", conditions=[condition("Ready", "True")])])
    )
    (device,) = devices_in(claimed)
    assert [("Ready", "True"), ("Healthy", "True")] == [
        (c["type"], c["status"]) for c in device["conditions"]
    ]
    claimed.claim_status().apply("ns", "claim-a", said([]))
    assert health == devices_in(claimed)


def test_another_managers_field_is_a_conflict(claimed: Cluster) -> None:
    """Without force, a field somebody else applied with another value stays his."""
    claimed.claim_status().apply(
        "ns", "claim-a", said([entry("dev-0", conditions=[condition("Ready", "True")])])
    )
    before = claimed.get("ResourceClaim", "ns", "claim-a")
    meddling = {
        "status": {"devices": [entry("dev-0", conditions=[condition("Ready", "False", "Mine")])]}
    }
    with pytest.raises(KubeConflict, match="status"):
        claimed.apply(
            "ResourceClaim", "ns", "claim-a", patch=meddling, manager="meddler", force=False
        )
    assert before == claimed.get("ResourceClaim", "ns", "claim-a")


def test_the_same_value_is_no_conflict_and_is_owned_by_both(claimed: Cluster) -> None:
    """Two managers that agree own the field together: it goes when both have let go."""
    ours = entry("dev-0", networkData={"interfaceName": "ib1"})
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    patch = {"status": {"devices": [ours]}}
    claimed.apply("ResourceClaim", "ns", "claim-a", patch=patch, manager="monitor", force=False)
    claimed.claim_status().apply("ns", "claim-a", said([]))
    assert [ours] == devices_in(claimed)
    claimed.apply("ResourceClaim", "ns", "claim-a", patch={}, manager="monitor", force=False)
    assert [] == devices_in(claimed)


def test_we_take_our_own_entries_back(claimed: Cluster) -> None:
    """The driver forces: what somebody else wrote over its entry is put right."""
    ours = entry("dev-0", conditions=[condition("Ready", "True")])
    wrong = {"status": {"devices": [entry("dev-0", conditions=[condition("Ready", "False")])]}}
    claimed.apply("ResourceClaim", "ns", "claim-a", patch=wrong, manager="meddler", force=False)
    claimed.claim_status().apply("ns", "claim-a", said([ours]))
    assert [ours] == devices_in(claimed)
    with pytest.raises(KubeConflict):
        claimed.apply("ResourceClaim", "ns", "claim-a", patch=wrong, manager="meddler", force=False)
