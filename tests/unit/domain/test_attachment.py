"""A port's way into a container: the next steps from wherever it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ibdra_domain.attachment import attach_steps, origin_of
from ibdra_domain.errors import AttachRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.records import PortOrigin
from ibdra_domain.steps import (
    AddPkeyChild,
    ConfigureLink,
    MoveLink,
    MoveRdmaDevice,
    Place,
    PortView,
    RenameLink,
    SetTrafficClass,
    Step,
)
from unit.domain.domain_facts import (
    DEFAULT_PKEY,
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
SHARED_DEVICE = a_device(isolation=RdmaIsolation.SHARED)
MOVE = MoveRdmaDevice(name="mlx5_0", to=CONTAINER)
UP = ConfigureLink(index=4, place=CONTAINER, up=True)
DOWN = ConfigureLink(index=4, place=CONTAINER, up=False)
STRANGE = a_link(index=7, name="ib0", port_guid=STRANGER)


def moved(*container: Any, **changes: Any) -> PortView:
    """View a port whose RDMA device is in the container already."""
    options: dict[str, Any] = {"rdma_in": frozenset({CONTAINER}), "host": ()}
    return a_view(container=container, **options | changes)


def shared(**changes: Any) -> PortView:
    """View a port of a machine in shared mode: both namespaces see the device."""
    options: dict[str, Any] = {
        "isolation": RdmaIsolation.SHARED,
        "rdma_in": frozenset({HOST, CONTAINER}),
    }
    return a_view(**options | changes)


def a_tenant_port(**wishes: Any) -> PreparedPort:
    """Build a port with a partition of its own."""
    return a_port(config=IbConfig(pkey=TENANT_PKEY, **wishes), pkey_index=1)


def test_the_rdma_device_goes_first() -> None:
    """Moving it destroys its interfaces, so there is nothing else to plan yet."""
    assert (MOVE,) == attach_steps(a_port(), a_view())
    assert (MOVE,) == attach_steps(a_port(config=IbConfig(mtu=2048)), a_view())


def test_a_device_is_moved_under_its_name_of_now() -> None:
    """It may have been renamed since it was prepared."""
    (move,) = attach_steps(a_port(), a_view(rdma_device="mlx5_9"))
    assert MoveRdmaDevice(name="mlx5_9", to=CONTAINER) == move


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (moved(host=(a_link(index=8),)), (MoveLink(index=8, to=CONTAINER),)),
        (moved(a_link(up=False)), (UP,)),
        (moved(a_link()), ()),
        (
            moved(a_link(name="ib7", up=False)),
            (RenameLink(index=4, name="ib0", place=CONTAINER), UP),
        ),
        (
            moved(a_link(name="ib7")),
            (DOWN, RenameLink(index=4, name="ib0", place=CONTAINER), UP),
        ),
    ],
    ids=["older kernel: at home", "newer kernel: there", "all there", "renamed", "renamed and up"],
)
def test_the_interface_follows(view: PortView, expected: tuple[Step, ...]) -> None:
    """From where the kernel made it anew: into the container, its name, up."""
    assert expected == attach_steps(a_port(), view)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        (a_link(mtu=2044), ()),
        (a_link(mtu=4092), (ConfigureLink(index=4, place=CONTAINER, mtu=2044),)),
        (a_link(mtu=4092, up=False), (ConfigureLink(index=4, place=CONTAINER, mtu=2044, up=True),)),
        (
            a_link(name="ib7", mtu=4092),
            (
                DOWN,
                RenameLink(index=4, name="ib0", place=CONTAINER),
                ConfigureLink(index=4, place=CONTAINER, mtu=2044, up=True),
            ),
        ),
    ],
    ids=["as wished", "MTU differs", "MTU differs, down", "all differs"],
)
def test_the_mtu_is_what_the_config_says_less_the_header(
    link: Any, expected: tuple[Step, ...]
) -> None:
    """IPoIB puts four bytes before each datagram; only differences are set."""
    assert expected == attach_steps(a_port(config=IbConfig(mtu=2048)), moved(link))


@pytest.mark.parametrize(
    ("mtu", "asked", "steps"),
    [
        (2044, (), (ConfigureLink(index=4, place=CONTAINER, mtu=4092),)),
        (2044, ((HOST, 4), (CONTAINER, 5)), (ConfigureLink(index=4, place=CONTAINER, mtu=4092),)),
        (2044, ((CONTAINER, 4),), ()),
        (4093, ((CONTAINER, 4),), (ConfigureLink(index=4, place=CONTAINER, mtu=4092),)),
    ],
    ids=["lower", "lower, others asked for", "lower, asked for", "higher, asked for"],
)
def test_a_lower_mtu_is_asked_for_once(mtu: int, asked: Any, steps: tuple[Step, ...]) -> None:
    """The kernel gives at most what the broadcast group has; one that is higher is not its."""
    port = a_port(config=IbConfig(mtu=4096))
    view = moved(a_link(mtu=mtu), mtu_asked=frozenset(asked))
    assert steps == attach_steps(port, view)


def test_a_partitions_lower_mtu_is_asked_for_once() -> None:
    """Its interface has a broadcast group of its own."""
    asked = frozenset({(CONTAINER, 4), (CONTAINER, 9)})
    view = moved(a_link(mtu=4092), a_child(mtu=2044), mtu_asked=asked)
    assert () == attach_steps(a_tenant_port(mtu=4096), view)


def test_without_a_wish_the_mtu_stays() -> None:
    """The kernel's default is not ours to change."""
    assert () == attach_steps(a_port(), moved(a_link(mtu=1500)))


