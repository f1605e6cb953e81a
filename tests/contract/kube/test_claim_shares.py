"""Status of devices that are allocated in shares: only newer servers have them."""

from __future__ import annotations

import pytest

from contract.kube.kube_clusters import Cluster, a_claim
from contract.kube.test_claim_status import devices_in, entry, said


@pytest.fixture
def claimed(cluster: Cluster) -> Cluster:
    """Give a cluster with a claim."""
    cluster.create(a_claim())
    return cluster


@pytest.mark.parametrize("first", ["a", None], ids=["shared-first", "whole-first"])
def test_shares_of_one_device_are_told_apart(claimed: Cluster, first: str | None) -> None:
    """A device allocated in shares has an entry a share, and one without a share is another."""
    named = entry("dev-0", shareID="a", networkData={"interfaceName": "ib1"})
    other, whole = (
        entry("dev-0", shareID="b", networkData={"interfaceName": "ib2"}),
        entry("dev-0", networkData={"interfaceName": "ib3"}),
    )
    entries = [named, other, whole] if first else [whole, other, named]
    claimed.claim_status().apply("ns", "claim-a", said(entries))
    assert [whole, named, other] == devices_in(claimed)
    claimed.claim_status().apply("ns", "claim-a", said([named]))
    assert [named] == devices_in(claimed)
