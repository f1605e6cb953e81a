"""RDMA devices and interfaces in shared mode: nothing moves but the interface.

Each test is one fact that was measured on stock kernels.
"""

from __future__ import annotations

import errno

from contract.netlink.netlink_machines import (
    FIRST,
    HCAS,
    SECOND,
    Machine,
    Pod,
    add_child,
    at,
    children_of,
    port_of,
    refused_with,
    the_port,
)
from ibdra_domain.ports.netlink import Netns


def move_in(machine: Machine, pod: Pod, host: Netns) -> int:
    """Move the first HCA's interface into the pod; give its index."""
    index = the_port(machine, FIRST, host).index
    machine.links.move(index, source=host, target=pod.netns)
    return index


def test_devices_are_visible_everywhere(shared: Machine, pod: Pod, host: Netns) -> None:
    """Every namespace lists and opens every device."""
    names = tuple(hca.name for hca in HCAS)
    assert names == shared.rdma.names(host)
    assert names == shared.rdma.names(pod.netns)
    for node in shared.char_devices():
        shared.open_node(node.path, pod.netns.id)


def test_devices_cannot_be_moved(shared: Machine, pod: Pod, host: Netns) -> None:
    """EOPNOTSUPP, and the interface is as it was."""
    before = shared.links.list(host)
    with refused_with(errno.EOPNOTSUPP):
        shared.rdma.move(FIRST.name, source=host, target=pod.netns)
    assert before == shared.links.list(host)


def test_a_moved_interface_keeps_index_and_name(shared: Machine, pod: Pod, host: Netns) -> None:
    """It is the same interface in another namespace, and down."""
    index = move_in(shared, pod, host)
    moved = the_port(shared, FIRST, pod.netns)
    assert (index, FIRST.netdev, False) == (moved.index, moved.name, moved.up)
    assert port_of(shared, FIRST, host) is None


def test_children_stay_behind_down(shared: Machine, pod: Pod, host: Netns) -> None:
    """A pkey child stays where it was, still the child of that interface, and goes down."""
    child = add_child(shared, FIRST, host, name="ib0.8001")
    shared.links.configure(child.index, netns=host, up=True)
    index = move_in(shared, pod, host)
    (left,) = children_of(shared, FIRST, host)
    assert (child.index, "ib0.8001", index, False) == (left.index, left.name, left.parent, left.up)
    assert [] == children_of(shared, FIRST, pod.netns)


def test_a_dying_namespace_returns_interface_and_children(
    shared: Machine, pod: Pod, host: Netns
) -> None:
    """Both come home down, under the names they had inside; nothing is destroyed."""
    index = move_in(shared, pod, host)
    shared.links.rename(index, "fabric", netns=pod.netns)
    shared.links.configure(index, netns=pod.netns, mtu=1020, up=True)
    child = add_child(shared, FIRST, pod.netns, name="tenant")
    shared.links.configure(child.index, netns=pod.netns, up=True)
    pod.die()
    returned = the_port(shared, FIRST, host)
    expected = (index, "fabric", 1020, False)
    assert expected == (returned.index, returned.name, returned.mtu, returned.up)
    (orphan,) = children_of(shared, FIRST, host)
    assert (child.index, "tenant", index, False) == (
        orphan.index,
        orphan.name,
        orphan.parent,
        orphan.up,
    )


def test_a_name_that_is_taken_at_home_becomes_dev_and_index(
    shared: Machine, pod: Pod, host: Netns
) -> None:
    """Parent and child whose names are taken are named ``dev<index>`` by the kernel."""
    index = move_in(shared, pod, host)
    child = add_child(shared, FIRST, pod.netns, name="ib1.8001")
    shared.links.rename(index, SECOND.netdev, netns=pod.netns)
    add_child(shared, SECOND, host, name="ib1.8001")
    pod.die()
    assert f"dev{index}" == the_port(shared, FIRST, host).name
    assert f"dev{child.index}" == at(shared, child.index, host).name
    assert SECOND.netdev == the_port(shared, SECOND, host).name


def test_an_interface_whose_name_is_taken_there_is_not_moved(
    shared: Machine, pod: Pod, host: Netns
) -> None:
    """EEXIST, and it stays as it was."""
    index = move_in(shared, pod, host)
    shared.links.rename(index, SECOND.netdev, netns=pod.netns)
    before = the_port(shared, SECOND, host)
    with refused_with(errno.EEXIST):
        shared.links.move(before.index, source=host, target=pod.netns)
    assert before == the_port(shared, SECOND, host)


def test_moving_an_interface_to_where_it_is_changes_nothing(shared: Machine, host: Netns) -> None:
    """Unlike an RDMA device, an interface stays as it is: up, and with its children."""
    add_child(shared, FIRST, host, name="ib0.8001")
    before = shared.links.list(host)
    shared.links.move(the_port(shared, FIRST, host).index, source=host, target=host)
    assert before == shared.links.list(host)
