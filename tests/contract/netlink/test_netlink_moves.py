"""Exclusive mode: what a move of an RDMA device does besides moving it."""

from __future__ import annotations

import errno
from collections.abc import Callable

from contract.netlink.netlink_machines import (
    DUAL,
    FIRST,
    IB_MTUS,
    NETDEVS,
    SECOND,
    Scene,
    refused_with,
)
from ibdra_domain.hardware import CharDeviceKind


def test_a_moved_device_shows_in_its_namespace_only(exclusive: Scene) -> None:
    """Exclusive mode: a device is in one place, and the others stay."""
    exclusive.enter()
    assert (FIRST,) == exclusive.rdma.names(exclusive.pod)
    assert {SECOND, DUAL} == set(exclusive.rdma.names(exclusive.host))


def test_a_device_that_is_not_there_is_enodev(exclusive: Scene) -> None:
    """Unknown, gone, or in another namespace than the one it is looked for in."""
    with refused_with(errno.ENODEV):
        exclusive.rdma.move("mlx5_9", source=exclusive.host, target=exclusive.pod)
    with refused_with(errno.ENODEV):
        exclusive.rdma.move(FIRST, source=exclusive.pod, target=exclusive.host)
    exclusive.machine.pull_out(SECOND)
    with refused_with(errno.ENODEV):
        exclusive.enter(SECOND)
    assert {FIRST, DUAL} == set(exclusive.rdma.names(exclusive.host))


def test_a_device_comes_back_from_a_namespace_that_lives(exclusive: Scene) -> None:
    """Asked for from the host: the way back of an attach, and of a pod that does not end."""
    exclusive.enter()
    exclusive.rdma.move(FIRST, source=exclusive.pod, target=exclusive.host)
    assert () == exclusive.rdma.names(exclusive.pod)
    assert {FIRST, SECOND, DUAL} == set(exclusive.rdma.names(exclusive.host))
    assert exclusive.find(exclusive.host) is not None


def test_a_move_makes_the_interface_anew_and_down(exclusive: Scene) -> None:
    """Its index is gone; down, the full MTU again; the port's GUID is what stays."""
    before = exclusive.parent(exclusive.host)
    exclusive.links.configure(before.index, netns=exclusive.host, mtu=1000)
    exclusive.enter()
    after = exclusive.parent(exclusive.landing)
    assert before.index not in exclusive.indexes(exclusive.host)
    assert (False, IB_MTUS[FIRST, 1] - 4) == (after.up, after.mtu)
    with refused_with(errno.ENODEV):
        exclusive.links.configure(before.index, netns=exclusive.host, up=True)


def test_the_new_interface_is_where_this_kernel_makes_it(
    exclusive: Scene, record_property: Callable[[str, object], None]
) -> None:
    """Older kernels: the initial namespace; newer ones: the device's."""
    exclusive.enter()
    elsewhere = exclusive.host if exclusive.landing is exclusive.pod else exclusive.pod
    assert exclusive.find(exclusive.landing) is not None
    assert exclusive.find(elsewhere) is None
    place = "in the device's namespace" if exclusive.landing is exclusive.pod else "in init_net"
    record_property("a moved device's interface is", place)


def test_the_new_interface_gets_the_first_free_name(exclusive: Scene) -> None:
    """Of the namespace it appears in: not its old one, unless that is the first."""
    exclusive.enter(DUAL)
    expected = "ib0" if exclusive.landing is exclusive.pod else NETDEVS[DUAL, 1]
    assert expected == exclusive.parent(exclusive.landing, DUAL).name


def test_names_shift_when_a_lower_one_has_become_free(exclusive: Scene) -> None:
    """A re-created interface takes a name that another one had given up."""
    first = exclusive.parent(exclusive.host)
    exclusive.links.configure(first.index, netns=exclusive.host, up=False)
    exclusive.links.rename(first.index, "storage", netns=exclusive.host)
    exclusive.enter(SECOND)
    exclusive.rdma.move(SECOND, source=exclusive.pod, target=exclusive.host)
    assert "ib0" == exclusive.parent(exclusive.host, SECOND).name


def test_an_interface_that_was_moved_first_is_torn_down_all_the_same(exclusive: Scene) -> None:
    """Interface before device is the wrong order: the moved interface is gone."""
    link = exclusive.parent(exclusive.host)
    exclusive.links.configure(link.index, netns=exclusive.host, up=False)
    exclusive.links.move(link.index, source=exclusive.host, target=exclusive.pod)
    exclusive.links.configure(link.index, netns=exclusive.pod, mtu=1000)
    exclusive.enter()
    assert IB_MTUS[FIRST, 1] - 4 == exclusive.parent(exclusive.landing).mtu
    assert len(NETDEVS) == len(exclusive.names(exclusive.pod) + exclusive.names(exclusive.host))


def test_pkey_children_are_destroyed_and_not_made_again(exclusive: Scene) -> None:
    """Those of the moved device only."""
    exclusive.child("mine")
    exclusive.child("others", of=SECOND)
    exclusive.enter()
    names = exclusive.names(exclusive.host) + exclusive.names(exclusive.pod)
    assert "mine" not in names
    assert "others" in names


