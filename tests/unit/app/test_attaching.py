from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ibdra_adapters.simulation.profile import PROFILE_FOLDER
from ibdra_domain.errors import AttachRefused, KernelRefused
from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.ports.driver import ClaimRef
from unit.app.app_node import OTHER_VF, PF, PORT_1, VF, Node, ib_config, running_node

FULL = ib_config(pkey=0x8001, mtu=2048, trafficClass=128)
PROFILES = ["dgx-h100", "azure-nd-h100-v5", "hpc-hdr100-dual-port"]


def a_vf(node: Node) -> str:
    """Give the first VF of whatever machine the node is."""
    return node.container.discovery().take().devices[0].name


@pytest.mark.parametrize("profile", PROFILES)
def test_a_container_gets_device_interface_partition_and_mtu(tmp_path: Path, profile: str) -> None:
    """On every kind of machine the container has all it asked for, and then all comes home."""
    with running_node(tmp_path, profile=profile) as node:
        before = node.snapshot()
        name = a_vf(node)
        device = node.container.discovery().take().device(name)
        assert device is not None
        claim, pid = node.prepared(name, config=FULL), node.kernel.start_process()

        node.attach(claim, pid)

        assert device.rdma_device in node.kernel.visible(node.kernel.processes[pid])
        expected = {str(device.netdev): (2044, True), f"{device.netdev}.8001": (2044, True)}
        assert expected == node.interfaces(pid)
        assert [None] == node.unprepare(claim)
        assert before == node.snapshot()
        assert {} == node.kernel.handles


def test_traffic_class_is_set_where_the_driver_has_the_switch_and_put_back(tmp_path: Path) -> None:
    """The port's traffic class is the claim's while it is attached, and then what it was."""
    with running_node(tmp_path, profile="dgx-h100") as node:
        machine = node.container.machine()
        device = node.container.discovery().take().devices[0]
        machine.set_traffic_class(device.rdma_device, 1, 42)
        claim = node.prepared(device.name, config=ib_config(trafficClass=128))

        node.attach(claim, node.kernel.start_process())
        during = machine.traffic_classes[device.rdma_device][1]
        node.unprepare(claim)

        assert (128, 42) == (during, machine.traffic_classes[device.rdma_device][1])


def test_a_second_container_of_the_pod_changes_nothing(node: Node) -> None:
    """Attaching again to the same namespace moves nothing: a move would tear all down."""
    claim, pid = node.prepared(VF, config=FULL), node.kernel.start_process()
    node.attach(claim, pid)
    links = dict(node.kernel.links)
    sibling = node.kernel.start_process(node.kernel.processes[pid])

    node.attach(claim, sibling)

    assert links == node.kernel.links


def test_a_pod_on_the_hosts_network_leaves_the_device_at_home(node: Node) -> None:
    """A process in the host's namespace gets no move, and unprepare has nothing to undo."""
    before = node.snapshot()
    claim = node.prepared(VF)

    node.attach(claim, node.kernel.start_process(node.kernel.init_netns))

    assert before == node.snapshot()
    assert [None] == node.unprepare(claim)


def test_a_pod_on_the_hosts_network_cannot_have_an_ib_config(node: Node) -> None:
    """Nothing is changed on the host, so a partition or MTU asked for would silently be missing."""
    before = node.snapshot()
    claim = node.prepared(VF, config=FULL)

    with pytest.raises(AttachRefused, match="take hostNetwork from the pod"):
        node.attach(claim, node.kernel.start_process(node.kernel.init_netns))

    assert before == node.snapshot()


def test_what_was_never_prepared_is_not_attached(node: Node) -> None:
    """A hook for an unknown claim is refused with a remedy."""
    with pytest.raises(AttachRefused, match="is not prepared on this node: delete the pod"):
        node.attach(
            ClaimRef(namespace="jobs", name="x", uid="no-such-uid"), node.kernel.start_process()
        )


def test_a_dead_process_is_refused_and_nothing_is_open(node: Node) -> None:
    """A pid that is gone is the kernel's ESRCH, and no namespace stays open."""
    claim = node.prepared(VF)

    with pytest.raises(KernelRefused) as refused:
        node.attach(claim, 999999)

    assert errno.ESRCH == refused.value.errno
    assert {} == node.kernel.handles


def test_a_second_pod_is_refused_while_the_first_has_the_device(node: Node) -> None:
    """A claim shared by two pods serves one at a time; the refusal names where it is."""
    claim, first = node.prepared(VF), node.kernel.start_process()
    node.attach(claim, first)

    with pytest.raises(AttachRefused, match=f"is attached to process {first} in net:"):
        node.attach(claim, node.kernel.start_process())

    assert "mlx5_0v0" in node.kernel.visible(node.kernel.processes[first])


def test_a_new_sandbox_takes_over_from_a_dead_one(node: Node) -> None:
    """After the sandbox died the same claim attaches to the pod's next one, as asked for."""
    before = node.snapshot()
    claim, first = node.prepared(VF, config=FULL), node.kernel.start_process()
    node.attach(claim, first)
    node.kernel.end_process(first)
    second = node.kernel.start_process()

    node.attach(claim, second)

    assert {"ib0v0": (2044, True), "ib0v0.8001": (2044, True)} == node.interfaces(second)
    assert [None] == node.unprepare(claim)
    assert before == node.snapshot()


