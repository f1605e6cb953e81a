"""A port's way back home: as it was, from wherever it is."""

from __future__ import annotations

from typing import Any

import pytest

from ibdra_domain.attachment import detach_steps, nothing_comes_home
from ibdra_domain.errors import AttachRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.steps import (
    ConfigureLink,
    MoveLink,
    MoveRdmaDevice,
    Place,
    PortView,
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
    a_device,
    a_link,
    a_port,
    a_view,
    an_origin,
)

HOST, CONTAINER = Place.HOST, Place.CONTAINER
NO_NETDEV = a_device(netdev=None, netdev_guid=None)
TENANT = a_port(config=IbConfig(pkey=TENANT_PKEY), pkey_index=1)
WITH_CLASS = a_port(config=IbConfig(traffic_class=106))
MOVE = MoveRdmaDevice(name="mlx5_0", to=HOST)
NAME = RenameLink(index=4, name="ib0", place=HOST)
UP = ConfigureLink(index=4, place=HOST, up=True)
DOWN = ConfigureLink(index=4, place=HOST, up=False)
ANOTHERS = a_child(index=11, name="ib1.8001", parent=7, port_guid=STRANGER)
TAKER = a_link(index=7, name="ib0", port_guid=STRANGER)


def shared(**changes: Any) -> PortView:
    """View a port of a machine in shared mode."""
    options: dict[str, Any] = {
        "isolation": RdmaIsolation.SHARED,
        "rdma_in": frozenset({HOST, CONTAINER}),
    }
    return a_view(**options | changes)


def away(*container: Any, **changes: Any) -> PortView:
    """View a port whose RDMA device is in the container."""
    options: dict[str, Any] = {"rdma_in": frozenset({CONTAINER}), "host": ()}
    return a_view(container=container, **options | changes)


@pytest.mark.parametrize("view", [away(a_link()), away(a_link(), a_child()), away()])
def test_the_rdma_device_comes_first(view: PortView) -> None:
    """Its interfaces are destroyed and made anew by that: nothing to tidy before."""
    assert (MOVE,) == detach_steps(TENANT, an_origin(), view)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (a_link(), ()),
        (a_link(up=False), (UP,)),
        (a_link(mtu=4092), (ConfigureLink(index=4, place=HOST, mtu=2044),)),
        (a_link(name="ib3", up=False), (NAME, UP)),
        (a_link(name="ib3"), (DOWN, NAME, UP)),
        (
            a_link(name="ib3", mtu=4092, up=False),
            (NAME, ConfigureLink(index=4, place=HOST, mtu=2044, up=True)),
        ),
    ],
    ids=["as it was", "down", "MTU differs", "renamed", "renamed and up", "all differs"],
)
def test_the_interface_is_put_back_as_it_was(link: Any, expected: tuple[Step, ...]) -> None:
    """Name, MTU, up; only differences are set."""
    assert expected == detach_steps(a_port(), an_origin(), a_view(host=(link,)))


def test_a_lower_mtu_at_home_is_asked_for_once() -> None:
    """It was noted before the port had joined its broadcast group; the rest is put back."""
    view = a_view(host=(a_link(mtu=2044, up=False),), mtu_asked=frozenset({(HOST, 4)}))
    assert (UP,) == detach_steps(a_port(), an_origin(mtu=4092), view)


@pytest.mark.parametrize(
    ("up", "link", "expected"),
    [
        (False, a_link(), (DOWN,)),
        (False, a_link(name="ib3"), (DOWN, NAME)),
        (None, a_link(up=True, mtu=4092), ()),
    ],
    ids=["was down", "was down, renamed", "was not there"],
)
def test_an_interface_that_was_down_is_not_left_up(
    up: bool | None,  # noqa: FBT001 - a parameter of the case, passed by name
    link: Any,
    expected: tuple[Step, ...],
) -> None:
    """And what nobody had noted is left alone."""
    mtu = 2044 if up is not None else None
    origin = an_origin(up=up, mtu=mtu)
    assert expected == detach_steps(a_port(), origin, a_view(host=(link,)))


def test_a_port_without_interface_is_back_with_its_device() -> None:
    """Nothing above it was ours."""
    origin = an_origin(netdev=None, mtu=None, up=None)
    port = a_port(device=NO_NETDEV)
    assert (MOVE,) == detach_steps(port, origin, away())
    assert () == detach_steps(port, origin, a_view(host=()))


@pytest.mark.parametrize(
    ("now", "was", "written"),
    [(106, 0, 0), (106, -1, -1), (0, 0, None), (None, 0, None), (106, None, None)],
    ids=["differs", "was unset", "as it was", "no switch now", "not noted"],
)
def test_the_traffic_class_is_put_back(
    now: int | None, was: int | None, written: int | None
) -> None:
    """At home, where sysfs shows it; -1 unsets it."""
    expected = () if written is None else (SetTrafficClass(name="mlx5_0", port=1, value=written),)
    origin = an_origin(traffic_class=was)
    assert expected == detach_steps(WITH_CLASS, origin, a_view(traffic_class=now))


