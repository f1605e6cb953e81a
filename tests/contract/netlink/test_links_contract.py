"""IPoIB interfaces: names, MTUs and pkey children, on every kernel.

Each test is one fact that was measured on stock kernels.
"""

from __future__ import annotations

import errno

import pytest

from contract.netlink.netlink_machines import (
    FIRST,
    SECOND,
    Machine,
    Pod,
    add_child,
    at,
    children_of,
    refused_with,
    the_port,
)
from ibdra_domain.ports.netlink import Netns

FULL = 0x8001
NOT_IN_ANY_TABLE = 0x8ABC


def test_a_child_has_its_parents_port_and_starts_down(machine: Machine, host: Netns) -> None:
    """It carries the pkey, its parent's index and the port's GUID; bringing it up works."""
    parent = the_port(machine, FIRST, host)
    child = add_child(machine, FIRST, host, name="ib0.8001", pkey=FULL)
    assert (FULL, parent.index, FIRST.guid) == (child.pkey, child.parent, child.port_guid)
    assert not child.up
    machine.links.configure(child.index, netns=host, up=True)
    assert at(machine, child.index, host).up


@pytest.mark.parametrize("pkey", [0x0000, 0x8000])
def test_partition_zero_is_refused(machine: Machine, host: Netns, pkey: int) -> None:
    """EINVAL with either membership bit, and no child is made."""
    with refused_with(errno.EINVAL):
        add_child(machine, FIRST, host, name="ib0.x", pkey=pkey)
    assert [] == children_of(machine, FIRST, host)


def test_a_limited_pkey_becomes_a_full_one(machine: Machine, host: Netns) -> None:
    """The kernel accepts 0x0001 and adds the membership bit."""
    child = add_child(machine, FIRST, host, name="ib0.0001", pkey=0x0001)
    assert FULL == child.pkey


def test_a_pkey_outside_the_table_is_accepted(machine: Machine, host: Netns) -> None:
    """The kernel does not look into the port's partition table; somebody else must."""
    child = add_child(machine, FIRST, host, name="ib0.8abc", pkey=NOT_IN_ANY_TABLE)
    assert NOT_IN_ANY_TABLE == child.pkey


def test_duplicates_are_accepted_under_other_names(machine: Machine, host: Netns) -> None:
    """Two children of one partition may exist; only the name must be free."""
    add_child(machine, FIRST, host, name="one", pkey=FULL)
    add_child(machine, FIRST, host, name="two", pkey=FULL)
    assert {"one", "two"} == {x.name for x in children_of(machine, FIRST, host)}
    with refused_with(errno.EEXIST):
        add_child(machine, FIRST, host, name="two", pkey=0x8002)


def test_a_child_has_no_children(machine: Machine, host: Netns) -> None:
    """EINVAL for a child of a child."""
    child = add_child(machine, FIRST, host, name="ib0.8001")
    with refused_with(errno.EINVAL):
        machine.links.add_pkey_child(child.index, name="ib0.8002", pkey=0x8002, netns=host)


def test_removing_a_child_leaves_its_parent(machine: Machine, host: Netns) -> None:
    """The child is gone, the parent as it was; a second removal is ENODEV."""
    parent = the_port(machine, FIRST, host)
    child = add_child(machine, FIRST, host, name="ib0.8001")
    machine.links.remove(child.index, netns=host)
    assert [] == children_of(machine, FIRST, host)
    assert parent == the_port(machine, FIRST, host)
    with refused_with(errno.ENODEV):
        machine.links.remove(child.index, netns=host)


def test_removing_a_parent_does_nothing_and_says_nothing(machine: Machine, host: Netns) -> None:
    """The kernel answers with success and keeps the interface and its children."""
    add_child(machine, FIRST, host, name="ib0.8001")
    before = machine.links.list(host)
    machine.links.remove(the_port(machine, FIRST, host).index, netns=host)
    assert before == machine.links.list(host)


