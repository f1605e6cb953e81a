"""The contract of the Nodes and PodEvents ports."""

from __future__ import annotations

import pytest

from contract.kube.kube_clusters import DRIVER, NODE, Cluster, Json
from ibdra_domain.errors import KubeNotFound
from ibdra_domain.kube_objects import ConsumerReference

POD = ConsumerReference(resource="pods", name="pod0", uid="7d1f4b40-6b8e-4f0e-9d51-5f5d2a4f9d11")


def events(cluster: Cluster) -> list[Json]:
    return sorted(cluster.list("Event", namespace="ns"), key=lambda e: str(e["message"]))


def test_gives_a_nodes_uid(cluster: Cluster) -> None:
    """It is the one that the server gave."""
    made = cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
    assert made["metadata"]["uid"] == cluster.nodes().uid(NODE)


def test_a_node_that_is_not_registered_is_not_found(cluster: Cluster) -> None:
    """The message names it."""
    with pytest.raises(KubeNotFound, match="nobody"):
        cluster.nodes().uid("nobody")


def test_warns_a_pod(cluster: Cluster) -> None:
    """The event is about the pod, as ``kubectl describe`` looks for it."""
    cluster.pod_events().warn(POD, namespace="ns", reason="PrepareFailed", message="held by x")
    (event,) = events(cluster)
    about = event["involvedObject"]
    assert ("Pod", "ns", POD.name, POD.uid) == (
        *(about["kind"], about["namespace"]),
        *(about["name"], about["uid"]),
    )
    assert ("Warning", "PrepareFailed", "held by x", 1) == (
        *(event["type"], event["reason"]),
        *(event["message"], event["count"]),
    )
    assert DRIVER == event["source"]["component"]


def test_the_same_warning_again_is_counted(cluster: Cluster) -> None:
    """A kubelet that tries twenty times makes one event."""
    for _ in range(3):
        cluster.pod_events().warn(POD, namespace="ns", reason="PrepareFailed", message="held")
    cluster.pod_events().warn(POD, namespace="ns", reason="PrepareFailed", message="other")
    assert [("held", 3), ("other", 1)] == [(e["message"], e["count"]) for e in events(cluster)]


def test_a_message_of_any_length_is_told(cluster: Cluster) -> None:
    """What the server would refuse for its length is shortened."""
    cluster.pod_events().warn(POD, namespace="ns", reason="AttachFailed", message="ä" * 4000)
    (event,) = events(cluster)
    assert event["message"].startswith("ä" * 100)
