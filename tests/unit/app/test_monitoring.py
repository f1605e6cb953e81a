"""Health from the machine to slices and kubelet: when it is told, and how often."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ibdra_adapters.simulation.scheduler import SimulatedScheduler
from ibdra_app.monitoring import COUNT_EVERY, STALE
from ibdra_domain.errors import KubeUnavailable
from ibdra_domain.hardware import ErrorCounters
from ibdra_domain.health import CALM, LONGEST_CALM, TAINT, TaintEffect
from ibdra_domain.identifiers import ZERO_GUID
from ibdra_domain.kube_objects import (
    Device,
    DeviceClaim,
    DeviceClass,
    DeviceRequest,
    DeviceToleration,
    ExactRequest,
    ResourceClaim,
    ResourceClaimSpec,
    ResourceSlice,
)
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus
from unit.app.app_node import NODE, PF, VF, Node, running_node

VFS = [f"pci-0000-3b-00-{n}-port1" for n in (1, 2, 3, 4)]


class Watched:
    """A node whose time is the test's, and what others see of its devices."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.machine = node.container.machine()
        self.now = 1000.0
        self.writes = 0
        node.container.monitoring_clock.override(lambda: self.now)
        self.monitoring = node.container.monitoring()
        self.publishing = node.container.publishing()
        self.publish()

    def publish(self, *, later: float = 0.0) -> int:
        """Look and write as at an event; give the number of writes."""
        self.now += later
        _, changes = self.publishing.publish()
        self.writes += changes.count
        return changes.count

    def device(self, name: str) -> Device | None:
        """Find a device in the slices on the server."""
        slices: tuple[ResourceSlice, ...] = self.node.container.kube().slices.list()
        return next((d for s in slices for d in s.spec.devices if d.name == name), None)

    def seen(self, name: str) -> tuple[object, tuple[str, ...]]:
        """Give a device's port state and taints, as they stand in its slice."""
        device = self.device(name)
        assert device is not None
        taints = tuple(f"{t.key}={t.value}:{t.effect}" for t in device.taints)
        return device.attributes["portState"].value, taints

    def health(self, name: str) -> DeviceHealth:
        """Give what the kubelet is told of a device."""
        return next(h for h in self.monitoring.health() if h.device == name)

    def zero_guid(self, rdma_device: str) -> None:
        """Take a device's GUIDs away."""
        hca = self.machine.hcas[rdma_device]
        zeros = (ZERO_GUID,) * len(hca.ports)
        self.machine.change(replace(hca, node_guid=ZERO_GUID, port_guids=zeros))


@pytest.fixture
def watched(node: Node) -> Watched:
    """Give a node that has been looked at once."""
    return Watched(node)


DOWN = ("Down", ("ib.sigs.k8s.io/unhealthy=port-down:NoSchedule",))
UP = ("Active", ())


def test_a_port_that_goes_down_is_one_write_with_taint_and_state(watched: Watched) -> None:
    """At the next look, in slices and to the kubelet; up again after the calm time."""
    assert UP == watched.seen(PF)
    watched.machine.set_port_state("mlx5_0", PortState.DOWN)
    assert 1 == watched.publish()
    assert DOWN == watched.seen(PF)
    health = watched.health(PF)
    assert (NODE, HealthStatus.UNHEALTHY) == (health.pool, health.status)
    assert "port 1 of mlx5_0 is Down (link: Polling)" in health.message
    watched.machine.set_port_state("mlx5_0", PortState.ACTIVE)
    assert 0 == watched.publish()
    due = watched.monitoring.due()
    assert due == CALM
    assert 1 == watched.publish(later=due)
    assert UP == watched.seen(PF)
    assert (HealthStatus.HEALTHY, "") == (watched.health(PF).status, watched.health(PF).message)
    assert watched.monitoring.due() is None


def test_a_hundred_changes_in_ten_seconds_are_four_writes(watched: Watched) -> None:
    """However they fall, and the last state is right in the end."""
    dice = random.Random(7)  # the same at every run
    watched.writes = 0
    for number in range(100):
        state = dice.choice(list(PortState)) if number < 99 else PortState.ACTIVE
        watched.machine.set_port_state("mlx5_0", state)
        watched.publish(later=0.1)
    assert "flapping" in watched.seen(PF)[1][0]
    while (due := watched.monitoring.due()) is not None:
        watched.publish(later=due)
    assert UP == watched.seen(PF)
    assert watched.writes <= 4


