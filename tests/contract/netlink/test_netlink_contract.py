"""The contract of the netlink ports: namespaces, the mode, names, and what has vanished."""

from __future__ import annotations

import errno

from contract.netlink.netlink_machines import (
    DUAL,
    FIRST,
    GUIDS,
    IB_MTUS,
    NETDEVS,
    SECOND,
    Machine,
    Scene,
    refused_with,
)
from ibdra_domain.hardware import RdmaIsolation

OTHER = {
    RdmaIsolation.EXCLUSIVE: RdmaIsolation.SHARED,
    RdmaIsolation.SHARED: RdmaIsolation.EXCLUSIVE,
}
NO_SUCH_INDEX = 99999


def test_the_host_has_every_device_and_interface_at_first(scene: Scene) -> None:
    """All RDMA devices and their interfaces, up, are in the host's namespace."""
    found = {
        (device, port): (x.name, x.mtu, x.up, x.pkey, x.parent)
        for device, port in GUIDS
        for x in [scene.parent(scene.host, device, port)]
    }
    expected = {key: (NETDEVS[key], IB_MTUS[key] - 4, True, None, None) for key in GUIDS}
    assert expected == found
    assert {FIRST, SECOND, DUAL} == set(scene.rdma.names(scene.host))
    assert [] == scene.names(scene.pod)


def test_a_process_namespace_is_another_than_the_hosts(scene: Scene) -> None:
    """Namespaces are told apart by id; the same one has the same id however it was opened."""
    again = scene.machine.namespaces.of_process(scene.pid)
    found = scene.machine.namespaces.find(scene.pod.id)
    assert found is not None
    assert scene.host.id != scene.pod.id
    assert {scene.pod.id} == {again.id, found.id}
    again.close()
    found.close()


def test_a_process_that_is_gone_is_esrch(machine: Machine) -> None:
    """The namespace of an ended process cannot be opened through it."""
    pid = machine.start_process()
    machine.end_process(pid)
    with refused_with(errno.ESRCH):
        machine.namespaces.of_process(pid)


def test_a_process_that_is_held_is_known_by_more_than_its_number(machine: Machine) -> None:
    """Its namespace can be opened while it lives, and is nobody else's afterwards."""
    pid = machine.start_process()
    process = machine.namespaces.process(pid)
    there, by_number = process.netns(), machine.namespaces.of_process(pid)
    assert by_number.id == there.id
    for netns in (there, by_number):
        netns.close()
    machine.end_process(pid)
    with refused_with(errno.ESRCH):
        process.netns()
    process.close()
    process.close()
    with refused_with(errno.ESRCH):
        machine.namespaces.process(pid)


def test_a_dead_namespace_is_not_found(scene: Scene) -> None:
    """What nothing keeps alive is None, and that is no error."""
    scene.die()
    assert scene.machine.namespaces.find(scene.pod.id) is None


def test_a_dead_namespace_is_not_taken_for_the_one_that_got_its_inode(scene: Scene) -> None:
    """The kernel gives inodes out again; whoever remembers the dead one must not be misled."""
    scene.die()
    heirs = [scene.machine.start_process() for _ in range(3)]
    assert scene.machine.namespaces.find(scene.pod.id) is None
    for pid in heirs:
        scene.machine.end_process(pid)


def test_an_open_handle_keeps_a_namespace_alive(scene: Scene) -> None:
    """After its last process has ended a namespace can be found until it is closed."""
    scene.machine.end_process(scene.pid)
    found = scene.machine.namespaces.find(scene.pod.id)
    assert found is not None
    scene.pod.close()
    still = scene.machine.namespaces.find(found.id)
    assert still is not None
    still.close()
    found.close()
    scene.machine.settle()
    assert scene.machine.namespaces.find(found.id) is None


def test_closing_twice_is_closing_once(scene: Scene) -> None:
    """A second close does not take away what another handle holds."""
    twice = scene.machine.namespaces.of_process(scene.pid)
    scene.machine.end_process(scene.pid)
    twice.close()
    twice.close()
    found = scene.machine.namespaces.find(scene.pod.id)
    assert found is not None
    found.close()


def test_the_hosts_namespace_is_found_by_its_id(scene: Scene) -> None:
    """The host's namespace never dies."""
    found = scene.machine.namespaces.find(scene.host.id)
    assert found is not None
    found.close()


def test_the_mode_switches_while_there_is_one_namespace(machine: Machine) -> None:
    """Both ways, and the new mode shows at once."""
    first = machine.rdma.isolation()
    for mode in (OTHER[first], first):
        machine.rdma.set_isolation(mode)
        assert mode is machine.rdma.isolation()


def test_the_mode_does_not_switch_while_another_namespace_exists(machine: Machine) -> None:
    """EBUSY in either mode for any other namespace on the machine; the mode stays."""
    pid = machine.start_process()
    first = machine.rdma.isolation()
    with refused_with(errno.EBUSY):
        machine.rdma.set_isolation(OTHER[first])
    assert first is machine.rdma.isolation()
    machine.end_process(pid)
    machine.rdma.set_isolation(OTHER[first])


def test_an_open_handle_is_enough_to_keep_the_mode(scene: Scene) -> None:
    """A namespace without processes is still another namespace."""
    scene.machine.end_process(scene.pid)
    with refused_with(errno.EBUSY):
        scene.rdma.set_isolation(OTHER[scene.rdma.isolation()])