def test_the_traffic_class_waits_until_the_device_is_home() -> None:
    """The host's sysfs does not show it before."""
    assert (MOVE,) == detach_steps(WITH_CLASS, an_origin(traffic_class=0), away(traffic_class=106))


def test_a_traffic_class_that_the_claim_did_not_ask_for_is_left_alone() -> None:
    """Whoever changed it meanwhile had his reasons."""
    origin = an_origin(traffic_class=0)
    assert () == detach_steps(a_port(), origin, a_view(traffic_class=106))


def test_the_traffic_class_of_a_device_that_is_gone_is_not_written() -> None:
    """Shared mode, and the device was pulled out: sysfs has no such port any more."""
    gone = shared(rdma_in=frozenset(), host=(), traffic_class=106)
    origin = an_origin(netdev=None, traffic_class=0)
    assert () == detach_steps(a_port(device=NO_NETDEV), origin, gone)


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ((a_link(),), (MoveLink(index=4, to=HOST),)),
        ((a_link(), a_child()), (RemoveLink(index=9, place=CONTAINER), MoveLink(index=4, to=HOST))),
        (
            (a_link(), a_child(), a_child(index=10, name="mine", pkey=0x8002)),
            (
                RemoveLink(index=9, place=CONTAINER),
                RemoveLink(index=10, place=CONTAINER),
                MoveLink(index=4, to=HOST),
            ),
        ),
        (
            (a_link(), a_link(index=7, name="ib1", port_guid=STRANGER), ANOTHERS),
            (MoveLink(index=4, to=HOST),),
        ),
    ],
    ids=["alone", "with its child", "with the pod's own", "with another interface's"],
)
def test_shared_mode_sends_the_interface_home(container: Any, expected: tuple[Step, ...]) -> None:
    """Its children go first: they would stay behind, and the host never had any."""
    assert expected == detach_steps(TENANT, an_origin(), shared(host=(), container=container))


def test_shared_mode_restores_the_traffic_class_while_the_interface_is_away() -> None:
    """The device itself never left."""
    view = shared(host=(), container=(a_link(),), traffic_class=106)
    steps = detach_steps(WITH_CLASS, an_origin(traffic_class=0), view)
    assert (
        SetTrafficClass(name="mlx5_0", port=1, value=0),
        MoveLink(index=4, to=HOST),
    ) == steps


@pytest.mark.parametrize("port", [TENANT, a_port()], ids=["with a pkey", "without"])
@pytest.mark.parametrize(
    "child",
    [a_child(), a_child(name="dev9"), a_child(name="mine"), a_child(pkey=0x8002)],
    ids=["its name", "its name was taken", "another name", "another partition"],
)
def test_a_child_that_came_home_with_its_parent_is_removed(port: Any, child: Any) -> None:
    """In shared mode all return when the namespace dies; the port had none when it left."""
    view = shared(host=(a_link(), child))
    assert (RemoveLink(index=9, place=HOST),) == detach_steps(port, an_origin(), view)


def test_a_child_that_the_pod_keeps_is_removed_when_its_parent_is_home() -> None:
    """It was made between two looks; its parent's index says nothing there any more."""
    child = a_child(parent=12)
    view = shared(host=(a_link(),), container=(child, ANOTHERS))
    for origin in (an_origin(), an_origin(mtu=None, up=None)):
        assert (RemoveLink(index=9, place=CONTAINER),) == detach_steps(a_port(), origin, view)


def test_a_child_that_came_home_does_not_keep_its_parents_name() -> None:
    """A pod may have given it that."""
    view = shared(host=(a_link(name="ib3", up=False), a_child(name="ib0")))
    steps = (RemoveLink(index=9, place=HOST), NAME, UP)
    assert steps == detach_steps(a_port(), an_origin(), view)


@pytest.mark.parametrize(
    ("origin", "view"),
    [
        (an_origin(), shared(host=(a_link(), a_child(parent=7, port_guid=STRANGER)))),
        (an_origin(), shared(host=(a_link(), a_child(port_guid=STRANGER)))),
        (an_origin(mtu=None, up=None), shared(host=(a_link(), a_child()))),
        (an_origin(), a_view(host=(a_link(), a_child()))),
    ],
    ids=["another's", "an index of elsewhere", "not noted", "exclusive mode"],
)
def test_the_hosts_own_children_are_left_alone(origin: Any, view: PortView) -> None:
    """What is not surely the pod's: in exclusive mode the way home destroys all of those."""
    assert () == detach_steps(a_port(), origin, view)


