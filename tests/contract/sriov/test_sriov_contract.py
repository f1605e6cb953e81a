"""The contract of the SR-IOV ports: how VFs come, bind, go, and learn who they are."""

from __future__ import annotations

import errno

import pytest

from contract.netlink.kernel_machine import eventually
from contract.netlink.netlink_machines import refused_with
from contract.sriov.sriov_machines import (
    DRIVER,
    PFS,
    TOTAL,
    Machine,
    function,
    hca_of,
    interface,
    made,
    netdev_of,
    nodes_of,
    settled,
    vfs_of,
)
from ibdra_domain.hardware import CharDeviceKind, RdmaIsolation
from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress
from ibdra_domain.inventory import FunctionType, function_type
from ibdra_domain.ports.sriov import VfLinkState

PF = PFS[0]
NODE, PORT = Guid("0011:2233:4455:6677"), Guid("0011:2233:4455:6688")
NOWHERE = PciAddress("0000:f9:00.0")


def test_a_pf_says_what_is_possible(machine: Machine) -> None:
    """None made, 8 possible, drivers bind by themselves."""
    for pf in PFS:
        found = function(machine, pf)
        assert (TOTAL, 0, True) == (found.total_vfs, found.num_vfs, found.autoprobe)


def test_a_vf_is_a_whole_device(machine: Machine) -> None:
    """It has an RDMA device, an interface, three nodes, and is known as its PF's."""
    vfs = made(machine, 3)
    assert 3 == len(set(vfs))
    assert 3 == function(machine, PF).num_vfs
    names = set()
    for vf in vfs:
        found = function(machine, vf)
        assert (PF, FunctionType.VF, DRIVER) == (found.physfn, function_type(found), found.driver)
        assert function(machine, PF).numa_node == found.numa_node
        names.add(settled(machine, vf).name)
        assert {CharDeviceKind.UVERBS, CharDeviceKind.UMAD, CharDeviceKind.ISSM} == set(
            nodes_of(machine, vf)
        )
    assert 3 == len(names)


def test_all_possible_vfs_can_be_had(machine: Machine) -> None:
    """As many as sriov_totalvfs says, each with an interface of its own name."""
    vfs = made(machine, TOTAL)
    netdevs = [netdev_of(machine, vf) for vf in vfs]
    assert TOTAL == len({n.name for n in netdevs if n is not None})


@pytest.mark.parametrize(
    ("count", "code"),
    [(TOTAL + 1, errno.ERANGE), (0xFFFF, errno.ERANGE), (-1, errno.EINVAL), (65536, errno.EINVAL)],
)
def test_a_count_out_of_range_is_refused(machine: Machine, count: int, code: int) -> None:
    """Above the total ERANGE; what is no number of VFs EINVAL; nothing is made."""
    with refused_with(code):
        machine.sriov.set_num_vfs(PF, count)
    assert 0 == function(machine, PF).num_vfs


def test_one_count_does_not_become_another(machine: Machine) -> None:
    """EBUSY up and down; the same count is a success and touches nothing."""
    vfs = made(machine, 2)
    before = [settled(machine, vf) for vf in vfs]
    for count in (1, 3):
        with refused_with(errno.EBUSY):
            machine.sriov.set_num_vfs(PF, count)
    machine.sriov.set_num_vfs(PF, 2)
    assert vfs == vfs_of(machine, PF)
    assert before == [hca_of(machine, vf) for vf in vfs]


def test_none_removes_all(machine: Machine) -> None:
    """The functions go, with all that is above them; the PF stays as it was."""
    before = machine.sysfs.read()
    vfs = made(machine, 2)
    machine.sriov.set_num_vfs(PF, 0)
    eventually(lambda: before == machine.sysfs.read())
    assert not [node for vf in vfs for node in nodes_of(machine, vf)]


def test_none_removes_a_vf_also_from_another_namespace(machine: Machine) -> None:
    """The kernel asks nobody: this is why the driver never writes 0."""
    if machine.rdma.isolation() is RdmaIsolation.SHARED:
        machine.rdma.set_isolation(RdmaIsolation.EXCLUSIVE)
    (vf,) = made(machine, 1)
    name = settled(machine, vf).name
    host, pod = (
        machine.namespaces.host(),
        machine.namespaces.of_process(machine.start_process()),
    )
    try:
        machine.rdma.move(name, source=host, target=pod)
        assert (name,) == machine.rdma.names(pod)
        with refused_with(errno.EBUSY):
            machine.sriov.set_num_vfs(PF, 2)
        machine.sriov.set_num_vfs(PF, 0)
        eventually(lambda: () == machine.rdma.names(pod))
        assert [] == vfs_of(machine, PF)
    finally:
        pod.close()
        host.close()


