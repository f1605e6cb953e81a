"""Shared mode: devices stay where they are, interfaces move and come home."""

from __future__ import annotations

import errno

from contract.netlink.netlink_machines import (
    DUAL,
    FIRST,
    GUIDS,
    NETDEVS,
    SECOND,
    Scene,
    refused_with,
)


def moved(scene: Scene) -> int:
    """Move the first interface into the pod; give its index."""
    index = scene.parent(scene.host).index
    scene.links.move(index, source=scene.host, target=scene.pod)
    return index


def test_a_device_cannot_be_moved(shared: Scene) -> None:
    """EOPNOTSUPP, and nothing is torn down."""
    before = shared.links.list(shared.host)
    with refused_with(errno.EOPNOTSUPP):
        shared.enter()
    assert before == shared.links.list(shared.host)


def test_all_devices_show_and_open_everywhere(shared: Scene) -> None:
    """Every namespace lists every device, and every node opens in it."""
    for netns in (shared.host, shared.pod):
        assert {FIRST, SECOND, DUAL} == set(shared.rdma.names(netns))
    for node in shared.machine.char_devices():
        shared.machine.open_node(node.path, pid=shared.pid)
        shared.machine.open_node(node.path, pid=None)


def test_a_moved_interface_keeps_index_and_name(scene: Scene) -> None:
    """In either mode it is the same interface, but down; its index was free there."""
    before = scene.parent(scene.host)
    moved(scene)
    after = scene.parent(scene.pod)
    assert (before.index, before.name, before.mtu) == (after.index, after.name, after.mtu)
    assert not after.up
    assert scene.find(scene.host) is None


def test_an_interface_does_not_move_to_a_taken_name(scene: Scene) -> None:
    """EEXIST, and it stays as it was."""
    moved(scene)
    other = scene.parent(scene.host, SECOND)
    scene.links.configure(other.index, netns=scene.host, up=False)
    scene.links.rename(other.index, NETDEVS[FIRST, 1], netns=scene.host)
    scene.links.configure(other.index, netns=scene.host, up=True)
    with refused_with(errno.EEXIST):
        scene.links.move(other.index, source=scene.host, target=scene.pod)
    assert scene.parent(scene.host, SECOND).up


def test_an_interface_moved_to_where_it_is_stays_as_it_is(scene: Scene) -> None:
    """Unlike a device, it is not touched."""
    before = scene.parent(scene.host)
    scene.links.move(before.index, source=scene.host, target=scene.host)
    assert before == scene.parent(scene.host)


def test_children_stay_behind_down(scene: Scene) -> None:
    """They still say whose children they are, by an index of another namespace."""
    child = scene.child()
    index = moved(scene)
    behind = scene.named(scene.host, child.name)
    assert (child.index, index, False) == (behind.index, behind.parent, behind.up)
    assert [NETDEVS[FIRST, 1]] == scene.names(scene.pod)


def test_an_index_that_is_taken_there_is_not_kept(scene: Scene) -> None:
    """Each namespace counts for itself: only a name or a GUID finds an interface again."""
    pid = scene.machine.start_process()
    third = scene.machine.namespaces.of_process(pid)
    for device, netns in ((FIRST, scene.pod), (SECOND, third)):
        parent = scene.parent(scene.host, device)
        scene.links.move(parent.index, source=scene.host, target=netns)
        for n in range(3):
            name = f"{device}-{n}"
            scene.links.add_pkey_child(parent.index, name=name, pkey=0x8001, netns=netns)
    taken = scene.indexes(scene.pod)
    (mover, *_) = [x for x in scene.links.list(third) if x.pkey and x.index in taken]
    there = next(x for x in scene.links.list(scene.pod) if x.index == mover.index)
    scene.links.move(mover.index, source=third, target=scene.pod)
    assert there in scene.links.list(scene.pod)
    assert scene.named(scene.pod, mover.name).index not in taken
    assert GUIDS[SECOND, 1] == scene.named(scene.pod, mover.name).port_guid
    third.close()


def test_on_death_parent_and_children_come_home_down(shared: Scene) -> None:
    """With the names they had inside; nothing is destroyed."""
    index = moved(shared)
    shared.links.rename(index, "inside", netns=shared.pod)
    shared.links.add_pkey_child(index, name="tenant", pkey=0x8001, netns=shared.pod)
    child = shared.named(shared.pod, "tenant")
    for each in (index, child.index):
        shared.links.configure(each, netns=shared.pod, up=True)
    shared.die()
    home = [shared.named(shared.host, name) for name in ("inside", "tenant")]
    assert [None, 0x8001] == [x.pkey for x in home]
    assert [False, False] == [x.up for x in home]
    assert [None, home[0].index] == [x.parent for x in home]


def test_on_death_a_taken_name_becomes_dev_and_the_index_inside(shared: Scene) -> None:
    """The one that is at home keeps the name; the index may become another on the way."""
    index = moved(shared)
    shared.links.rename(index, NETDEVS[SECOND, 1], netns=shared.pod)
    shared.links.add_pkey_child(index, name=NETDEVS[DUAL, 1], pkey=0x8001, netns=shared.pod)
    child = shared.named(shared.pod, NETDEVS[DUAL, 1])
    shared.die()
    names = [f"dev{index}", f"dev{child.index}"]
    home = [shared.named(shared.host, name) for name in names]
    assert [(GUIDS[FIRST, 1], None), (GUIDS[FIRST, 1], 0x8001)] == [
        (x.port_guid, x.pkey) for x in home
    ]
    assert NETDEVS[SECOND, 1] == shared.parent(shared.host, SECOND).name


def test_on_death_children_that_stayed_behind_find_their_parent_again(shared: Scene) -> None:
    """The index that pointed into the dead namespace is at home again."""
    child = shared.child()
    moved(shared)
    shared.die()
    assert shared.parent(shared.host).index == shared.named(shared.host, child.name).parent
