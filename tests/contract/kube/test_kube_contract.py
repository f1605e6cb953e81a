"""The contract of the Claims and Slices ports: reading, writing, preconditions, failure."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from msgspec.structs import replace

from contract.kube.kube_clusters import DRIVER, NODE, Cluster, a_claim, a_slice, an_allocation
from ibdra_domain.errors import KubeConflict, KubeNotFound, KubeUnavailable
from ibdra_domain.kube_objects import ObjectMeta, ResourceSlice


def changed(present: ResourceSlice, *, generation: int) -> ResourceSlice:
    pool = replace(present.spec.pool, generation=generation)
    return replace(present, spec=replace(present.spec, pool=pool))


def test_reads_a_claim(cluster: Cluster) -> None:
    """What was asked for comes back, with the UID the server gave."""
    created = cluster.create(a_claim())
    claim = cluster.claims().get("ns", "claim-a")
    assert created["metadata"]["uid"] == claim.metadata.uid
    assert created["metadata"]["resourceVersion"] == claim.metadata.resource_version
    assert ("ns", "claim-a") == (claim.metadata.namespace, claim.metadata.name)
    assert ["vf"] == [r.name for r in claim.spec.devices.requests]
    assert claim.status.allocation is None


def test_reads_a_claim_as_it_is_now(cluster: Cluster) -> None:
    """Each read asks the server: what was allocated meanwhile is seen."""
    cluster.create(a_claim())
    assert () == cluster.claims().get("ns", "claim-a").status.reserved_for
    cluster.apply(
        "ResourceClaim", "ns", "claim-a", patch=an_allocation(), manager="scheduler", force=False
    )
    claim = cluster.claims().get("ns", "claim-a")
    (consumer,) = claim.status.reserved_for
    assert ("jobs", "job0", "u1") == (consumer.resource, consumer.name, consumer.uid)
    assert claim.status.allocation is not None
    results = claim.status.allocation.devices.results
    assert [(DRIVER, NODE, "dev-0"), (DRIVER, NODE, "dev-1")] == [
        (r.driver, r.pool, r.device) for r in results[:2]
    ]


@pytest.mark.parametrize(("namespace", "name"), [("ns", "claim-b"), ("other", "claim-a")])
def test_a_claim_that_is_not_there_is_not_found(
    cluster: Cluster, namespace: str, name: str
) -> None:
    """Names count within their namespace; the message says what was looked for."""
    cluster.create(a_claim())
    with pytest.raises(KubeNotFound, match=f"{namespace}/{name}"):
        cluster.claims().get(namespace, name)


def test_fields_of_newer_versions_are_tolerated(cluster: Cluster) -> None:
    """What this driver does not know yet does not stop it."""
    claim = a_claim(novelty={"deep": [1]})
    claim["spec"]["devices"]["requests"][0]["exactly"]["novelty"] = {"a": 1}
    claim["metadata"]["managedFields"] = [{"manager": "x"}]
    cluster.create(claim)
    assert "claim-a" == cluster.claims().get("ns", "claim-a").metadata.name
    body = a_slice().to_builtins() | {"novelty": True}
    cluster.create(body)
    assert [a_slice().spec] == [s.spec for s in cluster.slices().list()]


def test_creates_a_slice(cluster: Cluster) -> None:
    """The server's own version comes back: same content, UID and version given."""
    created = cluster.slices().create(a_slice())
    assert a_slice().spec == created.spec
    assert created.metadata.uid
    assert created.metadata.resource_version
    assert (created,) == cluster.slices().list()


def test_creating_what_exists_is_a_conflict(cluster: Cluster) -> None:
    """The slice that was there first stays as it is."""
    created = cluster.slices().create(a_slice())
    with pytest.raises(KubeConflict, match=created.metadata.name):
        cluster.slices().create(a_slice(state="Down"))
    assert (created,) == cluster.slices().list()


def test_replaces_a_slice(cluster: Cluster) -> None:
    """The content is the new one, the UID stays, the version moves on."""
    created = cluster.slices().create(a_slice())
    replaced = cluster.slices().replace(changed(created, generation=2))
    assert 2 == replaced.spec.pool.generation
    assert created.metadata.uid == replaced.metadata.uid
    assert created.metadata.resource_version != replaced.metadata.resource_version
    assert (replaced,) == cluster.slices().list()