def test_the_children_of_a_port_that_stayed_at_home_are_the_hosts() -> None:
    """A sibling of what was allocated does not move in shared mode: no pod had it."""
    view = shared(host=(a_link(), a_child()))
    assert () == detach_steps(a_port(), an_origin(), view, allocated=False)


@pytest.mark.parametrize(
    ("taker", "first"),
    [
        (TAKER, (ConfigureLink(index=7, place=HOST, up=False),)),
        (a_link(index=7, name="ib0", port_guid=STRANGER, up=False), ()),
    ],
    ids=["up", "down"],
)
def test_a_displaced_device_gives_our_name_back(taker: Any, first: tuple[Step, ...]) -> None:
    """It came home first and took the first free name; it gets its own at its own turn."""
    view = a_view(host=(taker, a_link(name="ib3", up=False)))
    away_with_it = RenameLink(index=7, name="ibdra7", place=HOST)
    assert (*first, away_with_it, NAME, UP) == detach_steps(
        a_port(), an_origin(), view, displaced={PORT_GUID, STRANGER}
    )


@pytest.mark.parametrize(
    ("taker", "displaced"),
    [
        (TAKER, ()),
        (TAKER, {PORT_GUID}),
        (a_link(index=7, port_guid=None), {PORT_GUID, STRANGER}),
        (a_child(index=7, name="ib0", parent=8, port_guid=STRANGER), {STRANGER}),
    ],
    ids=["nothing displaced", "only ourselves", "no InfiniBand", "a child of a displaced one"],
)
def test_a_strangers_name_is_not_taken(taker: Any, displaced: Any) -> None:
    """The host's administrator decides; the rest is put back under the name there is."""
    view = a_view(host=(taker, a_link(name="ib3", up=False)))
    assert (UP,) == detach_steps(a_port(), an_origin(), view, displaced=displaced)


def test_who_cannot_have_his_name_takes_none_that_is_owed() -> None:
    """It steps aside for the device that will come home to it."""
    view = a_view(host=(TAKER, a_link(name="ib3")))
    aside = (DOWN, RenameLink(index=4, name="ibdra4", place=HOST), UP)
    assert aside == detach_steps(a_port(), an_origin(), view, owed={"ib3"})
    assert () == detach_steps(a_port(), an_origin(), view, owed={"ib4"})
    free = a_view(host=(a_link(name="ib3"),))
    assert (DOWN, NAME, UP) == detach_steps(a_port(), an_origin(), free, owed={"ib3"})


def test_in_shared_mode_a_displaced_devices_child_gives_our_name_back() -> None:
    """A pod can name its partitions' interfaces as it likes; they come home with it."""
    taker = a_child(index=7, name="ib0", parent=8, port_guid=STRANGER, up=False)
    view = shared(host=(taker, a_link(name="ib3", up=False)))
    aside = RenameLink(index=7, name="ibdra7", place=HOST)
    steps = detach_steps(a_port(), an_origin(), view, displaced={PORT_GUID, STRANGER})
    assert (aside, NAME, UP) == steps


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (a_view(rdma_in=frozenset()), "mlx5_0 has not come back to the host's namespace"),
        (a_view(host=()), r"interface of mlx5_0 port 1 \(ib0\) has not come back"),
        (a_view(host=(TAKER,)), "has not come back"),
        (shared(host=()), "has not come back"),
    ],
    ids=["device nowhere", "interface nowhere", "only a stranger", "shared mode"],
)
def test_what_is_still_on_its_way_is_refused(view: PortView, reason: str) -> None:
    """Worth another look: the kernel brings it when the namespace has died."""
    with pytest.raises(AttachRefused, match=reason) as caught:
        detach_steps(a_port(), an_origin(), view)
    assert caught.value.remedy


AT_HOME = a_view(rdma_in=frozenset({HOST}), host=(), container=())
IN_VAIN: dict[str, tuple[PortView, bool]] = {
    "pulled out": (a_view(exists=False, rdma_in=frozenset(), host=()), True),
    "pulled out, shared": (shared(exists=False, rdma_in=frozenset(), host=()), True),
    "home without an interface": (AT_HOME, True),
    "on its way": (away(rdma_in=frozenset()), False),
    "in the container": (away(), False),
    "home with its interface": (a_view(rdma_in=frozenset({HOST}), host=(a_link(),)), False),
    "home, its interface yet in the container": (
        a_view(rdma_in=frozenset({HOST}), host=(), container=(a_link(),)),
        False,
    ),
    "shared, the interface in a third namespace": (shared(host=(), container=()), False),
}


@pytest.mark.parametrize("case", IN_VAIN)
def test_waiting_is_in_vain_only_for_what_cannot_come(case: str) -> None:
    """An HCA that is gone, or one without an interface where this lives and dies with it."""
    view, expected = IN_VAIN[case]
    assert expected is nothing_comes_home(a_port(), view)
