"""An HCA of two ports in exclusive mode, on the fake only: the virtual node's have one port.

So this file is none of those the virtual node runs (``virtual_node/lane.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.netlink.conftest import a_scene
from contract.netlink.netlink_machines import DUAL, FAKES, Scene


@pytest.fixture(params=[kind for kind in FAKES if "exclusive" in kind])
def exclusive(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set a scene on a fake kernel of either age."""
    yield from a_scene(request.param)


def test_both_ports_interfaces_go_through_a_move(exclusive: Scene) -> None:
    """A port that nobody asked for is torn down with its sibling."""
    before = {port: exclusive.parent(exclusive.host, DUAL, port).index for port in (1, 2)}
    exclusive.enter(DUAL)
    after = {port: exclusive.parent(exclusive.landing, DUAL, port) for port in (1, 2)}
    assert not exclusive.indexes(exclusive.host) & set(before.values())
    assert {False} == {x.up for x in after.values()}


def test_the_new_interfaces_get_the_first_free_names_in_the_ports_order(exclusive: Scene) -> None:
    """Of the namespace they appear in."""
    exclusive.enter(DUAL)
    expected = ["ib0", "ib1"] if exclusive.landing is exclusive.pod else ["ib2", "ib3"]
    names = [exclusive.parent(exclusive.landing, DUAL, port).name for port in (1, 2)]
    assert expected == names


def test_a_device_comes_home_with_both_ports_interfaces(exclusive: Scene) -> None:
    """Each under a free name, both down."""
    exclusive.enter(DUAL)
    exclusive.die()
    home = [exclusive.parent(exclusive.host, DUAL, port) for port in (1, 2)]
    assert [("ib2", False), ("ib3", False)] == [(x.name, x.up) for x in home]
