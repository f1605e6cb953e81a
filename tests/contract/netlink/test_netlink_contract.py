"""Namespaces, and RDMA devices in exclusive mode: what the kernel does when one is moved.

Each test is one fact that was measured on stock kernels.
"""

from __future__ import annotations

import errno
from contextlib import closing

import pytest

from contract.netlink.netlink_machines import (
    FIRST,
    HCAS,
    SECOND,
    THIRD,
    HcaFacts,
    Machine,
    Pod,
    add_child,
    children_of,
    minor_of,
    port_of,
    refused_with,
    take,
    the_port,
    whereabouts,
)
from ibdra_domain.hardware import CharDeviceKind, RdmaIsolation
from ibdra_domain.ports.netlink import Netns


def born_in(machine: Machine, pod: Pod, host: Netns) -> Netns:
    """Give the namespace where this kernel makes the interface of a device in the pod."""
    return pod.netns if machine.interface_follows else host


def bring(machine: Machine, hca: HcaFacts, pod: Pod, host: Netns) -> None:
    """Move a device into the pod, and its interface after it where that is needed."""
    take(machine, hca, pod)
    left = port_of(machine, hca, host)
    if left is not None:
        machine.links.move(left.index, source=host, target=pod.netns)


# -- namespaces ------------------------------------------------------------------------


def test_the_host_has_every_device_and_interface(machine: Machine, host: Netns) -> None:
    """At first all devices and interfaces are at home, the interfaces up."""
    assert tuple(h.name for h in HCAS) == machine.rdma.names(host)
    for hca in HCAS:
        link = the_port(machine, hca, host)
        assert (hca.netdev, hca.mtu - 4, True) == (link.name, link.mtu, link.up)


def test_a_process_of_its_own_namespace_sees_nothing(machine: Machine, pod: Pod) -> None:
    """A new namespace has neither RDMA devices nor IPoIB interfaces."""
    assert () == machine.rdma.names(pod.netns)
    assert () == tuple(x for x in machine.links.list(pod.netns) if x.port_guid)


def test_a_process_that_is_gone_has_no_namespace(machine: Machine) -> None:
    """The namespace of an ended process is refused with ESRCH."""
    pid = machine.start_process()
    machine.end_process(pid)
    with refused_with(errno.ESRCH):
        machine.namespaces.of_process(pid)


def test_namespaces_are_told_apart_and_found_again(machine: Machine, pod: Pod, host: Netns) -> None:
    """Two handles of one namespace have one id, and the id leads to a third."""
    assert host.id != pod.netns.id
    with closing(machine.namespaces.of_process(pod.pid)) as again:
        assert pod.netns.id == again.id
    found = machine.namespaces.find(pod.netns.id)
    assert found is not None
    with closing(found):
        assert pod.netns.id == found.id


def test_a_dead_namespace_is_not_found(machine: Machine, pod: Pod) -> None:
    """The id of a namespace that nothing keeps alive leads nowhere."""
    pod.die()
    assert machine.namespaces.find(pod.netns.id) is None


def test_closing_a_handle_twice_is_harmless(machine: Machine, pod: Pod) -> None:
    """The second close does nothing, to this handle and to others of the namespace."""
    handle = machine.namespaces.of_process(pod.pid)
    handle.close()
    handle.close()
    assert 1 == machine.open_handles()


# -- the machine's mode ----------------------------------------------------------------


@pytest.mark.parametrize("first", list(RdmaIsolation))
def test_the_mode_is_busy_both_ways(machine: Machine, first: RdmaIsolation) -> None:
    """EBUSY while any other namespace exists; without one, both switches succeed."""
    machine.rdma.set_isolation(first)
    other = next(mode for mode in RdmaIsolation if mode is not first)
    pid = machine.start_process()
    with refused_with(errno.EBUSY):
        machine.rdma.set_isolation(other)
    assert first is machine.rdma.isolation()
    machine.end_process(pid)
    machine.rdma.set_isolation(other)
    assert other is machine.rdma.isolation()


def test_a_namespace_that_is_only_held_keeps_the_mode_busy(machine: Machine, pod: Pod) -> None:
    """A handle without any process is enough for EBUSY."""
    machine.end_process(pod.pid)
    with refused_with(errno.EBUSY):
        machine.rdma.set_isolation(RdmaIsolation.SHARED)