def test_a_device_in_a_pod_is_as_it_was_seen_last(watched: Watched) -> None:
    """The kubelet is told where it is; while the PF's port is down, it is down too."""
    claim, pid = watched.node.prepared(VF), watched.node.kernel.start_process()
    watched.node.attach(claim, pid)
    watched.publish()
    assert HealthStatus.HEALTHY is watched.health(VF).status
    assert "in a pod's network namespace" in watched.health(VF).message
    watched.machine.set_port_state("mlx5_0", PortState.DOWN)
    watched.publish()
    assert HealthStatus.UNHEALTHY is watched.health(VF).status
    assert "the port of its PF mlx5_0 is not Active" in watched.health(VF).message
    assert ("Active", DOWN[1]) == watched.seen(VF)
    watched.machine.set_port_state("mlx5_0", PortState.ACTIVE)
    watched.publish()
    watched.publish(later=CALM)
    assert HealthStatus.HEALTHY is watched.health(VF).status


def test_a_device_that_left_the_machine_while_it_was_held_is_gone(watched: Watched) -> None:
    """A pod has it, and should know."""
    watched.node.prepared(VF)
    pf = watched.machine.hcas["mlx5_0"]
    for vf in pf.vfs:
        watched.machine.unplug(vf)
    watched.machine.set_vfs(pf.pci, [])
    watched.publish()
    assert HealthStatus.UNHEALTHY is watched.health(VF).status
    assert "PCI function 0000:3b:00.1 has left the machine" in watched.health(VF).message
    assert ("ib.sigs.k8s.io/unhealthy=gone:NoSchedule",) == watched.seen(VF)[1]


def test_a_vf_without_guids_is_tainted(watched: Watched) -> None:
    """It cannot register memory: whoever gets it fails."""
    watched.zero_guid("mlx5_0v0")
    watched.publish()
    assert ("ib.sigs.k8s.io/unhealthy=zero-guid:NoSchedule",) == watched.seen(VF)[1]
    assert "give the VF its GUIDs" in watched.health(VF).message


@pytest.mark.parametrize("by", ["server", "setting"])
def test_where_there_are_no_taints_a_vf_without_guids_is_not_offered(node: Node, by: str) -> None:
    """Ports that are down are: people may select by their state."""
    if by == "server":
        node.api._keeps_taints = False
    else:
        settings = replace(node.container.settings(), unhealthy_taint=TaintEffect.NONE)
        node.container.settings.override(settings)
    watched = Watched(node)
    watched.zero_guid("mlx5_0v0")
    watched.machine.set_port_state("mlx5_0v1", PortState.DOWN)
    watched.publish()
    assert watched.device(VF) is None
    assert ("Down", ()) == watched.seen(VFS[1])
    assert HealthStatus.UNHEALTHY is watched.health(VF).status


def test_a_scheduler_passes_over_what_is_tainted(watched: Watched) -> None:
    """Unless the claim says that it wants it all the same."""
    watched.machine.set_port_state("mlx5_0v0", PortState.DOWN)
    watched.publish()
    scheduler = SimulatedScheduler(watched.node.container.selectors(), {"any": DeviceClass()})
    slices = watched.node.container.kube().slices.list()

    def taken(**more: Any) -> str:
        exact = ExactRequest(device_class_name="any", **more)
        devices = DeviceClaim(requests=(DeviceRequest(name="hca", exactly=exact),))
        claim = ResourceClaim(spec=ResourceClaimSpec(devices=devices))
        allocation = scheduler.allocate(claim, slices)
        assert not isinstance(allocation, str)
        scheduler.release("")
        device: str = allocation["devices"]["results"][0]["device"]
        return device

    assert VFS[1] == taken()
    assert VF == taken(tolerations=(DeviceToleration(key=TAINT, operator="Exists"),))


def test_slices_have_room_for_taints_from_the_start(tmp_path: Path) -> None:
    """A first taint is one write, and no new cut of the whole pool."""
    profile = Path(__file__).parents[3] / "benchmarks/1024-vfs.toml"
    small = tmp_path / "72.toml"
    small.write_text(profile.read_text().replace("\nvfs = 128\n", "\nvfs = 8\n"))
    with running_node(tmp_path, profile=str(small)) as node:
        settings = replace(node.container.settings(), counters=False)
        node.container.settings.override(settings)
        watched = Watched(node)
        sizes = [len(s.spec.devices) for s in node.container.kube().slices.list()]
        assert [64, 8] == sizes
        watched.machine.set_port_state("mlx5_7", PortState.DOWN)
        assert 1 == watched.publish()