def test_a_namespace_that_died_gives_everything_back_as_it_was(node: Node) -> None:
    """Two pods that die at once send interfaces home swapped; both end with their own names."""
    before = node.snapshot()
    claims = [node.prepared(OTHER_VF, config=FULL), node.prepared(VF)]
    pids = [node.kernel.start_process() for _ in claims]
    for claim, pid in zip(claims, pids, strict=True):
        node.attach(claim, pid)
    for pid in reversed(pids):
        node.kernel.end_process(pid)

    assert [None, None] == node.unprepare(*claims)
    assert before == node.snapshot()


def test_the_other_port_of_a_moved_hca_is_put_right_too(node: Node) -> None:
    """Moving one port's device tears down its sibling's interface, which gets its name back."""
    before = node.snapshot()
    claim, pid = node.prepared(PORT_1), node.kernel.start_process()
    node.attach(claim, pid)

    node.unprepare(claim)

    assert before == node.snapshot()


def test_a_port_the_host_uses_itself_is_not_taken(node: Node) -> None:
    """Partition interfaces on the host would be destroyed by a move, so there is none."""
    links = node.container.machine().links
    host = node.container.machine().namespaces.host()
    parent = next(x for x in links.list(host) if x.name == "ib0")
    links.add_pkey_child(parent.index, name="storage", pkey=0x8001, netns=host)
    host.close()
    claim = node.prepared(PF)

    with pytest.raises(AttachRefused, match="through storage, which a move would destroy"):
        node.attach(claim, node.kernel.start_process())

    assert "mlx5_0" in node.kernel.visible(node.kernel.init_netns)


def test_changed_device_nodes_refuse_one_start_and_are_right_at_the_next(node: Node) -> None:
    """If the move gave other minors the spec is corrected, and the retry needs no move."""
    node.kernel.remove_device("mlx5_1")  # its minors become free, and lower ones are given first
    claim, pid = node.prepared(VF), node.kernel.start_process()
    old = node.spec(claim)["devices"][0]["containerEdits"]["deviceNodes"][0]["path"]

    with pytest.raises(AttachRefused, match="device nodes"):
        node.attach(claim, pid)
    links = dict(node.kernel.links)
    node.attach(claim, pid)

    new = node.spec(claim)["devices"][0]["containerEdits"]["deviceNodes"][0]["path"]
    minor = node.kernel.devices["mlx5_0v0"].minors[CharDeviceKind.UVERBS, 0]
    assert old != new
    assert f"/dev/infiniband/uverbs{minor}" == new
    assert links == node.kernel.links


class Saboteur:
    """Lets a port's calls through until one is to fail."""

    def __init__(self, port: object, countdown: list[int]) -> None:
        self._port = port
        self._countdown = countdown

    def __getattr__(self, name: str) -> object:
        """Wrap the methods that change something."""
        method = getattr(self._port, name)
        if name in ("list", "names", "isolation"):
            return method

        def call(*args: object, **kwargs: object) -> object:
            self._countdown[0] -= 1
            if self._countdown[0] == 0:
                raise KernelRefused("sabotage", remedy="none", errno=errno.EBUSY)
            return method(*args, **kwargs)

        return call


@pytest.mark.parametrize("profile", PROFILES)
def test_a_refusal_at_any_step_is_taken_back(tmp_path: Path, profile: str) -> None:
    """Whichever kernel call fails, attach is undone; the next attach or unprepare succeeds."""
    failed_at = 0
    for step in range(1, 20):
        with running_node(tmp_path / str(step), profile=profile) as node:
            before = node.snapshot()
            countdown = [step]
            mover = node.container.mover()
            for port in ("_rdma", "_links"):
                setattr(mover, port, Saboteur(getattr(mover, port), countdown))
            claim, pid = node.prepared(a_vf(node), config=FULL), node.kernel.start_process()
            try:
                node.attach(claim, pid)
            except KernelRefused:
                failed_at += 1
                assert before == node.snapshot()
                node.attach(claim, pid)
            if node.unprepare(claim) != [None]:
                failed_at += 1
                assert [None] == node.unprepare(claim)
            assert before == node.snapshot()
            assert {} == node.kernel.handles
            if countdown[0] > 0:
                break
    assert failed_at >= 7


def test_interfaces_that_come_back_under_each_others_names_are_told_apart(tmp_path: Path) -> None:
    """On older kernels a re-created interface takes the first free name: the sibling's, here."""
    shipped = (PROFILE_FOLDER / "azure-nd-h100-v5.toml").read_text()
    profile = tmp_path / "exclusive.toml"
    profile.write_text(shipped.replace('isolation = "shared"', 'isolation = "exclusive"'))
    with running_node(tmp_path, profile=str(profile)) as node:
        before = node.snapshot()
        names = [d.name for d in node.container.discovery().take().devices[:3]]
        claim, pid = node.prepared(*names, config=FULL), node.kernel.start_process()

        node.attach(claim, pid)

        expected = {f"ib{i}{child}": (2044, True) for i in range(3) for child in ("", ".8001")}
        assert expected == node.interfaces(pid)
        assert [None] == node.unprepare(claim)
        assert before == node.snapshot()