def test_a_function_without_sriov_has_no_switches(machine: Machine) -> None:
    """ENOENT for a VF, and for a function that is not there."""
    (vf,) = made(machine, 1)
    for address in (vf, NOWHERE):
        with refused_with(errno.ENOENT):
            machine.sriov.set_num_vfs(address, 1)
        with refused_with(errno.ENOENT):
            machine.sriov.set_autoprobe(address, enabled=True)


def test_without_autoprobe_vfs_stay_unbound(machine: Machine) -> None:
    """They are functions without driver; turning autoprobe on again binds none of them."""
    machine.sriov.set_autoprobe(PF, enabled=False)
    assert function(machine, PF).autoprobe is False
    machine.sriov.set_num_vfs(PF, 2)
    machine.sriov.set_autoprobe(PF, enabled=True)
    vfs = vfs_of(machine, PF)
    assert [None, None] == [function(machine, vf).driver for vf in vfs]
    assert [None, None] == [hca_of(machine, vf) for vf in vfs]
    machine.sriov.bind(vfs[1], DRIVER)
    settled(machine, vfs[1])
    assert hca_of(machine, vfs[0]) is None


def test_without_autoprobe_a_vf_cannot_even_be_bound(machine: Machine) -> None:
    """ENODEV: the switch is to be on again before the first VF is bound."""
    machine.sriov.set_autoprobe(PF, enabled=False)
    machine.sriov.set_num_vfs(PF, 1)
    (vf,) = vfs_of(machine, PF)
    with refused_with(errno.ENODEV):
        machine.sriov.bind(vf, DRIVER)
    machine.sriov.set_autoprobe(PF, enabled=True)
    machine.sriov.bind(vf, DRIVER)
    settled(machine, vf)


def test_unbinding_takes_the_device_away_and_binding_brings_it(machine: Machine) -> None:
    """The function stays; the other VF is not touched."""
    vf, other = made(machine, 2)
    before = settled(machine, other)
    machine.sriov.unbind(vf)
    eventually(lambda: hca_of(machine, vf) is None and not nodes_of(machine, vf))
    assert function(machine, vf).driver is None
    assert netdev_of(machine, vf) is None
    machine.sriov.bind(vf, DRIVER)
    settled(machine, vf)
    assert before == hca_of(machine, other)


def test_unbinding_twice_is_unbinding_once(machine: Machine) -> None:
    """A function without a driver is what was asked for."""
    (vf,) = made(machine, 1)
    machine.sriov.unbind(vf)
    machine.sriov.unbind(vf)
    assert function(machine, vf).driver is None


def test_a_bound_function_is_not_bound_again(machine: Machine) -> None:
    """EBUSY, and it stays as it is."""
    (vf,) = made(machine, 1)
    with refused_with(errno.EBUSY):
        machine.sriov.bind(vf, DRIVER)
    settled(machine, vf)


def test_what_is_not_there_is_neither_bound_nor_unbound(machine: Machine) -> None:
    """ENODEV for a function, and for a driver."""
    (vf,) = made(machine, 1)
    machine.sriov.unbind(vf)
    with refused_with(errno.ENODEV):
        machine.sriov.bind(NOWHERE, DRIVER)
    with refused_with(errno.ENODEV):
        machine.sriov.bind(vf, "no_such_driver")
    with refused_with(errno.ENODEV):
        machine.sriov.unbind(NOWHERE)


def test_each_vfs_settings_are_told_by_index(machine: Machine) -> None:
    """All VFs there are, each with two GUIDs and a link state; none without VFs."""
    with interface(machine) as (index, host):
        assert () == machine.vf_attributes.read(index, netns=host)
        made(machine, 3)
        found = machine.vf_attributes.read(index, netns=host)
    assert [0, 1, 2] == [vf.index for vf in found]
    assert all(None not in (vf.node_guid, vf.port_guid, vf.link_state) for vf in found)


def test_guids_are_told_at_once_and_taken_at_the_next_binding(machine: Machine) -> None:
    """Node and port GUID are set apart, on one VF only."""
    vf, other = made(machine, 2)
    before, untouched = settled(machine, vf), settled(machine, other)
    with interface(machine) as (index, host):
        machine.vf_attributes.set_node_guid(index, 0, NODE, netns=host)
        first, second = machine.vf_attributes.read(index, netns=host)
        assert NODE == first.node_guid
        assert PORT != first.port_guid
        machine.vf_attributes.set_port_guid(index, 0, PORT, netns=host)
        first, again = machine.vf_attributes.read(index, netns=host)
    assert (NODE, PORT) == (first.node_guid, first.port_guid)
    assert second == again
    assert before == hca_of(machine, vf)
    machine.sriov.unbind(vf)
    machine.sriov.bind(vf, DRIVER)
    after = settled(machine, vf)
    netdev = netdev_of(machine, vf)
    assert netdev is not None
    assert (NODE, f"fe80:0000:0000:0000:{PORT}", PORT) == (
        after.node_guid,
        after.ports[0].gid0,
        netdev.port_guid,
    )
    assert untouched == hca_of(machine, other)