def test_the_mode_that_is_set_already_is_no_trouble(scene: Scene) -> None:
    """Also while other namespaces exist."""
    mode = scene.rdma.isolation()
    scene.rdma.set_isolation(mode)
    assert mode is scene.rdma.isolation()


def test_an_interface_is_known_in_its_own_namespace_only(scene: Scene) -> None:
    """Asked for in another, every call says ENODEV and changes nothing."""
    before = scene.parent(scene.host)
    with refused_with(errno.ENODEV):
        scene.links.move(before.index, source=scene.pod, target=scene.host)
    with refused_with(errno.ENODEV):
        scene.links.rename(before.index, "ibx", netns=scene.pod)
    with refused_with(errno.ENODEV):
        scene.links.configure(before.index, netns=scene.pod, up=False)
    with refused_with(errno.ENODEV):
        scene.links.remove(before.index, netns=scene.pod)
    assert before == scene.parent(scene.host)


def test_an_index_that_never_was_is_enodev(scene: Scene) -> None:
    """Whatever is asked of it."""
    with refused_with(errno.ENODEV):
        scene.links.move(NO_SUCH_INDEX, source=scene.host, target=scene.pod)
    with refused_with(errno.ENODEV):
        scene.links.rename(NO_SUCH_INDEX, "ibx", netns=scene.host)
    with refused_with(errno.ENODEV):
        scene.links.configure(NO_SUCH_INDEX, netns=scene.host, mtu=1000)
    with refused_with(errno.ENODEV):
        scene.links.add_pkey_child(NO_SUCH_INDEX, name="x", pkey=0x8001, netns=scene.host)
    with refused_with(errno.ENODEV):
        scene.links.remove(NO_SUCH_INDEX, netns=scene.host)


def test_a_device_that_was_pulled_out_is_enodev(scene: Scene) -> None:
    """Its interface, its children and its name in the list of devices went with it."""
    link, child = scene.parent(scene.host), scene.child()
    scene.machine.pull_out(FIRST)
    for index in (link.index, child.index):
        with refused_with(errno.ENODEV):
            scene.links.configure(index, netns=scene.host, up=True)
    assert FIRST not in scene.rdma.names(scene.host)
    assert scene.find(scene.host) is None


def test_a_rename_shows_and_keeps_the_index(scene: Scene) -> None:
    """An interface that is down gets any free name."""
    link = scene.parent(scene.host)
    scene.links.configure(link.index, netns=scene.host, up=False)
    scene.links.rename(link.index, "fifteen-letters", netns=scene.host)
    assert link.index == scene.named(scene.host, "fifteen-letters").index


def test_a_name_that_is_taken_is_eexist(scene: Scene) -> None:
    """Another interface's name is refused in its namespace, and only there."""
    link = scene.parent(scene.host)
    scene.links.configure(link.index, netns=scene.host, up=False)
    with refused_with(errno.EEXIST):
        scene.links.rename(link.index, NETDEVS[SECOND, 1], netns=scene.host)
    with refused_with(errno.EEXIST):
        scene.links.add_pkey_child(
            link.index, name=NETDEVS[SECOND, 1], pkey=0x8001, netns=scene.host
        )
    assert NETDEVS[FIRST, 1] == scene.parent(scene.host).name


def test_a_name_that_is_none_is_einval(scene: Scene) -> None:
    """With a slash, a colon or white space, a folder's own name; too long is ERANGE."""
    link = scene.parent(scene.host)
    scene.links.configure(link.index, netns=scene.host, up=False)
    for name in ("sixteen-letters-", "a/b", "a b", "a\tb", " ", "a:b", ".", ".."):
        code = errno.EINVAL if len(name) <= 15 else errno.ERANGE
        with refused_with(code):
            scene.links.rename(link.index, name, netns=scene.host)
        with refused_with(code):
            scene.links.add_pkey_child(link.index, name=name, pkey=0x8001, netns=scene.host)
    assert NETDEVS[FIRST, 1] == scene.parent(scene.host).name


def test_an_interface_that_is_up_is_renamed_by_newer_kernels_only(scene: Scene) -> None:
    """Older ones say EBUSY, also to the name it has."""
    link = scene.parent(scene.host)
    for name in (link.name, "renamed"):
        if scene.machine.renames_while_up:
            scene.links.rename(link.index, name, netns=scene.host)
        else:
            with refused_with(errno.EBUSY):
                scene.links.rename(link.index, name, netns=scene.host)
    now = scene.parent(scene.host)
    expected = "renamed" if scene.machine.renames_while_up else link.name
    assert (expected, link.index, True) == (now.name, now.index, now.up)


def test_a_rename_to_the_same_name_changes_nothing(scene: Scene) -> None:
    """Of an interface that is down, on any kernel."""
    link = scene.parent(scene.host)
    scene.links.configure(link.index, netns=scene.host, up=False)
    scene.links.rename(link.index, link.name, netns=scene.host)
    assert link.name == scene.parent(scene.host).name


def test_configuring_changes_what_is_named_only(scene: Scene) -> None:
    """MTU and state are set apart or together."""
    link = scene.parent(scene.host)
    states = []
    for wish in ({"mtu": 1500}, {"up": False}, {"mtu": 1000, "up": True}, {}):
        scene.links.configure(
            link.index,
            netns=scene.host,
            mtu=wish.get("mtu"),
            up=None if "up" not in wish else bool(wish["up"]),
        )
        now = scene.parent(scene.host)
        states.append((now.mtu, now.up))
    assert [(1500, True), (1500, False), (1000, True), (1000, True)] == states