def test_subscribers_are_called_at_changes_only(watched: Watched) -> None:
    """Each is a list to the kubelet, and after it a pod's status."""
    calls: list[float] = []
    unsubscribe = watched.monitoring.subscribe(lambda: calls.append(watched.now))
    watched.publish(later=1)
    assert [] == calls
    watched.machine.set_port_state("mlx5_0", PortState.DOWN)
    watched.publish(later=1)
    assert [watched.now] == calls
    watched.publish(later=1)
    unsubscribe()
    watched.machine.set_port_state("mlx5_0", PortState.ACTIVE)
    watched.publish(later=LONGEST_CALM)
    watched.publish(later=LONGEST_CALM)
    assert 1 == len(calls)


def test_the_kubelet_is_told_while_the_api_server_is_away(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that cannot be written was a look."""

    def refuse(_wanted: ResourceSlice) -> ResourceSlice:
        raise KubeUnavailable("the API server does not answer", remedy="wait")

    watched.node.container.succession().enter()  # only who leads writes
    monkeypatch.setattr(watched.node.container.kube().slices, "replace", refuse)
    watched.machine.set_port_state("mlx5_0", PortState.DOWN)
    assert not watched.node.container.watching().look()
    assert HealthStatus.UNHEALTHY is watched.health(PF).status


def test_without_looks_nothing_is_known(watched: Watched) -> None:
    """Old news must not pass for health."""
    watched.now += STALE + 1
    assert {HealthStatus.UNKNOWN} == {h.status for h in watched.monitoring.health()}
    assert "cannot look at the node's devices" in watched.health(PF).message
    watched.publish()
    assert HealthStatus.HEALTHY is watched.health(PF).status


def test_growing_errors_are_told_and_harm_nobody(watched: Watched) -> None:
    """Of the PF and of its VFs, which share the cable; not of others."""
    watched.machine.count("mlx5_0", ErrorCounters(symbol_error=10))
    watched.publish(later=COUNT_EVERY)
    watched.machine.count("mlx5_0", ErrorCounters(symbol_error=1000))
    assert 0 == watched.publish(later=COUNT_EVERY / 2)
    assert "" == watched.health(PF).message
    assert 0 == watched.publish(later=COUNT_EVERY / 2)
    for name in (PF, *VFS):
        assert "symbol_error grows fast" in watched.health(name).message
        assert HealthStatus.HEALTHY is watched.health(name).status
    assert "" == watched.health("pci-0000-af-00-0-port1").message


def test_falls_between_two_looks_are_flapping(watched: Watched) -> None:
    """The port was up whenever it was looked at; its counter knows better."""
    watched.machine.count("mlx5_0", ErrorCounters(link_downed=3))
    watched.publish(later=COUNT_EVERY)
    watched.machine.count("mlx5_0", ErrorCounters(link_downed=6))
    watched.publish(later=COUNT_EVERY)
    for name in (PF, *VFS):
        assert ("Active", ("ib.sigs.k8s.io/unhealthy=flapping:NoSchedule",)) == watched.seen(name)
    watched.publish(later=LONGEST_CALM)
    assert UP == watched.seen(PF)


def test_a_pf_that_comes_home_from_a_long_job_is_not_flapping(watched: Watched) -> None:
    """Its port fell hours ago, while nobody read its counter; what it does now counts again."""
    claim, pid = watched.node.prepared(PF), watched.node.kernel.start_process()
    watched.machine.count("mlx5_0", ErrorCounters(link_downed=0))
    watched.publish(later=COUNT_EVERY)
    watched.node.attach(claim, pid)
    watched.publish(later=1)
    watched.machine.count("mlx5_0", ErrorCounters(link_downed=3))
    for _ in range(3):
        watched.publish(later=8 * 3600)
    assert [None] == watched.node.unprepare(claim)
    watched.publish(later=1)
    assert (UP, None) == (watched.seen(PF), watched.monitoring.due())
    watched.machine.count("mlx5_0", ErrorCounters(link_downed=5))
    watched.publish(later=COUNT_EVERY)
    assert "flapping" in watched.seen(PF)[1][0]


def test_many_changes_at_once_are_few_lines_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A cable of 128 VFs is one trouble; the PF comes first."""
    with running_node(tmp_path, profile="dgx-h100") as node:
        watched = Watched(node)
        caplog.clear()
        for name in list(watched.machine.hcas):
            if name.startswith(("mlx5_0", "mlx5_3")):
                watched.machine.set_port_state(name, PortState.DOWN)
        watched.publish()
        lines = [r.message for r in caplog.records if r.name == "ibdra_app.monitoring"]
        assert 9 == len(lines)
        assert " is port-down: port 1 of mlx5_" in lines[0]
        assert "the health of 2 more devices changed" == lines[-1]