@pytest.mark.parametrize(
    ("child", "expected"),
    [
        (
            (),
            (AddPkeyChild(parent=4, name="ib0.8001", pkey=TENANT_PKEY, place=CONTAINER),),
        ),
        ((a_child(up=False),), (ConfigureLink(index=9, place=CONTAINER, up=True),)),
        ((a_child(mtu=4092),), (ConfigureLink(index=9, place=CONTAINER, mtu=2044),)),
        ((a_child(),), ()),
        (
            (a_child(pkey=0x8002),),
            (AddPkeyChild(parent=4, name="ib0.8001", pkey=TENANT_PKEY, place=CONTAINER),),
        ),
    ],
    ids=["missing", "down", "MTU differs", "present", "another partition's"],
)
def test_a_partition_gets_its_interface(child: Any, expected: tuple[Step, ...]) -> None:
    """Made on the parent once that is ready, then up like it."""
    view = moved(a_link(), *child)
    assert expected == attach_steps(a_tenant_port(mtu=2048), view)


def test_the_parent_is_ready_before_its_child_is_made() -> None:
    """A child's MTU is at most its parent's."""
    steps = attach_steps(a_tenant_port(mtu=2048), moved(a_link(name="ib7", mtu=4092, up=False)))
    assert ["RenameLink", "ConfigureLink", "AddPkeyChild"] == [type(s).__name__ for s in steps]


@pytest.mark.parametrize(
    "port",
    [a_port(config=IbConfig(pkey=DEFAULT_PKEY), pkey_index=0), a_port()],
    ids=["the parent's own partition", "no wish"],
)
def test_without_a_partition_of_its_own_no_child_is_made(port: PreparedPort) -> None:
    """Index 0 is where the parent is."""
    assert () == attach_steps(port, moved(a_link()))


def test_a_port_without_interface_is_its_rdma_device() -> None:
    """Where IPoIB was not loaded when the claim was prepared; a pkey changes nothing."""
    port = a_port(device=NO_NETDEV, config=IbConfig(pkey=TENANT_PKEY), pkey_index=1)
    assert (MOVE,) == attach_steps(port, a_view(host=()))
    assert () == attach_steps(port, moved())


@pytest.mark.parametrize(
    ("now", "wanted", "written"),
    [(0, 106, 106), (-1, 0, 0), (106, 106, None), (None, 106, None), (0, None, None)],
    ids=["differs", "unset", "as wished", "no switch", "no wish"],
)
def test_the_traffic_class_is_set_before_the_device_leaves(
    now: int | None, wanted: int | None, written: int | None
) -> None:
    """Sysfs shows the port as long as it is at home; only a difference is written."""
    port = a_port(config=IbConfig(traffic_class=wanted))
    step = () if written is None else (SetTrafficClass(name="mlx5_0", port=1, value=written),)
    assert (*step, MOVE) == attach_steps(port, a_view(traffic_class=now))


def test_the_traffic_class_cannot_be_set_once_the_device_is_away() -> None:
    """The host's sysfs no longer shows the port."""
    port = a_port(config=IbConfig(traffic_class=106))
    assert () == attach_steps(port, moved(a_link(), traffic_class=0))


def test_shared_mode_moves_the_interface_only() -> None:
    """The RDMA device is everywhere, and cannot be moved (EOPNOTSUPP)."""
    port = a_port(device=SHARED_DEVICE)
    assert (MoveLink(index=4, to=CONTAINER),) == attach_steps(port, shared())
    assert () == attach_steps(port, shared(host=(), container=(a_link(),)))
    bare = msgspec.structs.replace(SHARED_DEVICE, netdev=None, netdev_guid=None)
    assert () == attach_steps(a_port(device=bare), shared(host=()))


