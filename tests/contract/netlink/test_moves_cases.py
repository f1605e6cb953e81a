"""Single histories the model found, or cannot make: what each looked like, kept for good."""

from __future__ import annotations

import errno

import pytest

from contract.netlink.moves_model import KINDS, Crash, Kind, ModelNode
from ibdra_domain.errors import AttachRefused, KernelRefused
from ibdra_domain.ib_config import IbConfig

OLDER, NEWER, SHARED = KINDS
PLAIN = IbConfig()
FIRST, SECOND, LEFT, RIGHT = ("mlx5_0", 1), ("mlx5_1", 1), ("mlx4_0", 1), ("mlx4_0", 2)
IN_ORDER = ("ib0", "ib1", "ib2", "ib3")


def attached(node: ModelNode, *ports: tuple[str, int], pid: int | None = None) -> str:
    """Prepare a claim of ports and attach it to a pod, a new one if none is given."""
    uid = node.prepare([(port, PLAIN) for port in ports])
    assert uid is not None
    node.attach(uid, node.kernel.start_process() if pid is None else pid)
    node.check()
    return uid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("netdevs", [IN_ORDER, IN_ORDER[::-1], ("ib1", "ib2", "ib0", "ib4")])
def test_several_hcas_of_a_claim_keep_their_names(kind: Kind, netdevs: tuple[str, ...]) -> None:
    """Whatever names the kernel gives on the way, each interface ends with its own."""
    node = ModelNode(kind, netdevs)
    uid = attached(node, SECOND, LEFT, FIRST)
    node.unprepare(uid)
    node.check()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("netdevs", [("ib3", "ib0", "ib1", "ib2"), ("ib2", "ib3", "ib1", "ib0")])
def test_a_two_port_hcas_names_may_be_any(kind: Kind, netdevs: tuple[str, ...]) -> None:
    """The new interfaces may have got each other's names; they get their own."""
    node = ModelNode(kind, netdevs)
    uid = attached(node, LEFT, RIGHT)
    node.unprepare(uid)
    node.check()


@pytest.mark.parametrize("kind", KINDS)
def test_an_unallocated_sibling_does_not_keep_a_name(kind: Kind) -> None:
    """Its interface lands in the pod under a name that a later claim's interface has by right."""
    node = ModelNode(kind, ("ib0", "ib7", "ib5", "ib6"))
    pid = node.kernel.start_process()
    sibling = attached(node, RIGHT, pid=pid)
    first = attached(node, FIRST, pid=pid)
    node.unprepare(sibling)
    node.check()
    node.unprepare(first)
    node.check()


@pytest.mark.parametrize("kind", KINDS)
def test_both_ports_of_an_hca_get_their_traffic_class(kind: Kind) -> None:
    """The second port's switch leaves the host with the first one: it is set before."""
    node = ModelNode(kind, IN_ORDER)
    classes = {LEFT: 1, RIGHT: 2}
    uid = node.prepare([(port, IbConfig(traffic_class=c)) for port, c in classes.items()])
    assert uid is not None
    node.attach(uid, node.kernel.start_process())
    assert classes == {port: node.sysfs.traffic_classes[port] for port in classes}
    node.unprepare(uid)
    node.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strangers_name_in_the_container_refuses_and_all_is_home(kind: Kind) -> None:
    """What we did not bring is not renamed: the attach is refused, and taken back."""
    node = ModelNode(kind, IN_ORDER)
    pid = node.kernel.start_process()
    host, pod = node.namespaces.host(), node.namespaces.of_process(pid)
    stranger = next(x for x in node.links.list(host) if x.name == "ib3")
    node.links.configure(stranger.index, netns=host, up=False)
    node.links.move(stranger.index, source=host, target=pod)
    node.links.rename(stranger.index, "ib0", netns=pod)
    uid = node.prepare([(FIRST, PLAIN)])
    assert uid is not None

    with pytest.raises(AttachRefused, match="another one has that name"):
        node.attach(uid, pid)

    node.links.rename(stranger.index, "ib3", netns=pod)
    node.links.move(stranger.index, source=pod, target=host)
    node.links.configure(stranger.index, netns=host, up=True)
    host.close()
    pod.close()
    node.check()
    node.attach(uid, pid)
    node.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_that_ended_before_the_hook_is_esrch(kind: Kind) -> None:
    """Nothing is written down, and nothing has moved."""
    node = ModelNode(kind, IN_ORDER)
    uid, pid = node.prepare([(FIRST, PLAIN)]), node.kernel.start_process()
    assert uid is not None
    node.kernel.end_process(pid)

    with pytest.raises(KernelRefused) as refused:
        node.attach(uid, pid)

    assert errno.ESRCH == refused.value.errno
    assert node.place_of(uid) is None
    node.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pod_that_ends_while_the_driver_is_dead_is_recovered(kind: Kind) -> None:
    """The kernel brought some of it home, the next start puts the rest right."""
    for calls in range(12):
        node = ModelNode(kind, ("ib1", "ib0", "ib3", "ib2"))
        wanted = [(p, IbConfig(pkey=0x8001, mtu=2048)) for p in (LEFT, FIRST, RIGHT)]
        uid, pid = node.prepare(wanted), node.kernel.start_process()
        assert uid is not None
        node.fuse.left = calls
        with pytest.raises(Crash):
            node.attach(uid, pid)
        node.kernel.end_process(pid)
        notes = node.start_driver()
        assert not [note for note in notes if "not recovered" in note]
        node.check()
        node.attach(uid, node.kernel.start_process())
        node.check()