def test_the_largest_mtu_is_infinibands_less_four(machine: Machine, host: Netns) -> None:
    """IPoIB's header takes four bytes: 2044 of 2048, 4092 of 4096, and not a byte more."""
    for hca in (FIRST, SECOND):
        link = the_port(machine, hca, host)
        machine.links.configure(link.index, netns=host, mtu=hca.mtu - 4)
        with refused_with(errno.EINVAL):
            machine.links.configure(link.index, netns=host, mtu=hca.mtu - 3)
        assert hca.mtu - 4 == the_port(machine, hca, host).mtu


def test_a_smaller_mtu_is_taken_and_the_rest_stays(machine: Machine, host: Netns) -> None:
    """MTU and state are set one by one or together; what is None is left alone."""
    link = the_port(machine, FIRST, host)
    machine.links.configure(link.index, netns=host, mtu=1020)
    assert (1020, True) == (at(machine, link.index, host).mtu, at(machine, link.index, host).up)
    machine.links.configure(link.index, netns=host, up=False)
    assert (1020, False) == (at(machine, link.index, host).mtu, at(machine, link.index, host).up)
    machine.links.configure(link.index, netns=host, mtu=2044, up=True)
    assert (2044, True) == (at(machine, link.index, host).mtu, at(machine, link.index, host).up)


def test_an_interface_is_renamed_while_down(machine: Machine, host: Netns) -> None:
    """It keeps its index under the new name, and the old name is free again."""
    link = the_port(machine, FIRST, host)
    machine.links.configure(link.index, netns=host, up=False)
    machine.links.rename(link.index, "storage", netns=host)
    assert "storage" == at(machine, link.index, host).name
    add_child(machine, SECOND, host, name=FIRST.netdev)


def test_a_name_that_is_taken_is_refused(machine: Machine, host: Netns) -> None:
    """EEXIST, and the interface keeps its name; its own name again is a success."""
    link = the_port(machine, FIRST, host)
    machine.links.configure(link.index, netns=host, up=False)
    with refused_with(errno.EEXIST):
        machine.links.rename(link.index, SECOND.netdev, netns=host)
    machine.links.rename(link.index, FIRST.netdev, netns=host)
    assert FIRST.netdev == the_port(machine, FIRST, host).name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "sixteen-letters!", "fünfzehn-zeichn"],
    ids=["empty", "dot", "dots", "slash", "colon", "space", "tab", "sixteen", "sixteen-bytes"],
)
def test_an_impossible_name_is_refused(machine: Machine, host: Netns, name: str) -> None:
    """EINVAL, for a new interface and for a renamed one."""
    link = the_port(machine, FIRST, host)
    machine.links.configure(link.index, netns=host, up=False)
    with refused_with(errno.EINVAL):
        machine.links.rename(link.index, name, netns=host)
    with refused_with(errno.EINVAL):
        machine.links.add_pkey_child(link.index, name=name, pkey=FULL, netns=host)


def test_the_longest_name_has_fifteen_bytes(machine: Machine, host: Netns) -> None:
    """Fifteen letters are a name."""
    assert "fifteen-letters" == add_child(machine, FIRST, host, name="fifteen-letters").name


def test_an_interface_that_is_gone_is_no_device(machine: Machine, pod: Pod, host: Netns) -> None:
    """ENODEV for every request, with an index of another namespace or of an earlier life."""
    index = the_port(machine, FIRST, host).index
    machine.unplug(FIRST.name)
    foreign = the_port(machine, SECOND, host).index
    for netns, gone in ((host, index), (pod.netns, foreign)):
        with refused_with(errno.ENODEV):
            machine.links.move(gone, source=netns, target=host)
        with refused_with(errno.ENODEV):
            machine.links.rename(gone, "other", netns=netns)
        with refused_with(errno.ENODEV):
            machine.links.configure(gone, netns=netns, up=True)
        with refused_with(errno.ENODEV):
            machine.links.add_pkey_child(gone, name="ib0.8001", pkey=FULL, netns=netns)
        with refused_with(errno.ENODEV):
            machine.links.remove(gone, netns=netns)
