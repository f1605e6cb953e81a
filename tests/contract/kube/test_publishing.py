"""Publishing over the kube ports: the server's slices follow the machine, with few writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import pytest
from msgspec.structs import replace

from contract.kube.kube_clusters import DRIVER, NODE, Cluster, FakeCluster, a_slice
from ibdra_adapters.state.fake import FakeStateStore
from ibdra_adapters.sysfs.fake import FakeSysfs
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_app.monitoring import Monitoring
from ibdra_app.publishing import Publishing
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_domain.errors import KubeConflict, KubeFailed, KubeInvalid, KubeUnavailable
from ibdra_domain.hardware import Hca, HcaPort, PciFunction, SysfsReading
from ibdra_domain.health import LONGEST_CALM, TaintEffect
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.kube_objects import MAX_DEVICES_PER_SLICE, ResourceSlice
from ibdra_domain.link import PortState
from ibdra_domain.ports.kube import Slices, SliceWatch
from ibdra_domain.records import ClaimRecord


class Recording:
    """Passes every call on and notes the writes: verb and slice number."""

    def __init__(self, slices: Slices) -> None:
        self._slices = slices
        self.writes: list[tuple[str, int]] = []
        self.reads = 0
        self.before_write: Callable[[], None] = lambda: None

    def list(self) -> tuple[ResourceSlice, ...]:
        self.reads += 1
        return self._slices.list()

    def watch(self) -> SliceWatch:
        return self._slices.watch()

    def create(self, wanted: ResourceSlice) -> ResourceSlice:
        self._note("create", wanted)
        return self._slices.create(wanted)

    def replace(self, wanted: ResourceSlice) -> ResourceSlice:
        self._note("replace", wanted)
        return self._slices.replace(wanted)

    def delete(self, unwanted: ResourceSlice) -> None:
        self._note("delete", unwanted)
        self._slices.delete(unwanted)

    def _note(self, verb: str, one: ResourceSlice) -> None:
        self.before_write()
        self.writes.append((verb, int(one.metadata.name.partition("-")[0], 16)))


class Node:
    """A machine with as many HCAs as a test likes, and its publishing."""

    def __init__(self, cluster: Cluster) -> None:
        self.sysfs = FakeSysfs()
        self.now = 0.0
        self.slices = Recording(cluster.slices())
        with suppress(KubeConflict):  # another machine of this test is there already
            cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        self.publisher = SlicePublisher(
            slices=self.slices, nodes=cluster.nodes(), driver=DRIVER, node=NODE
        )
        self.publishing = Publishing(
            discovery=Discovery(sysfs=self.sysfs, verbs=FakeVerbs()),
            ledger=Ledger(FakeStateStore(ClaimRecord), boot_id="boot"),
            publisher=self.publisher,
            monitoring=Monitoring(
                counters=self.sysfs, pool=NODE, clock=lambda: self.now, wall=lambda: 0.0
            ),
            taint=TaintEffect.NONE,
        )

    def has(self, count: int, *, down: Iterable[int] = ()) -> None:
        """Give the machine this many ports, some of them down."""
        addresses = [PciAddress(f"{n:04x}:01:00.0") for n in range(1, count + 1)]
        self.sysfs.reading = SysfsReading(
            addresses=frozenset(addresses),
            functions=tuple(
                PciFunction(address=a, vendor=0x15B3, device=0x1021) for a in addresses
            ),
            hcas=tuple(
                _hca(n, address, PortState.DOWN if n in set(down) else PortState.ACTIVE)
                for n, address in enumerate(addresses)
            ),
        )

    def publish(self) -> list[tuple[str, int]]:
        """Publish what has been so for long, and give the writes, in order."""
        self.slices.writes = []
        self.publishing.look()
        self.now += 2 * LONGEST_CALM
        _, changes = self.publishing.publish()
        assert changes.count == len(self.slices.writes)
        return self.slices.writes

    def shape(self) -> list[tuple[int, int, int]]:
        """Give each slice's generation, count and number of devices."""
        return [
            (s.spec.pool.generation, s.spec.pool.resource_slice_count, len(s.spec.devices))
            for s in self.slices.list()
        ]


def _hca(number: int, pci: PciAddress, state: PortState) -> Hca:
    port = HcaPort(number=1, state=state, link_layer="InfiniBand", lid=number)
    return Hca(name=f"mlx5_{number}", pci=pci, ports=(port,))


@pytest.fixture
def node(cluster: Cluster) -> Node:
    """Give a machine without HCAs that has not published yet."""
    return Node(cluster)


