"""``SlicePublisher``: what a server does not keep is left out, and not for ever."""

from __future__ import annotations

import pytest

from ibdra_app import library as dra
from ibdra_app.slice_publisher import OFFER_AGAIN

DRIVER, NODE = "thing.example.com", "demo-node"
SETS = (dra.CounterSet(name="all", counters={"parts": dra.Counter(value="2")}),)
TAKEN = (
    dra.DeviceCounterConsumption(counter_set="all", counters={"parts": dra.Counter(value="1")}),
)
TAINTS = (dra.DeviceTaint(key="example.com/broken", effect="NoSchedule"),)


class Pool:
    """A pool on a server whose feature gates are off, until it is upgraded."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.api = dra.FakeKubeApi(keeps_counters=False, keeps_taints=False)
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        ports = dra.in_memory(self.api, driver=DRIVER, node=NODE)
        self.publisher = dra.SlicePublisher(
            slices=ports.slices, nodes=ports.nodes, driver=DRIVER, node=NODE, clock=lambda: self.now
        )

    def upgrade(self) -> None:
        """Make the server one that keeps everything."""
        self.api._keeps_counters = self.api._keeps_taints = True

    def lose_the_watch(self, *, after: float) -> None:
        self.now += after
        self.publisher.forget()

    def publish(self) -> int:
        """Publish a device that has everything; give the number of writes."""
        self.api.calls.clear()
        device = dra.Device(name="a", consumes_counters=TAKEN, taints=TAINTS)
        self.publisher.publish([device], counter_sets=SETS)
        return sum(call.startswith(("create", "update", "delete")) for call in self.api.calls)

    def is_whole(self) -> bool:
        """Tell whether the server has everything of the device."""
        devices = [d for s in self.api.list("ResourceSlice") for d in s["spec"].get("devices", ())]
        return all("taints" in device and "consumesCounters" in device for device in devices)


@pytest.fixture
def pool() -> Pool:
    """Give a pool that is published without what its server does not keep."""
    made = Pool()
    made.publish()
    assert not made.is_whole()
    return made


def test_an_upgraded_server_is_offered_everything_again(pool: Pool) -> None:
    """A control plane that learned to keep it gets it without a restart of the driver."""
    pool.upgrade()
    pool.lose_the_watch(after=OFFER_AGAIN)
    pool.publish()
    assert pool.is_whole()
    assert 0 == pool.publish()


def test_a_server_that_stays_old_is_not_asked_at_every_watch(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Within the hour a lost watch costs no write; after it a few, and no warning more."""
    caplog.clear()
    pool.lose_the_watch(after=OFFER_AGAIN / 2)
    assert 0 == pool.publish()
    pool.lose_the_watch(after=OFFER_AGAIN / 2)
    assert 0 < pool.publish() <= 3
    assert not pool.is_whole()
    pool.lose_the_watch(after=OFFER_AGAIN / 2)
    assert 0 == pool.publish()
    assert [] == [one for one in caplog.records if one.levelname == "WARNING"]


def test_nothing_is_offered_again_while_the_watch_is_on(pool: Pool) -> None:
    """The server is the same: time alone changes nothing."""
    pool.upgrade()
    pool.now += 10 * OFFER_AGAIN
    assert 0 == pool.publish()