def test_a_device_allocated_as_isolated_is_not_attached_unisolated() -> None:
    """The machine may have been switched, or booted, into shared mode since."""
    port = a_port(device=a_device(isolation=RdmaIsolation.EXCLUSIVE))
    with pytest.raises(AttachRefused, match="allocated with exclusive RDMA isolation"):
        attach_steps(port, shared(host=(a_link(),)))


def test_shared_mode_sets_the_traffic_class_too() -> None:
    """Once."""
    port = a_port(device=SHARED_DEVICE, config=IbConfig(traffic_class=106))
    steps = attach_steps(port, shared(traffic_class=0))
    assert (
        SetTrafficClass(name="mlx5_0", port=1, value=106),
        MoveLink(index=4, to=CONTAINER),
    ) == steps


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (a_view(rdma_in=frozenset()), "mlx5_0 is neither in the host's nor in the container's"),
        (moved(), r"the interface of mlx5_0 port 1 \(ib0\) is neither in the host's"),
        (moved(STRANGE), "is neither in the host's"),
        (
            moved(STRANGE, a_link(name="ib7")),
            "interface ib7 cannot be named ib0 in the container's namespace",
        ),
    ],
    ids=["device nowhere", "interface nowhere", "only a stranger", "name taken"],
)
def test_what_cannot_be_attached_is_refused(view: PortView, reason: str) -> None:
    """With a command that shows more."""
    with pytest.raises(AttachRefused, match=reason) as caught:
        attach_steps(a_port(), view)
    assert "`" in caught.value.remedy


def test_a_name_taken_at_home_does_not_matter_in_the_container() -> None:
    """Names are a namespace's own."""
    view = moved(a_link(name="ib7", up=False), host=(STRANGE,))
    assert RenameLink(index=4, name="ib0", place=CONTAINER) in attach_steps(a_port(), view)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (a_view(), an_origin()),
        (
            a_view(host=(a_link(name="fabric0", mtu=4092, up=False),), traffic_class=-1),
            an_origin(netdev="fabric0", mtu=4092, up=False, traffic_class=-1),
        ),
        (a_view(host=()), an_origin(mtu=None, up=None)),
        (a_view(host=(STRANGE,)), an_origin(mtu=None, up=None)),
    ],
    ids=["plain", "renamed meanwhile", "no interface now", "a stranger's"],
)
def test_the_origin_is_how_a_port_is_at_home_now(view: PortView, expected: PortOrigin) -> None:
    """What is not there is noted under the name it was prepared with."""
    assert expected == origin_of(a_device(), view)


def test_a_port_without_interface_has_no_name_to_note() -> None:
    """Neither now nor when it was prepared."""
    expected = an_origin(netdev=None, mtu=None, up=None)
    assert expected == origin_of(NO_NETDEV, a_view(host=()))


def test_a_port_that_the_host_uses_itself_is_refused() -> None:
    """A move would destroy the host's own partitions' interfaces, silently."""
    children = (a_child(), a_child(index=10, name="storage", pkey=0x8002))
    with pytest.raises(AttachRefused, match=r"mlx5_0 port 1 itself, through ib0\.8001, storage"):
        origin_of(a_device(), a_view(host=(a_link(), *children)))


def test_the_host_may_use_other_ports() -> None:
    """Their partitions are not in the way."""
    links = (a_link(), STRANGE, a_child(parent=STRANGE.index, port_guid=STRANGER))
    assert an_origin() == origin_of(a_device(), a_view(host=links))


def test_an_interface_whose_name_is_taken_there_goes_under_another() -> None:
    """Older kernels re-create it under the first free name, which its sibling may have brought."""
    view = moved(STRANGE, host=(a_link(up=True),))
    assert (
        ConfigureLink(index=4, place=HOST, up=False),
        RenameLink(index=4, name="ibdra4", place=HOST),
        MoveLink(index=4, to=CONTAINER),
    ) == attach_steps(a_port(), view)


def test_a_sibling_that_has_our_name_in_the_container_gives_it_back() -> None:
    """Of several devices on their way, each gets its own name at its own turn."""
    view = moved(STRANGE, a_link(name="ib1", up=False))
    assert (
        RenameLink(index=7, name="ibdra7", place=CONTAINER),
        RenameLink(index=4, name="ib0", place=CONTAINER),
        UP,
    ) == tuple(
        step
        for step in attach_steps(a_port(), view, displaced={STRANGER})
        if step != ConfigureLink(index=7, place=CONTAINER, up=False)
    )
