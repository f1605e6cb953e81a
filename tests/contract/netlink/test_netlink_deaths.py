"""Exclusive mode: what comes home when a namespace dies, and what does not."""

from __future__ import annotations

from contract.netlink.netlink_machines import DUAL, FIRST, NETDEVS, SECOND, Scene
from ibdra_domain.hardware import CharDeviceKind


def test_a_dead_namespaces_device_comes_home(exclusive: Scene) -> None:
    """With its interface made anew, down, under a fresh name."""
    before = exclusive.parent(exclusive.host)
    exclusive.enter()
    made = exclusive.find(exclusive.host)
    exclusive.die()
    home = exclusive.parent(exclusive.host)
    assert {FIRST, SECOND, DUAL} == set(exclusive.rdma.names(exclusive.host))
    assert home.index not in {before.index, made.index if made is not None else None}
    assert (NETDEVS[FIRST, 1], False) == (home.name, home.up)


def test_a_name_that_was_taken_meanwhile_is_not_given_back(exclusive: Scene) -> None:
    """The interface of a device that comes home takes the next free name."""
    exclusive.enter()
    link = exclusive.parent(exclusive.landing)
    if exclusive.landing is exclusive.host:
        exclusive.links.move(link.index, source=exclusive.host, target=exclusive.pod)
    other = exclusive.parent(exclusive.host, SECOND)
    exclusive.links.configure(other.index, netns=exclusive.host, up=False)
    exclusive.links.rename(other.index, NETDEVS[FIRST, 1], netns=exclusive.host)
    exclusive.die()
    assert NETDEVS[SECOND, 1] == exclusive.parent(exclusive.host).name
    assert NETDEVS[FIRST, 1] == exclusive.parent(exclusive.host, SECOND).name


def test_a_node_that_is_held_open_from_outside_keeps_no_namespace_alive(exclusive: Scene) -> None:
    """The device comes home from under a descriptor that was opened in the pod."""
    exclusive.enter()
    (path,) = [
        node.path
        for node in exclusive.machine.char_devices()
        if (node.rdma_device, node.kind) == (FIRST, CharDeviceKind.UVERBS)
    ]
    with exclusive.machine.keep_open(path, pid=exclusive.pid):
        exclusive.die()
        assert exclusive.machine.namespaces.find(exclusive.pod.id) is None
        assert FIRST in exclusive.rdma.names(exclusive.host)
        assert not exclusive.parent(exclusive.host).up


def test_a_device_that_is_pulled_out_in_a_pod_is_gone_for_good(exclusive: Scene) -> None:
    """With its interface; the namespace's death brings nothing home."""
    exclusive.enter(DUAL)
    exclusive.machine.pull_out(DUAL)
    for netns in (exclusive.pod, exclusive.host):
        assert DUAL not in exclusive.rdma.names(netns)
        assert exclusive.find(netns, DUAL) is None
    exclusive.die()
    assert {FIRST, SECOND} == set(exclusive.rdma.names(exclusive.host))
    assert exclusive.find(exclusive.host, DUAL) is None


def test_two_that_come_home_may_have_their_names_swapped(exclusive: Scene) -> None:
    """The first to come takes the first free name, whosever it was."""
    pid = exclusive.machine.start_process()
    other = exclusive.machine.namespaces.of_process(pid)
    exclusive.enter(FIRST)
    exclusive.rdma.move(SECOND, source=exclusive.host, target=other)
    for name, netns in ((FIRST, exclusive.pod), (SECOND, other)):
        found = exclusive.find(exclusive.host, name)
        if found is not None:  # an older kernel made it at home
            exclusive.links.rename(found.index, f"away-{name}", netns=exclusive.host)
            exclusive.links.move(found.index, source=exclusive.host, target=netns)
    exclusive.machine.end_process(pid)
    other.close()
    exclusive.machine.settle()
    exclusive.die()
    assert "ib0" == exclusive.parent(exclusive.host, SECOND).name
    assert "ib1" == exclusive.parent(exclusive.host, FIRST).name


def test_children_in_a_dead_namespace_are_gone(exclusive: Scene) -> None:
    """They do not come home in exclusive mode."""
    exclusive.enter()
    link = exclusive.parent(exclusive.landing)
    if exclusive.landing is exclusive.host:
        exclusive.links.rename(link.index, "inside", netns=exclusive.host)
        exclusive.links.move(link.index, source=exclusive.host, target=exclusive.pod)
    exclusive.links.add_pkey_child(link.index, name="tenant", pkey=0x8001, netns=exclusive.pod)
    assert "tenant" in exclusive.names(exclusive.pod)
    exclusive.die()
    assert "tenant" not in exclusive.names(exclusive.host)


def test_a_process_left_in_the_namespace_keeps_the_device_away(exclusive: Scene) -> None:
    """An open handle does as well: the device comes home with the last of them."""
    exclusive.enter()
    exclusive.machine.end_process(exclusive.pid)
    assert (FIRST,) == exclusive.rdma.names(exclusive.pod)
    assert FIRST not in exclusive.rdma.names(exclusive.host)
    exclusive.pod.close()
    exclusive.machine.settle()
    assert FIRST in exclusive.rdma.names(exclusive.host)


def test_an_interface_of_a_device_at_home_survives_the_namespace(exclusive: Scene) -> None:
    """It comes home itself, the same one (its index was free), down."""
    link = exclusive.parent(exclusive.host)
    exclusive.links.move(link.index, source=exclusive.host, target=exclusive.pod)
    exclusive.die()
    home = exclusive.parent(exclusive.host)
    assert (link.index, link.name, False) == (home.index, home.name, home.up)
