"""IPoIB: partitions' child interfaces, and how large a packet may be."""

from __future__ import annotations

import errno

from contract.netlink.netlink_machines import (
    DUAL,
    FIRST,
    GUIDS,
    IB_MTUS,
    NETDEVS,
    SECOND,
    Scene,
    refused_with,
)


def add(scene: Scene, name: str, pkey: int) -> None:
    """Add a child to the first device's interface."""
    parent = scene.parent(scene.host)
    scene.links.add_pkey_child(parent.index, name=name, pkey=pkey, netns=scene.host)


def test_a_child_says_whose_it_is(scene: Scene) -> None:
    """It has its parent's index and GUID, its pkey, the full MTU, and is down."""
    parent = scene.parent(scene.host)
    add(scene, "tenant", 0x8001)
    child = scene.named(scene.host, "tenant")
    assert (parent.index, parent.port_guid, 0x8001) == (child.parent, child.port_guid, child.pkey)
    assert (IB_MTUS[FIRST, 1] - 4, False) == (child.mtu, child.up)
    assert child.index != parent.index


def test_a_pkey_without_a_partition_is_einval(scene: Scene) -> None:
    """Zero with either membership names no partition."""
    for pkey in (0, 0x8000):
        with refused_with(errno.EINVAL):
            add(scene, "tenant", pkey)


def test_a_limited_pkey_is_accepted_and_becomes_full(scene: Scene) -> None:
    """The kernel adds the membership bit."""
    for name, pkey in (("lowest", 0x0001), ("highest", 0x7FFF)):
        add(scene, name, pkey)
        assert pkey | 0x8000 == scene.named(scene.host, name).pkey


def test_a_child_of_a_child_is_einval(scene: Scene) -> None:
    """Partitions are one level deep."""
    child = scene.child()
    with refused_with(errno.EINVAL):
        scene.links.add_pkey_child(child.index, name="grandchild", pkey=0x8002, netns=scene.host)


def test_a_pkey_in_no_table_is_accepted(scene: Scene) -> None:
    """The kernel does not look: whoever asks must."""
    add(scene, "nowhere", 0xABCD)
    assert 0xABCD == scene.named(scene.host, "nowhere").pkey


def test_duplicates_are_accepted_under_other_names(scene: Scene) -> None:
    """Two interfaces of one partition may sit on one port."""
    add(scene, "one", 0x8001)
    add(scene, "two", 0x8001)
    add(scene, "three", 0x0001)
    assert {"one", "two", "three"} < set(scene.names(scene.host))


def test_a_duplicate_of_the_same_name_is_eexist(scene: Scene) -> None:
    """Names stay unique in a namespace."""
    add(scene, "one", 0x8001)
    with refused_with(errno.EEXIST):
        add(scene, "one", 0x8002)


def test_removing_a_child_removes_it_alone(scene: Scene) -> None:
    """Once; afterwards it is not there."""
    add(scene, "one", 0x8001)
    add(scene, "two", 0x8001)
    index = scene.named(scene.host, "one").index
    scene.links.remove(index, netns=scene.host)
    assert sorted([*NETDEVS.values(), "two"]) == scene.names(scene.host)
    with refused_with(errno.ENODEV):
        scene.links.remove(index, netns=scene.host)


def test_removing_a_parent_does_nothing_and_says_nothing(scene: Scene) -> None:
    """It is there as before, and so are its children."""
    scene.child()
    before = scene.links.list(scene.host)
    scene.links.remove(scene.parent(scene.host).index, netns=scene.host)
    assert before == scene.links.list(scene.host)


def test_a_parent_that_goes_down_takes_its_children_down(scene: Scene) -> None:
    """A child without its parent has no queue pair below it."""
    child = scene.child()
    scene.links.configure(scene.parent(scene.host).index, netns=scene.host, up=False)
    assert child.up
    assert not scene.named(scene.host, child.name).up


def test_the_mtu_is_the_ports_less_the_header(scene: Scene) -> None:
    """2044 of 2048, 4092 of 4096: that is the largest, for a parent and for a child."""
    for device in (FIRST, SECOND):
        largest = IB_MTUS[device, 1] - 4
        child = scene.child(f"of-{device}", of=device)
        for link in (scene.parent(scene.host, device), child):
            assert largest == link.mtu
            scene.links.configure(link.index, netns=scene.host, mtu=1500)
            scene.links.configure(link.index, netns=scene.host, mtu=largest)
            with refused_with(errno.EINVAL):
                scene.links.configure(link.index, netns=scene.host, mtu=largest + 1)
            assert largest == scene.named(scene.host, link.name).mtu


def test_a_refused_mtu_leaves_the_interface_as_it_was(scene: Scene) -> None:
    """What came with it is not done either."""
    link = scene.parent(scene.host)
    with refused_with(errno.EINVAL):
        scene.links.configure(link.index, netns=scene.host, mtu=65520, up=False)
    assert link == scene.parent(scene.host)


def test_every_port_has_one_interface(scene: Scene) -> None:
    """A GUID finds a port's interface among those of all HCAs and children."""
    scene.child("one")
    scene.child("two", of=DUAL)
    parents = [x for x in scene.links.list(scene.host) if x.port_guid and x.parent is None]
    assert set(GUIDS.values()) == {x.port_guid for x in parents}
    assert len(GUIDS) == len(parents)
