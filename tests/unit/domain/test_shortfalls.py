"""What the kernel did not grant is told, and nothing else is."""

from __future__ import annotations

import pytest

from ibdra_domain.shortfalls import lowered_mtus
from ibdra_domain.steps import Place
from unit.domain.domain_facts import a_link, a_view

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