def test_children_in_other_namespaces_are_destroyed_too(exclusive: Scene) -> None:
    """A child that was moved away does not outlive its device's move."""
    child = exclusive.child()
    pid = exclusive.machine.start_process()
    third = exclusive.machine.namespaces.of_process(pid)
    exclusive.links.move(child.index, source=exclusive.host, target=third)
    assert [child.name] == exclusive.names(third)
    exclusive.enter()
    assert [] == exclusive.names(third)
    third.close()


def test_a_move_to_where_it_is_may_make_everything_anew(exclusive: Scene) -> None:
    """It succeeds, and older kernels destroy all the same; to newer ones it is nothing."""
    anew = not exclusive.machine.ipoib_follows_device
    child, before = exclusive.child(), exclusive.parent(exclusive.host)
    exclusive.rdma.move(FIRST, source=exclusive.host, target=exclusive.host)
    after = exclusive.parent(exclusive.host)
    assert FIRST in exclusive.rdma.names(exclusive.host)
    # In one namespace an index is not soon given again.
    assert anew == (before.index != after.index)
    assert anew == (not after.up)
    assert anew == (child.name not in exclusive.names(exclusive.host))


def test_minors_are_given_out_anew_lowest_first(exclusive: Scene) -> None:
    """A moved device takes the lowest number that is free, another's of before as well."""
    before = exclusive.numbers(CharDeviceKind.UVERBS)
    assert {FIRST: 0, SECOND: 1, DUAL: 2} == before
    exclusive.enter()
    assert before == exclusive.numbers(CharDeviceKind.UVERBS)
    exclusive.machine.pull_out(SECOND)
    exclusive.enter(DUAL)
    assert {FIRST: 0, DUAL: 1} == exclusive.numbers(CharDeviceKind.UVERBS)
    assert {FIRST: 0, DUAL: 1} == exclusive.numbers(CharDeviceKind.UMAD)


def test_a_device_that_stays_keeps_its_minors(exclusive: Scene) -> None:
    """Only a move gives numbers out."""
    exclusive.machine.pull_out(SECOND)
    assert {FIRST: 0, DUAL: 2} == exclusive.numbers(CharDeviceKind.UVERBS)


def test_nodes_stay_visible_and_tell_their_device_from_outside(exclusive: Scene) -> None:
    """A device in a pod is still found by its PCI function."""
    before = {(n.kind, n.rdma_device, n.port, n.pci) for n in exclusive.machine.char_devices()}
    exclusive.enter()
    after = {(n.kind, n.rdma_device, n.port, n.pci) for n in exclusive.machine.char_devices()}
    assert before == after


def test_nodes_open_in_the_devices_namespace_only(exclusive: Scene) -> None:
    """uverbs, umad and issm, from wherever the device is not: EPERM."""
    exclusive.enter()
    for node in exclusive.machine.char_devices():
        if node.rdma_device is None:
            continue
        in_pod = node.rdma_device == FIRST
        exclusive.machine.open_node(node.path, pid=exclusive.pid if in_pod else None)
        with refused_with(errno.EPERM):
            exclusive.machine.open_node(node.path, pid=None if in_pod else exclusive.pid)


def test_a_node_that_is_not_there_is_enoent(exclusive: Scene) -> None:
    """A device that was pulled out takes its nodes with it."""
    path = exclusive.machine.char_devices()[0].path
    for device in (DUAL, SECOND, FIRST):
        exclusive.machine.pull_out(device)
    with refused_with(errno.ENOENT):
        exclusive.machine.open_node(path, pid=None)


def test_rdma_cm_opens_anywhere(scene: Scene) -> None:
    """It serves no single device, so it has no namespace."""
    for pid in (None, scene.pid):
        scene.machine.open_node("/dev/infiniband/rdma_cm", pid=pid)


def test_only_the_interface_in_the_pod_leaves_it_without_an_hca(exclusive: Scene) -> None:
    """Moving the interface does not bring the device."""
    link = exclusive.parent(exclusive.host)
    exclusive.links.move(link.index, source=exclusive.host, target=exclusive.pod)
    assert () == exclusive.rdma.names(exclusive.pod)


def test_a_device_is_moved_back_from_the_pod(exclusive: Scene) -> None:
    """The way home costs what the way there does: a new interface, down."""
    exclusive.enter()
    made = exclusive.find(exclusive.host)
    exclusive.rdma.move(FIRST, source=exclusive.pod, target=exclusive.host)
    home = exclusive.parent(exclusive.host)
    assert () == exclusive.rdma.names(exclusive.pod)
    assert {FIRST, SECOND, DUAL} == set(exclusive.rdma.names(exclusive.host))
    assert [] == exclusive.names(exclusive.pod)
    assert (NETDEVS[FIRST, 1], False) == (home.name, home.up)
    assert made is None or made.index != home.index


def test_a_device_moves_from_one_pod_to_another(exclusive: Scene) -> None:
    """Neither of the namespaces is the host's, neither has a name: a descriptor is enough."""
    pid = exclusive.machine.start_process()
    other = exclusive.machine.namespaces.of_process(pid)
    exclusive.enter()
    exclusive.rdma.move(FIRST, source=exclusive.pod, target=other)
    assert ((), (FIRST,)) == (exclusive.rdma.names(exclusive.pod), exclusive.rdma.names(other))
    other.close()
    exclusive.machine.end_process(pid)
    assert FIRST in exclusive.rdma.names(exclusive.host)
