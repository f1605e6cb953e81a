"""Names on the way: the kernel gives any, and another interface may have them already."""

from __future__ import annotations

from ibdra_domain.attachment import attach_steps, leaving_steps
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.steps import ConfigureLink, MoveLink, Place, RenameLink, SetTrafficClass
from unit.domain.domain_facts import STRANGER, a_link, a_port, a_view

HOST, CONTAINER = Place.HOST, Place.CONTAINER
AWAY = frozenset({CONTAINER})
OTHER = a_link(index=7, name="ib0", port_guid=STRANGER, up=False)


def test_an_interface_whose_name_is_taken_there_is_renamed_first() -> None:
    """It could not move; the name it gets for the way is free in both namespaces."""
    in_use = a_link(index=9, name="ibdra4", port_guid=STRANGER)
    view = a_view(rdma_in=AWAY, host=(a_link(),), container=(OTHER, in_use))
    expected = (
        ConfigureLink(index=4, place=HOST, up=False),
        RenameLink(index=4, name="ibdra5", place=HOST),
        MoveLink(index=4, to=CONTAINER),
    )
    assert expected == attach_steps(a_port(), view)


def test_an_interface_we_moved_gives_up_a_name_that_is_not_its_own() -> None:
    """The sibling's new interface got this port's name: it steps aside."""
    view = a_view(rdma_in=AWAY, host=(), container=(a_link(name="ib1", up=False), OTHER))
    expected = (
        RenameLink(index=7, name="ibdra7", place=CONTAINER),
        RenameLink(index=4, name="ib0", place=CONTAINER),
        ConfigureLink(index=4, place=CONTAINER, up=True),
    )
    assert expected == attach_steps(a_port(), view, displaced={STRANGER})


def test_what_needs_the_device_at_home_is_planned_while_it_is_there() -> None:
    """The traffic class, once, and never after the device has left."""
    port = a_port(config=IbConfig(traffic_class=128))
    setting = SetTrafficClass(name="mlx5_0", port=1, value=128)
    assert (setting,) == leaving_steps(port, a_view(traffic_class=0))
    assert () == leaving_steps(port, a_view(traffic_class=128))
    assert () == leaving_steps(port, a_view(rdma_in=AWAY, traffic_class=0))
    assert () == leaving_steps(a_port(), a_view(traffic_class=0))
