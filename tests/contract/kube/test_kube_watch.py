"""The contract of watching slices: nothing is missed, and a cut is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from contract.kube.kube_clusters import Cluster, a_slice, seen_until_cut
from ibdra_domain.errors import KubeUnavailable
from ibdra_domain.ports.kube import SliceChange, SliceEvent

ADDED, MODIFIED, DELETED = SliceChange.ADDED, SliceChange.MODIFIED, SliceChange.DELETED


def told(events: list[SliceEvent]) -> list[tuple[SliceChange, str]]:
    return [(event.change, event.slice.metadata.name.partition("-")[0]) for event in events]


def test_gives_what_is_there_first(cluster: Cluster) -> None:
    """A watch begins with every slice of ours, as if just added, in the list's order."""
    for index in (1, 0):
        cluster.slices().create(a_slice(index))
    (seen,) = seen_until_cut(cluster, cluster.slices().watch())
    assert [(ADDED, "0"), (ADDED, "1")] == told(seen)
    assert cluster.slices().list() == tuple(event.slice for event in seen)


def test_gives_every_change_in_order(cluster: Cluster) -> None:
    """Creation, change and deletion come one by one, each with the slice of that moment."""
    slices = cluster.slices()
    watch = slices.watch()
    created = slices.create(a_slice(state="Active"))
    down = a_slice(state="Down")
    replaced = slices.replace(type(down)(metadata=created.metadata, spec=down.spec))
    slices.delete(replaced)
    (seen,) = seen_until_cut(cluster, watch)
    assert [(ADDED, "0"), (MODIFIED, "0"), (DELETED, "0")] == told(seen)
    assert [created, replaced] == [event.slice for event in seen[:2]]
    assert replaced.spec == seen[2].slice.spec
    assert replaced.metadata.uid == seen[2].slice.metadata.uid


def test_watches_from_the_call_on(cluster: Cluster) -> None:
    """What happens between the call and the first read is not missed."""
    with closing(cluster.slices().watch()) as watch:
        cluster.slices().create(a_slice())
        assert ADDED == next(watch).change


def test_survives_a_slice_that_goes_and_comes_back(cluster: Cluster) -> None:
    """A kubelet that wipes our slices, and we who put them back, are both seen."""
    slices = cluster.slices()
    first = slices.create(a_slice())
    watch = slices.watch()
    slices.delete(first)
    again = slices.create(a_slice())
    (seen,) = seen_until_cut(cluster, watch)
    assert [(ADDED, "0"), (DELETED, "0"), (ADDED, "0")] == told(seen)
    assert again == seen[2].slice
    assert first.metadata.uid != again.metadata.uid


def test_shows_only_our_own(cluster: Cluster) -> None:
    """Other nodes' and drivers' changes do not wake us."""
    watch = cluster.slices().watch()
    cluster.slices(node="node-b").create(a_slice(node="node-b"))
    cluster.slices(driver="gpu.example.com").create(a_slice(driver="gpu.example.com"))
    (seen,) = seen_until_cut(cluster, watch)
    assert [] == seen


def test_several_watchers_see_the_same(cluster: Cluster) -> None:
    """Each watcher gets everything, whenever it reads."""
    watches = [cluster.slices().watch() for _ in range(3)]
    cluster.slices().delete(cluster.slices().create(a_slice()))
    cluster.slices().create(a_slice(1))
    first, second, third = seen_until_cut(cluster, *watches)
    assert [(ADDED, "0"), (DELETED, "0"), (ADDED, "1")] == told(first)
    assert first == second == third


def test_a_cut_is_told_and_a_new_watch_goes_on(cluster: Cluster) -> None:
    """A restart of the server ends the watch with an error, never in silence."""
    watch = cluster.slices().watch()
    cluster.cut_watches()
    with pytest.raises(KubeUnavailable):
        next(watch)
    cluster.slices().create(a_slice())
    with closing(cluster.slices().watch()) as again:
        assert ADDED == next(again).change


def test_writing_what_is_there_already_wakes_nobody(cluster: Cluster) -> None:
    """The server does not store an unchanged object: same version, no event."""
    created = cluster.slices().create(a_slice())
    watch = cluster.slices().watch()
    assert created == cluster.slices().replace(created)
    (seen,) = seen_until_cut(cluster, watch)
    assert [(ADDED, "0")] == told(seen)


def test_a_watcher_in_another_thread_sees_all_of_it(cluster: Cluster) -> None:
    """Changes made by several threads all arrive, each slice's own in their order."""
    watch = cluster.slices().watch()
    threads, rounds = 4, 20

    def come_and_go(index: int) -> None:
        for _round in range(rounds):
            cluster.slices().delete(cluster.slices().create(a_slice(index)))

    def read() -> list[SliceEvent]:
        return [next(watch) for _ in range(2 * threads * rounds)]

    with ThreadPoolExecutor(threads + 1) as pool:
        reading = pool.submit(read)
        list(pool.map(come_and_go, range(threads)))
        seen = told(reading.result(timeout=60))
    watch.close()
    for index in range(threads):
        own = [change for change, name in seen if name == str(index)]
        assert [ADDED, DELETED] * rounds == own


def test_a_closed_watch_ends(cluster: Cluster) -> None:
    """Whoever waits in it is woken, from any thread, and a second close does nothing."""
    watch = cluster.slices().watch()
    cluster.slices().create(a_slice())
    assert ADDED == next(watch).change
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(watch))
        watch.close()
        assert [] == reading.result(timeout=60)
    watch.close()
    assert [] == list(watch)