@pytest.mark.usefixtures("pod")
def test_setting_the_mode_there_is_succeeds(machine: Machine) -> None:
    """The same mode again is no change, whatever other namespaces exist."""
    machine.rdma.set_isolation(RdmaIsolation.EXCLUSIVE)
    assert RdmaIsolation.EXCLUSIVE is machine.rdma.isolation()


# -- moving a device -------------------------------------------------------------------


def test_a_moved_device_is_seen_in_its_namespace_only(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """The target has it, the source has lost it, the others stay where they were."""
    take(machine, FIRST, pod)
    assert (FIRST.name,) == machine.rdma.names(pod.netns)
    assert (SECOND.name, THIRD.name) == machine.rdma.names(host)


def test_a_move_makes_the_interface_anew(machine: Machine, pod: Pod, host: Netns) -> None:
    """New index, down, the port's GUID, the largest MTU, in one namespace only."""
    before = the_port(machine, SECOND, host)
    machine.links.configure(before.index, netns=host, mtu=2044)
    take(machine, SECOND, pod)
    after = the_port(machine, SECOND, born_in(machine, pod, host))
    assert before.index != after.index
    assert (False, SECOND.mtu - 4) == (after.up, after.mtu)
    elsewhere = host if machine.interface_follows else pod.netns
    assert port_of(machine, SECOND, elsewhere) is None


def test_the_new_interface_has_the_first_free_name(machine: Machine, pod: Pod, host: Netns) -> None:
    """It is the lowest ``ib%d`` that is free where the interface appears."""
    the_first = the_port(machine, FIRST, host)
    machine.links.configure(the_first.index, netns=host, up=False)
    machine.links.rename(the_first.index, "storage", netns=host)
    take(machine, SECOND, pod)
    assert "ib0" == the_port(machine, SECOND, born_in(machine, pod, host)).name
    take(machine, THIRD, pod)
    assert "ib1" == the_port(machine, THIRD, born_in(machine, pod, host)).name


def test_a_move_destroys_all_pkey_children(machine: Machine, pod: Pod, host: Netns) -> None:
    """Children go with the interface they sit on, also one that lives in a third namespace."""
    third = Pod(machine)
    add_child(machine, FIRST, host, name="ib0.8001")
    far = add_child(machine, FIRST, host, name="ib0.8002", pkey=0x8002)
    machine.links.move(far.index, source=host, target=third.netns)
    other = add_child(machine, SECOND, host, name="ib1.8001")
    take(machine, FIRST, pod)
    assert [] == children_of(machine, FIRST, host, pod.netns, third.netns)
    assert [other] == children_of(machine, SECOND, host)
    third.die()


def test_a_move_destroys_an_interface_that_was_moved_before(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """The interface first and the device second loses the interface that was prepared."""
    link = the_port(machine, FIRST, host)
    machine.links.move(link.index, source=host, target=pod.netns)
    take(machine, FIRST, pod)
    assert link.index not in {x.index for x in machine.links.list(pod.netns)}
    assert port_of(machine, FIRST, born_in(machine, pod, host)) is not None


def test_moving_the_interface_alone_leaves_the_pod_without_an_hca(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """The RDMA device stays behind in exclusive mode."""
    machine.links.move(the_port(machine, FIRST, host).index, source=host, target=pod.netns)
    assert not whereabouts(machine, FIRST, pod.netns)
    assert whereabouts(machine, FIRST, host)


def test_a_move_to_where_it_is_destroys_all_the_same(machine: Machine, host: Netns) -> None:
    """It succeeds, and is no no-op: the interface is another, its children are gone."""
    before = the_port(machine, FIRST, host)
    add_child(machine, FIRST, host, name="ib0.8001")
    machine.rdma.move(FIRST.name, source=host, target=host)
    after = the_port(machine, FIRST, host)
    assert (True, False) == (before.index != after.index, after.up)
    assert [] == children_of(machine, FIRST, host)


def test_minors_are_given_out_anew_lowest_first(machine: Machine, pod: Pod) -> None:
    """A device takes the lowest numbers that are free when it moves."""
    kinds = (CharDeviceKind.UVERBS, CharDeviceKind.UMAD, CharDeviceKind.ISSM)
    assert [2, 2, 2] == [minor_of(machine, THIRD, kind) for kind in kinds]
    machine.unplug(FIRST.name)
    take(machine, THIRD, pod)
    assert [0, 0, 0] == [minor_of(machine, THIRD, kind) for kind in kinds]
    assert [1, 1, 1] == [minor_of(machine, SECOND, kind) for kind in kinds]


def test_nodes_stay_listed_wherever_their_device_is(machine: Machine, pod: Pod) -> None:
    """The host lists the nodes of a device in another namespace, with its PCI function."""
    take(machine, FIRST, pod)
    listed = {n.pci for n in machine.char_devices() if n.kind is CharDeviceKind.UVERBS}
    assert {hca.pci for hca in HCAS} == listed


@pytest.mark.parametrize("kind", [CharDeviceKind.UVERBS, CharDeviceKind.UMAD, CharDeviceKind.ISSM])
def test_nodes_open_from_their_devices_namespace_only(
    machine: Machine, pod: Pod, host: Netns, kind: CharDeviceKind
) -> None:
    """EPERM from any other namespace, before the move and after it."""

    def path() -> str:
        return next(n.path for n in machine.char_devices() if n.pci == FIRST.pci and n.kind is kind)

    machine.open_node(path(), host.id)
    with refused_with(errno.EPERM):
        machine.open_node(path(), pod.netns.id)
    take(machine, FIRST, pod)
    machine.open_node(path(), pod.netns.id)
    with refused_with(errno.EPERM):
        machine.open_node(path(), host.id)


def test_rdma_cm_opens_anywhere(machine: Machine, pod: Pod, host: Netns) -> None:
    """The connection manager's node belongs to no device and to no namespace."""
    path = next(n.path for n in machine.char_devices() if n.kind is CharDeviceKind.RDMA_CM)
    machine.open_node(path, host.id)
    machine.open_node(path, pod.netns.id)


def test_a_device_is_not_moved_from_where_it_is_not(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """ENODEV for the wrong source, an unknown name and a device that was unplugged."""
    with refused_with(errno.ENODEV):
        machine.rdma.move(FIRST.name, source=pod.netns, target=host)
    with refused_with(errno.ENODEV):
        machine.rdma.move("mlx5_9", source=host, target=pod.netns)
    machine.unplug(FIRST.name)
    with refused_with(errno.ENODEV):
        machine.rdma.move(FIRST.name, source=host, target=pod.netns)
    assert (SECOND.name, THIRD.name) == machine.rdma.names(host)
    assert port_of(machine, FIRST, host) is None


# -- a namespace dies ------------------------------------------------------------------


def test_a_dying_namespace_sends_its_devices_home(machine: Machine, pod: Pod, host: Netns) -> None:
    """Devices return by themselves, with a new interface under a fresh name, down."""
    for hca in (FIRST, SECOND):
        take(machine, hca, pod)
    pod.die()
    assert {hca.name for hca in HCAS} == set(machine.rdma.names(host))
    returned = [the_port(machine, hca, host) for hca in (FIRST, SECOND)]
    assert {"ib0", "ib1"} == {link.name for link in returned}
    assert [False, False] == [link.up for link in returned]


def test_names_shift_on_the_way_home(machine: Machine, pod: Pod, host: Netns) -> None:
    """A returning interface takes the lowest name that is free, be it another's."""
    other = Pod(machine)
    bring(machine, FIRST, pod, host)
    bring(machine, SECOND, other, host)
    other.die()
    pod.die()
    assert "ib0" == the_port(machine, SECOND, host).name
    assert "ib1" == the_port(machine, FIRST, host).name


def test_a_dying_namespace_kills_the_children_in_it(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """In exclusive mode the children of a pod's device do not survive the pod."""
    bring(machine, FIRST, pod, host)
    add_child(machine, FIRST, pod.netns, name="ib0.8001")
    pod.die()
    assert [] == children_of(machine, FIRST, host)


def test_an_open_handle_keeps_a_namespace_alive(machine: Machine, pod: Pod, host: Netns) -> None:
    """The devices stay away after the last process has ended, until the handle is closed."""
    take(machine, FIRST, pod)
    machine.end_process(pod.pid)
    assert whereabouts(machine, FIRST, pod.netns)
    assert not whereabouts(machine, FIRST, host)
    pod.netns.close()
    assert whereabouts(machine, FIRST, host)


def test_a_process_left_behind_keeps_a_namespace_alive(
    machine: Machine, pod: Pod, host: Netns
) -> None:
    """The devices stay away until the last process of the namespace has ended."""
    second = machine.start_process(beside=pod.pid)
    take(machine, FIRST, pod)
    pod.die()
    assert not whereabouts(machine, FIRST, host)
    machine.end_process(second)
    assert whereabouts(machine, FIRST, host)