def test_a_first_publication_creates_the_pool(node: Node) -> None:
    """Everything is created in generation 1, in full slices, in order."""
    node.has(1100)
    assert [("create", n) for n in range(9)] == node.publish()
    assert [(1, 9, 128)] * 8 + [(1, 9, 76)] == node.shape()
    names = [d.name for s in node.slices.list() for d in s.spec.devices]
    assert 1100 == len(set(names))
    assert {NODE} == {s.spec.pool.name for s in node.slices.list()}


def test_nothing_changed_is_nothing_written(node: Node) -> None:
    """Publishing again is not even a read: what the server has is known."""
    node.has(1100)
    node.publish()
    node.slices.reads = 0
    assert [] == node.publish()
    assert 0 == node.slices.reads


def test_one_changed_port_is_one_slice(node: Node) -> None:
    """A link that goes down among a thousand is one write, in the same generation."""
    node.has(1100)
    node.publish()
    before = node.slices.list()
    node.has(1100, down=[500])
    assert [("replace", 3)] == node.publish()
    after = node.slices.list()
    assert [(1, 9, 128)] * 8 + [(1, 9, 76)] == node.shape()
    assert [n for n in range(9) if n != 3] == [n for n in range(9) if before[n] == after[n]]
    changed = after[3].spec.devices[500 - 3 * MAX_DEVICES_PER_SLICE]
    assert "Down" == changed.attributes["portState"].value


def test_several_changed_slices_are_a_new_generation(node: Node) -> None:
    """The scheduler must not mix old and new: all slices move on together."""
    node.has(1100)
    node.publish()
    node.has(1100, down=[0, 1099])
    assert [("replace", n) for n in range(9)] == node.publish()
    assert [(2, 9, 128)] * 8 + [(2, 9, 76)] == node.shape()
    assert [] == node.publish()


def test_fewer_devices_delete_first(node: Node) -> None:
    """Slices that are not needed any more go before a device can move into another."""
    node.has(300)
    node.publish()
    node.has(100)
    assert [("delete", 1), ("delete", 2), ("replace", 0)] == node.publish()
    assert [(2, 1, 100)] == node.shape()
    assert [] == node.publish()


def test_more_devices_are_a_new_generation(node: Node) -> None:
    """A pool that grows is complete only with its last slice."""
    node.has(100)
    node.publish()
    node.has(300)
    assert [("replace", 0), ("create", 1), ("create", 2)] == node.publish()
    assert [(2, 3, 128), (2, 3, 128), (2, 3, 44)] == node.shape()


def test_a_machine_without_devices_says_so(node: Node) -> None:
    """One empty slice tells "nothing here" from "not asked yet"."""
    assert [("create", 0)] == node.publish()
    assert [(1, 1, 0)] == node.shape()
    assert [] == node.publish()
    node.has(1)
    assert [("replace", 0)] == node.publish()
    node.has(0)
    assert [("replace", 0)] == node.publish()
    assert [(1, 1, 0)] == node.shape()


@pytest.mark.parametrize("lost", [0, 4, 8])
def test_a_slice_somebody_deleted_is_put_back(node: Node, lost: int) -> None:
    """The pool is whole again with one write, in its generation."""
    node.has(1100)
    node.publish()
    whole = node.shape()
    node.slices._slices.delete(node.slices.list()[lost])
    node.publisher.forget()
    assert [("create", lost)] == node.publish()
    assert whole == node.shape()


def test_a_kubelet_that_wiped_everything_starts_anew(node: Node) -> None:
    """Without any slice left the pool begins again."""
    node.has(300)
    node.publish()
    for one in node.slices.list():
        node.slices._slices.delete(one)
    node.publisher.forget()
    assert [("create", 0), ("create", 1), ("create", 2)] == node.publish()
    assert [] == node.publish()


def test_others_slices_are_left_alone(node: Node, cluster: Cluster) -> None:
    """Another node's and another driver's pools are neither read nor written."""
    theirs = cluster.slices(node="node-b").create(a_slice(node="node-b"))
    gpus = cluster.slices(driver="gpu.example.com").create(a_slice(driver="gpu.example.com"))
    node.has(3)
    node.publish()
    assert (theirs,) == cluster.slices(node="node-b").list()
    assert (gpus,) == cluster.slices(driver="gpu.example.com").list()


def test_somebody_who_wrote_first_is_a_conflict_and_then_put_right(node: Node) -> None:
    """A lost race changes nothing; publishing again mends the slice."""
    node.has(3)
    node.publish()

    def meddle() -> None:
        node.slices.before_write = lambda: None
        (present,) = node.slices.list()
        pool = replace(present.spec.pool, generation=7)
        node.slices._slices.replace(replace(present, spec=replace(present.spec, pool=pool)))

    node.has(3, down=[1])
    node.slices.before_write = meddle
    with pytest.raises(KubeConflict):
        node.publishing.publish()
    assert [(7, 1, 3)] == node.shape()
    assert [("replace", 0)] == node.publish()
    assert [(7, 1, 3)] == node.shape()
    assert "Down" == node.slices.list()[0].spec.devices[1].attributes["portState"].value


