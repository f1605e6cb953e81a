"""What a view of the two namespaces shows."""

from __future__ import annotations

import msgspec
import pytest

from ibdra_domain.identifiers import Guid
from ibdra_domain.ports.netlink import Link, NetnsId
from ibdra_domain.steps import (
    AddPkeyChild,
    ConfigureLink,
    MoveLink,
    MoveRdmaDevice,
    Place,
    RemoveLink,
    RenameLink,
    SetTrafficClass,
    Step,
)
from unit.domain.domain_facts import (
    PORT_GUID,
    STRANGER,
    TENANT_PKEY,
    a_child,
    a_link,
    a_view,
)


def test_each_place_shows_its_own_interfaces() -> None:
    """The host's are not the container's."""
    view = a_view(host=(a_link(),), container=(a_link(index=1, name="lo"),))
    assert ["ib0"] == [x.name for x in view.links(Place.HOST)]
    assert ["lo"] == [x.name for x in view.links(Place.CONTAINER)]


def test_a_ports_own_interface_is_known_by_guid_not_by_name() -> None:
    """A child has the same GUID, and is not meant."""
    links = (a_child(name="ib0"), a_link(index=7, port_guid=STRANGER), a_link(name="ib5"))
    assert "ib5" == getattr(a_view(host=links).parent(PORT_GUID, Place.HOST), "name", None)
    assert a_view(host=links).parent(PORT_GUID, Place.CONTAINER) is None


@pytest.mark.parametrize("guid", [None, STRANGER], ids=["unknown", "another"])
def test_without_the_guid_no_interface_is_found(guid: Guid | None) -> None:
    """An unknown GUID does not match interfaces that have none either."""
    links = (a_link(), a_link(index=1, name="lo", port_guid=None))
    assert a_view(host=links).parent(guid, Place.HOST) is None


@pytest.mark.parametrize("pkey", [0x0001, 0x8001])
@pytest.mark.parametrize("shown", [0x0001, 0x8001])
def test_a_partitions_interface_is_found_with_either_membership(pkey: int, shown: int) -> None:
    """The kernel adds the membership bit to what it was told."""
    child = a_child(pkey=shown)
    assert child == a_view(container=(child,)).child(a_link(), pkey, Place.CONTAINER)


@pytest.mark.parametrize(
    "other",
    [a_child(pkey=0x8002), a_child(parent=5), a_child(pkey=None), a_link()],
    ids=["another partition", "another parent", "no pkey", "no child"],
)
def test_other_interfaces_are_not_the_partitions(other: Link) -> None:
    """Partition and parent both count."""
    assert a_view(container=(other,)).child(a_link(), TENANT_PKEY, Place.CONTAINER) is None


@pytest.mark.parametrize(
    "step",
    [
        MoveRdmaDevice(name="mlx5_0", to=Place.HOST),
        MoveLink(index=1, to=Place.CONTAINER),
        RenameLink(index=1, name="ib0", place=Place.HOST),
        ConfigureLink(index=1, place=Place.HOST, mtu=2044, up=True),
        AddPkeyChild(parent=1, name="ib0.8001", pkey=TENANT_PKEY, place=Place.CONTAINER),
        RemoveLink(index=1, place=Place.CONTAINER),
        SetTrafficClass(name="mlx5_0", port=1, value=-1),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_plan_can_be_written_down(step: Step) -> None:
    """Each step reads back as itself: its kind is in it."""
    assert (step,) == msgspec.json.decode(msgspec.json.encode((step,)), type=tuple[Step, ...])


def test_a_namespace_is_shown_as_the_kernel_shows_it() -> None:
    """As a link in /proc/PID/ns reads."""
    assert "net:[4026531840]" == str(NetnsId(4, 4026531840))