def test_guids_set_before_the_first_binding_are_the_vfs(machine: Machine) -> None:
    """Made without autoprobe, a VF never shows any other GUID."""
    machine.sriov.set_autoprobe(PF, enabled=False)
    machine.sriov.set_num_vfs(PF, 1)
    with interface(machine) as (index, host):
        machine.vf_attributes.set_node_guid(index, 0, NODE, netns=host)
        machine.vf_attributes.set_port_guid(index, 0, PORT, netns=host)
    machine.sriov.set_autoprobe(PF, enabled=True)
    (vf,) = vfs_of(machine, PF)
    machine.sriov.bind(vf, DRIVER)
    assert NODE == settled(machine, vf).node_guid


def test_a_zero_guid_can_be_set(machine: Machine) -> None:
    """The kernel does not mind: whoever sets GUIDs must."""
    (vf,) = made(machine, 1)
    with interface(machine) as (index, host):
        machine.vf_attributes.set_node_guid(index, 0, ZERO_GUID, netns=host)
    machine.sriov.unbind(vf)
    machine.sriov.bind(vf, DRIVER)
    assert ZERO_GUID == settled(machine, vf).node_guid


def test_the_link_state_takes_effect_at_once(machine: Machine) -> None:
    """And is told as it was set."""
    (vf,) = made(machine, 1)
    with interface(machine) as (index, host):
        for state, shown in (
            (VfLinkState.DISABLE, "Down"),
            (VfLinkState.ENABLE, "Active"),
            (VfLinkState.AUTO, "Active"),
        ):
            machine.vf_attributes.set_link_state(index, 0, state, netns=host)
            (told,) = machine.vf_attributes.read(index, netns=host)
            assert state is told.link_state
            assert shown == settled(machine, vf).ports[0].state


def test_a_vf_that_is_not_there_cannot_be_told(machine: Machine) -> None:
    """EINVAL, with and without other VFs."""
    with interface(machine) as (index, host):
        for count in (0, 2):
            machine.sriov.set_num_vfs(PF, count)
            with refused_with(errno.EINVAL):
                machine.vf_attributes.set_node_guid(index, 2, NODE, netns=host)
            with refused_with(errno.EINVAL):
                machine.vf_attributes.set_port_guid(index, 2, PORT, netns=host)
            with refused_with(errno.EINVAL):
                machine.vf_attributes.set_link_state(index, 2, VfLinkState.AUTO, netns=host)


def test_a_vf_has_no_say_over_vfs(machine: Machine) -> None:
    """EOPNOTSUPP through its interface; it tells of none."""
    (vf,) = made(machine, 1)
    with interface(machine, vf) as (index, host):
        assert () == machine.vf_attributes.read(index, netns=host)
        with refused_with(errno.EOPNOTSUPP):
            machine.vf_attributes.set_node_guid(index, 0, NODE, netns=host)
        with refused_with(errno.EOPNOTSUPP):
            machine.vf_attributes.set_link_state(index, 0, VfLinkState.AUTO, netns=host)


def test_an_interface_is_asked_in_its_own_namespace(machine: Machine) -> None:
    """ENODEV in any other, and for an index that nobody has."""
    made(machine, 1)
    pod = machine.namespaces.of_process(machine.start_process())
    try:
        with interface(machine) as (index, host):
            for number, netns in ((index, pod), (99999, host)):
                with refused_with(errno.ENODEV):
                    machine.vf_attributes.read(number, netns=netns)
                with refused_with(errno.ENODEV):
                    machine.vf_attributes.set_node_guid(number, 0, NODE, netns=netns)
    finally:
        pod.close()


def test_binding_is_an_event(machine: Machine) -> None:
    """Whoever listened before hears of the VF's function."""
    (vf,) = made(machine, 1)
    machine.sriov.unbind(vf)
    events = machine.events()
    try:
        while events.wait(0.2):
            pass
        machine.sriov.bind(vf, DRIVER)
        heard = eventually(lambda: [c for c in events.wait(0.5) if c.function == vf])
        assert vf == heard[0].function
    finally:
        events.close()
