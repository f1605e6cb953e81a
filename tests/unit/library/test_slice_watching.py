"""``SliceWatching``: what others do to the slices is noticed, whenever they do it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from random import uniform

import pytest

from ibdra_app import library as dra
from ibdra_app import slice_watching

DRIVER, NODE = "thing.example.com", "demo-node"
PATIENCE = 3.0


class Gap:
    """Passes the calls of a Slices port on; ``before_watch`` happens before one is opened."""

    def __init__(self, slices: dra.Slices) -> None:
        self._slices = slices
        self.before_watch: Callable[[], None] = lambda: None
        self.list = slices.list
        self.create = slices.create
        self.replace = slices.replace
        self.delete = slices.delete

    def watch(self) -> dra.SliceWatch:
        self.before_watch()
        return self._slices.watch()


class Followed:
    """A published pool and its watching, with a publication whenever it asks for one."""

    def __init__(self, between: Callable[[float, float], float] = uniform) -> None:
        self.api = dra.FakeKubeApi()
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        ports = dra.in_memory(self.api, driver=DRIVER, node=NODE)
        self.slices = Gap(ports.slices)
        self.publisher = dra.SlicePublisher(
            slices=self.slices, nodes=ports.nodes, driver=DRIVER, node=NODE
        )
        self.watching = dra.SliceWatching(
            slices=self.slices, publisher=self.publisher, between=between
        )
        self.is_published = threading.Event()
        self.publish()

    def publish(self) -> None:
        self.publisher.publish([dra.Device(name="a")])
        self.is_published.set()

    def wipe(self) -> None:
        """Do what a kubelet does when it starts."""
        for one in self.api.list("ResourceSlice"):
            self.api.delete("ResourceSlice", "", one["metadata"]["name"])
        self.is_published.clear()

    def are_back(self) -> bool:
        return self.is_published.wait(PATIENCE) and bool(self.api.list("ResourceSlice"))


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Followed]:
    """Give a pool that is published, but not watched yet."""
    monkeypatch.setattr(slice_watching, "FIRST_PAUSE", 0.01)
    made = Followed()
    yield made
    made.watching.stop()


@pytest.mark.parametrize(("luck", "pauses"), [(0, [0.5, 1, 2, 4]), (1, [1.5, 3, 6, 12])])
def test_agents_of_one_server_do_not_come_back_together(
    luck: float, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits its own time, half to one and a half of the usual."""
    made = Followed(between=lambda low, high: low + luck * (high - low))
    waited: list[float] = []
    stopped = made.watching._stopped

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        made.api.fail_next = 1
        if len(waited) == len(pauses):
            stopped.set()
        return stopped.is_set()

    monkeypatch.setattr(stopped, "wait", wait)
    made.api.fail_next = 1
    made.watching.start(made.publish)
    thread = made.watching._thread
    assert thread is not None
    thread.join(PATIENCE)
    assert pauses == waited


def test_slices_deleted_before_the_first_watch_come_back(followed: Followed) -> None:
    """What is absent is no event: once the watch is on, the slices are listed anew."""
    followed.slices.before_watch = followed.wipe
    followed.watching.start(followed.publish)
    assert followed.are_back()


def test_slices_deleted_between_two_watches_come_back(followed: Followed) -> None:
    """A kubelet that starts while no watch is on is not missed for the next one's length."""
    followed.is_published.clear()
    followed.watching.start(followed.publish)
    assert followed.is_published.wait(PATIENCE)

    def look_then_wipe() -> None:
        followed.publish()  # a look of its own in the gap: the publisher knows the slices again
        followed.wipe()
        wiped.set()

    wiped = threading.Event()
    followed.slices.before_watch = look_then_wipe
    followed.api.disconnect()
    assert wiped.wait(PATIENCE)
    assert followed.are_back()


def test_slices_that_may_not_be_watched_come_back_with_a_look(followed: Followed) -> None:
    """Without a watch nothing is taken for known for long: the next look lists."""
    tries = threading.Semaphore(0)

    def refuse() -> None:
        tries.release()
        raise dra.KubeFailed("403, watch", remedy="allow it")

    followed.slices.before_watch = refuse
    followed.watching.start(followed.publish)
    followed.wipe()
    for _ in range(2):  # the second try begins after what follows the first
        tries.acquire(timeout=PATIENCE)
    followed.publish()
    assert followed.are_back()
