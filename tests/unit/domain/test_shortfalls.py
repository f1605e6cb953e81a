"""What the kernel did not grant is told, and nothing else is."""

from __future__ import annotations

import pytest

from ibdra_domain.shortfalls import lowered_mtus, not_as_it_was
from ibdra_domain.steps import Place
from unit.domain.domain_facts import STRANGER, a_link, a_port, a_view, an_origin

HOST, CONTAINER = Place.HOST, Place.CONTAINER


@pytest.mark.parametrize(("mtu", "code"), [(256, 1), (512, 2), (1024, 3), (2048, 4), (4096, 5)])
def test_a_lowered_mtu_names_all_there_is_to_know(mtu: int, code: int) -> None:
    """The interface, what it has, what it was to have, why, and what to have written where."""
    view = a_view(container=(a_link(mtu=124),))
    (line,) = lowered_mtus(view, {(CONTAINER, 4): mtu - 4})
    assert f"interface ib0 has MTU 124, not the {mtu - 4} that was asked for" in line
    assert "IPoIB broadcast group has a smaller one: ask the subnet manager's" in line
    assert f"(OpenSM: mtu={code} in partitions.conf)" in line


def test_only_what_is_lower_in_the_container_is_told() -> None:
    """Not what is as asked or higher, was not asked for, is gone, or is the host's."""
    view = a_view(host=(a_link(mtu=124),), container=(a_link(), a_link(index=5, name="ib1")))
    asked = {(CONTAINER, 4): 2044, (CONTAINER, 9): 4092, (HOST, 4): 2044}
    assert () == lowered_mtus(view, asked)
    assert () == lowered_mtus(view, {(CONTAINER, 5): 1020})


TAKER = a_link(index=7, name="ib0", port_guid=STRANGER)


def test_what_is_home_as_it_was_is_no_shortfall() -> None:
    """Nor is what nobody noted, or what is not there."""
    assert () == not_as_it_was(a_port(), an_origin(), a_view())
    unknown = an_origin(netdev=None, mtu=None, up=None)
    assert () == not_as_it_was(a_port(), unknown, a_view(host=(a_link(mtu=4092),)))
    assert () == not_as_it_was(a_port(), an_origin(), a_view(host=(TAKER,)))


def test_an_mtu_that_could_not_be_put_back_is_told_with_its_reason() -> None:
    """What there is, what there was, and how to have it again, for each of two reasons."""
    view = a_view(host=(a_link(mtu=2044),))
    (lowered,) = not_as_it_was(a_port(), an_origin(mtu=4092), view)
    assert "interface ib0 is home with MTU 2044 and had 4092 before" in lowered
    assert "broadcast group" in lowered
    assert "`ip link set ib0 mtu 4092`" in lowered
    (connected,) = not_as_it_was(a_port(), an_origin(mtu=65520), view)
    assert "interface ib0 is home with MTU 2044 and had 65520 before" in connected
    assert "`echo connected > /sys/class/net/ib0/mode`" in connected
    assert "`ip link set ib0 mtu 65520`" in connected


def test_a_name_that_could_not_be_put_back_is_told_with_the_way_to_it() -> None:
    """After the MTU, whose command goes by the name of now."""
    view = a_view(host=(TAKER, a_link(name="ib3", mtu=1500)))
    mtu, name = not_as_it_was(a_port(), an_origin(), view)
    assert "interface ib3 is home with MTU 1500" in mtu
    assert "interface ib3 is home and was ib0 before" in name
    assert "`ip link set ib3 name ib0`" in name
