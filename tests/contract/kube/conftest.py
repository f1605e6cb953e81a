"""Fixtures: a cluster of every kind there is."""

from __future__ import annotations

import pytest

from contract.kube.kube_clusters import Cluster, FakeCluster


@pytest.fixture(params=["fake"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Give an empty cluster of each kind."""
    assert "fake" == request.param
    return FakeCluster()