def test_replacing_a_stale_slice_is_a_conflict(cluster: Cluster) -> None:
    """Who wrote first wins; the loser's content is nowhere."""
    created = cluster.slices().create(a_slice())
    first = cluster.slices().replace(changed(created, generation=2))
    with pytest.raises(KubeConflict, match=created.metadata.name):
        cluster.slices().replace(changed(created, generation=3))
    assert (first,) == cluster.slices().list()


def test_replacing_a_slice_that_was_made_anew_is_a_conflict(cluster: Cluster) -> None:
    """The same name is not the same object."""
    created = cluster.slices().create(a_slice())
    cluster.slices().delete(created)
    again = cluster.slices().create(a_slice())
    with pytest.raises(KubeConflict):
        cluster.slices().replace(changed(created, generation=2))
    assert (again,) == cluster.slices().list()


def test_replacing_what_is_gone_is_not_found(cluster: Cluster) -> None:
    """A replacement never creates."""
    created = cluster.slices().create(a_slice())
    cluster.slices().delete(created)
    with pytest.raises(KubeNotFound):
        cluster.slices().replace(created)


def test_deletes_a_slice_once(cluster: Cluster) -> None:
    """Gone is what was wanted, also if it was gone before."""
    created = cluster.slices().create(a_slice())
    cluster.slices().delete(created)
    cluster.slices().delete(created)
    assert () == cluster.slices().list()


@pytest.mark.parametrize("field", ["uid", "resource_version"])
def test_deletes_only_the_slice_that_was_meant(cluster: Cluster, field: str) -> None:
    """UID and resource version are both preconditions."""
    created = cluster.slices().create(a_slice())
    metadata = replace(created.metadata, **{field: "1"})
    with pytest.raises(KubeConflict):
        cluster.slices().delete(replace(created, metadata=metadata))
    assert (created,) == cluster.slices().list()


def test_lists_its_own_slices_by_name(cluster: Cluster) -> None:
    """Other drivers' and other nodes' slices are not shown; the order is the names'."""
    for index in (2, 0, 1):
        cluster.slices().create(a_slice(index))
    cluster.slices(driver="gpu.example.com").create(a_slice(driver="gpu.example.com"))
    cluster.slices(node="node-b").create(a_slice(node="node-b"))
    listed = cluster.slices().list()
    assert [f"{n}-{DRIVER}-{NODE}" for n in (0, 1, 2)] == [s.metadata.name for s in listed]
    assert [f"0-{DRIVER}-node-b"] == [s.metadata.name for s in cluster.slices(node="node-b").list()]


CALLS: dict[str, Callable[[Cluster], Any]] = {
    "get": lambda c: c.claims().get("ns", "claim-a"),
    "list": lambda c: c.slices().list(),
    "create": lambda c: c.slices().create(a_slice(1)),
    "replace": lambda c: c.slices().replace(c.slices().list()[0]),
    "delete": lambda c: c.slices().delete(
        replace(a_slice(), metadata=ObjectMeta(name=a_slice().metadata.name))
    ),
    "watch": lambda c: c.slices().watch().close(),
    "apply": lambda c: c.claim_status().apply("ns", "claim-a", []),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_server_that_does_not_answer_is_unavailable(
    cluster: Cluster, call: Callable[[Cluster], Any]
) -> None:
    """Every method says so, changes nothing, and works again afterwards."""
    cluster.create(a_claim())
    created = cluster.slices().create(a_slice())
    cluster.be_unavailable(1)
    with pytest.raises(KubeUnavailable):
        call(cluster)
    assert (created,) == cluster.slices().list()
    call(cluster)


def test_writers_at_once_lose_nothing(cluster: Cluster) -> None:
    """Many threads that count up one slice, each again after a conflict, count exactly."""
    cluster.slices().create(a_slice())
    threads, rounds = 4, 25

    def count_up(_: int) -> None:
        slices = cluster.slices()
        for _round in range(rounds):
            for _attempt in range(threads * rounds):
                (present,) = slices.list()
                try:
                    slices.replace(changed(present, generation=present.spec.pool.generation + 1))
                except KubeConflict:
                    continue
                break
            else:
                raise AssertionError("no writer may starve")

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(count_up, range(threads)))
    (present,) = cluster.slices().list()
    assert 1 + threads * rounds == present.spec.pool.generation