@pytest.mark.parametrize("writes", range(9))
def test_a_publication_cut_short_is_finished_by_the_next(
    node: Node, cluster: Cluster, writes: int
) -> None:
    """Wherever the server goes away, publishing again gives one whole pool."""
    node.has(1100)
    node.publish()
    node.has(900, down=[0])
    left = iter(range(writes))

    def fail_in_time() -> None:
        if next(left, None) is None:
            cluster.be_unavailable(1)

    node.slices.before_write = fail_in_time
    with pytest.raises(KubeUnavailable):
        node.publishing.publish()
    node.slices.before_write = lambda: None
    node.publish()
    shape = node.shape()
    assert [128] * 7 + [4] == [devices for _, _, devices in shape]
    assert {8} == {count for _, count, _ in shape}
    assert 1 == len({generation for generation, _, _ in shape})
    assert [] == node.publish()


def a_pf_with_vfs() -> SysfsReading:
    """Read a machine with one PF of two VFs."""
    pf, *vfs = (PciAddress(f"0000:3b:00.{n}") for n in range(3))
    port = HcaPort(number=1, state=PortState.ACTIVE, link_layer="InfiniBand")
    return SysfsReading(
        addresses=frozenset((pf, *vfs)),
        functions=(
            PciFunction(address=pf, total_vfs=2, num_vfs=2, vfs=tuple(vfs)),
            *(PciFunction(address=vf, physfn=pf) for vf in vfs),
        ),
        hcas=tuple(
            Hca(name=f"mlx5_{n}", pci=pci, ports=(port,)) for n, pci in enumerate((pf, *vfs))
        ),
    )


def test_counters_are_published_where_they_are_kept(cluster: Cluster) -> None:
    """A PF takes all of its HCA, a VF one, and the set has a slice of its own."""
    node = Node(cluster)
    node.sysfs.reading = a_pf_with_vfs()
    node.publishing.publish()
    if not cluster.keeps_counters:  # an older server
        assert 1 == len(node.slices.list())
        return
    devices, counters = node.slices.list()
    taken = [d.consumes_counters[0].counters["functions"].value for d in devices.spec.devices]
    assert ["1", "1", "2"] == taken  # the VFs first, then their PF
    (only,) = counters.spec.shared_counters
    assert "2" == only.counters["functions"].value
    node.slices.writes.clear()
    node.publishing.publish()
    assert [] == node.slices.writes


def test_a_server_that_drops_counters_is_asked_once() -> None:
    """It is seen in its first answer; then the pool is as without, and stays untouched."""
    node = Node(FakeCluster(keeps_counters=False))
    node.sysfs.reading = a_pf_with_vfs()
    node.publishing.publish()
    (only,) = node.slices.list()
    assert 3 == len(only.spec.devices)
    node.slices.writes.clear()
    node.publishing.publish()
    assert [] == node.slices.writes


def test_a_server_that_refuses_our_counters_gets_slices_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Kubernetes 1.34 wants them in the devices' own slice: it is asked once, and it is said."""
    node = Node(FakeCluster(old_counters=True))
    node.sysfs.reading = a_pf_with_vfs()
    node.publishing.publish()
    (only,) = node.slices.list()
    assert [()] * 3 == [device.consumes_counters for device in only.spec.devices]
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "refuses counters" in said
    assert "must reference a counterSet" in said
    node.slices.writes.clear()
    node.publishing.publish()
    assert [] == node.slices.writes
    assert 1 == len([one for one in caplog.records if one.levelname == "WARNING"])


@pytest.mark.parametrize("error", [KubeInvalid, KubeFailed, KubeConflict, KubeUnavailable])
def test_what_has_nothing_to_do_with_counters_is_not_blamed_on_them(
    error: type[KubeFailed],
) -> None:
    """A write that fails without them too, or otherwise, is an error; they are offered again."""
    node = Node(FakeCluster())
    node.sysfs.reading = a_pf_with_vfs()

    def refuse() -> None:
        raise error("no", remedy="wait")

    node.slices.before_write = refuse
    with pytest.raises(error):
        node.publishing.publish()
    node.slices.before_write = lambda: None
    node.publishing.publish()
    devices, _counters = node.slices.list()
    assert all(device.consumes_counters for device in devices.spec.devices)
