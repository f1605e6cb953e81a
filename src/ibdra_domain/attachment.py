"""A prepared port + what is where -> the next steps there, or back home.

Why: a move tears down and re-creates everything above the RDMA device, kernels differ in
where the new interface appears, and a crash can leave any half-way point.  So no plan
reaches further than what can be known: each function looks at what is there *now* and
gives the steps up to the next point where one must look again; no step left means done.
The same function serves the first try, the second container of the pod and the recovery
after a crash (D5).

The order is the kernel's: traffic class while sysfs still shows the device, RDMA device,
its interface, then name, MTU, up, and the pkey's child.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

import msgspec

from ibdra_domain.container_edits import child_name
from ibdra_domain.errors import AttachRefused, NotSettled
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.identifiers import Guid
from ibdra_domain.inventory import IbDevice
from ibdra_domain.link import IPOIB_HEADER
from ibdra_domain.ports.netlink import Link
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.records import PortOrigin
from ibdra_domain.steps import (
    AddPkeyChild,
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


def origin_of(device: IbDevice, view: PortView) -> PortOrigin:
    """Note how a port is at home, before the first change.

    Raises AttachRefused if the host itself uses partitions of this port: a move would
    destroy their interfaces, wherever they are.
    """
    link = view.parent(device.netdev_guid, Place.HOST)
    children = [x.name for x in view.host if link and x.parent == link.index]
    if children:
        raise AttachRefused(
            f"the host uses {device.rdma_device} port {device.port} itself, through "
            f"{', '.join(children)}, which a move would destroy",
            remedy="remove these interfaces from the host, or keep pods off this HCA",
        )
    return PortOrigin(
        device=device.name,
        netdev=link.name if link else device.netdev,
        mtu=link.mtu if link else None,
        up=link.up if link else None,
        traffic_class=view.traffic_class,
    )


def leaving_steps(port: PreparedPort, view: PortView) -> tuple[Step, ...]:
    """Plan what can be done only while the RDMA device is at home.

    To be done for all ports of a claim before the first of them goes: ports of one HCA
    go together.
    """
    if Place.HOST not in view.rdma_in:
        return ()
    return _traffic_class(port.device, view, port.config.traffic_class)


def attach_steps(
    port: PreparedPort, view: PortView, *, displaced: Collection[Guid] = ()
) -> tuple[Step, ...]:
    """Plan the next steps of a port into the container; none if it is all there.

    ``displaced`` are the port GUIDs of devices that we moved too and that have no right
    to this port's name: the kernel may have given it to one of their new interfaces.

    Raises NotSettled while the device or its interface is in neither namespace, and
    AttachRefused if the interface's name is taken in the container, or if the machine
    isolates less than when the device was allocated.
    """
    if port.device.isolation is RdmaIsolation.EXCLUSIVE and view.isolation is RdmaIsolation.SHARED:
        raise AttachRefused(
            f"{view.rdma_device} was allocated with exclusive RDMA isolation, and the machine is "
            "in shared mode now",
            remedy="set the mode back (`rdma system`), or delete the pod so that it is allocated "
            "anew",
        )
    before = leaving_steps(port, view)
    if view.isolation is RdmaIsolation.EXCLUSIVE and Place.CONTAINER not in view.rdma_in:
        if Place.HOST not in view.rdma_in:
            raise NotSettled(
                f"{view.rdma_device} is neither in the host's nor in the container's namespace",
                remedy="find the process that holds it with `ip netns` and `rdma dev`",
            )
        move = MoveRdmaDevice(name=view.rdma_device, to=Place.CONTAINER)
        return (*before, move)
    return before + _link_there(port, view, displaced)


def _traffic_class(device: IbDevice, view: PortView, wanted: int | None) -> tuple[Step, ...]:
    if wanted is None or view.traffic_class is None or view.traffic_class == wanted:
        return ()
    return (SetTrafficClass(name=view.rdma_device, port=device.port, value=wanted),)


def _link_there(
    port: PreparedPort, view: PortView, displaced: Collection[Guid]
) -> tuple[Step, ...]:
    device = port.device
    if device.netdev is None:
        return ()
    link = view.parent(device.netdev_guid, Place.CONTAINER)
    if link is None:
        at_home = view.parent(device.netdev_guid, Place.HOST)
        if at_home is None:
            raise NotSettled(
                f"the interface of {view.rdma_device} port {device.port} ({device.netdev}) "
                "is neither in the host's nor in the container's namespace",
                remedy="load the kernel module ib_ipoib, or look for the interface with `ip netns`",
            )
        return _moved(at_home, view, Place.HOST, Place.CONTAINER)
    mtu = port.config.mtu - IPOIB_HEADER if port.config.mtu is not None else None
    steps = _named(link, device.netdev, view, Place.CONTAINER, displaced=displaced)
    steps += _configured(link, view, Place.CONTAINER, mtu=mtu, up=True, renamed=bool(steps))
    pkey = port.child_pkey
    if pkey is None:
        return steps
    child = view.child(link, pkey, Place.CONTAINER)
    if child is None:
        name = child_name(device.netdev, pkey)
        add = AddPkeyChild(parent=link.index, name=name, pkey=pkey, place=Place.CONTAINER)
        return (*steps, add)
    return steps + _configured(child, view, Place.CONTAINER, mtu=mtu, up=True)


def detach_steps(
    port: PreparedPort,
    origin: PortOrigin,
    view: PortView,
    *,
    displaced: Collection[Guid] = (),
    owed: Collection[str] = (),
    allocated: bool = True,
) -> tuple[Step, ...]:
    """Plan the next steps of a port back home, as it was; none if it is all back.

    ``displaced`` are the port GUIDs of all devices that we took away and have not put
    right yet: one of them may have come home under a name that is this port's.  ``owed``
    are the names that the others of them had at home.  A name that a stranger has is left
    to him.  A port that was not ``allocated`` only went along, if at all.

    Raises NotSettled while the device or its interface is in neither namespace.
    """
    device = port.device
    if view.isolation is RdmaIsolation.EXCLUSIVE and Place.HOST not in view.rdma_in:
        if Place.CONTAINER not in view.rdma_in:
            raise NotSettled(
                f"{view.rdma_device} has not come back to the host's namespace",
                remedy="the kernel brings it when the last process of the pod has ended",
            )
        return (MoveRdmaDevice(name=view.rdma_device, to=Place.HOST),)
    at_home = Place.HOST in view.rdma_in  # else it is gone: shared mode, and pulled out
    ours = port.config.traffic_class is not None  # else whoever set it since has his reasons
    before = _traffic_class(device, view, origin.traffic_class) if at_home and ours else ()
    if origin.netdev is None:
        return before
    children = _pods_children(port, origin, view, allocated=allocated)
    before += children
    view = _without(children, view)
    away = view.parent(device.netdev_guid, Place.CONTAINER)
    if away is not None:
        return before + _moved(away, view, Place.CONTAINER, Place.HOST)
    link = view.parent(device.netdev_guid, Place.HOST)
    if link is None:
        raise NotSettled(
            f"the interface of {view.rdma_device} port {device.port} ({origin.netdev}) "
            "has not come back to the host's namespace",
            remedy="load the kernel module ib_ipoib, or look for the interface with `ip netns`",
        )
    steps = _named_at_home(link, origin.netdev, view, displaced=displaced, owed=owed)
    steps += _configured(link, view, Place.HOST, mtu=origin.mtu, up=origin.up, renamed=bool(steps))
    return before + steps


def nothing_comes_home(port: PreparedPort, view: PortView) -> bool:
    """Tell whether waiting longer is in vain: there is nothing that could still come.

    The HCA was pulled out or its driver unbound, or (in exclusive mode, where an
    interface lives and dies with its device) the device is home and has no interface.
    In shared mode a missing interface is in some other namespace, and comes when that dies.
    """
    if not view.exists:
        return True
    exclusive = view.isolation is RdmaIsolation.EXCLUSIVE
    places = [view.parent(port.device.netdev_guid, place) for place in Place]
    return exclusive and Place.HOST in view.rdma_in and places == [None, None]


def _pods_children(
    port: PreparedPort, origin: PortOrigin, view: PortView, *, allocated: bool
) -> tuple[RemoveLink, ...]:
    """Remove the partitions' interfaces that were made while the port was away.

    The port had none at home when it left, so they are the pod's, whoever made them; left
    there, they would keep the HCA from the next pod as the host's own.  Not so at home where
    nobody saw the interface there before, nor in exclusive mode: what the pod had is destroyed
    on the way, so what is there was made since.
    """
    guid = port.device.netdev_guid
    if not allocated or guid is None:
        return ()
    home = view.parent(guid, Place.HOST)
    comes_with_it = view.isolation is RdmaIsolation.SHARED and origin.up is not None
    came_home = home.index if home is not None and comes_with_it else None
    return tuple(
        RemoveLink(index=x.index, place=place)
        for place in Place
        for x in view.links(place)
        if x.port_guid == guid
        and x.parent is not None
        and (place is Place.CONTAINER or x.parent == came_home)
    )


def _without(removed: Collection[RemoveLink], view: PortView) -> PortView:
    gone = {(step.place, step.index) for step in removed}
    left = {p.value: tuple(x for x in view.links(p) if (p, x.index) not in gone) for p in Place}
    return msgspec.structs.replace(view, **left)


def _named(
    link: Link, name: str, view: PortView, place: Place, *, displaced: Collection[Guid] = ()
) -> tuple[Step, ...]:
    """Rename an interface; it must be down for that."""
    if link.name == name:
        return ()
    steps: list[Step] = []
    taker = _taker(name, view, place)
    if taker is not None:
        if not _gives_way(taker, view, place, displaced):
            raise AttachRefused(
                f"interface {link.name} cannot be named {name} in the {place}'s namespace: "
                "another one has that name",
                remedy=f"rename the other interface, or remove it: `ip link show {name}`",
            )
        steps += _aside(taker, view, place)
    steps += _down(link, place)
    steps.append(RenameLink(index=link.index, name=name, place=place))
    return tuple(steps)


def _named_at_home(
    link: Link,
    name: str,
    view: PortView,
    *,
    displaced: Collection[Guid],
    owed: Collection[str],
) -> tuple[Step, ...]:
    """Give an interface its name back; if a stranger has that, see to it that it is in no way."""
    taker = _taker(name, view, Place.HOST)
    if taker is None or taker == link or _gives_way(taker, view, Place.HOST, displaced):
        return _named(link, name, view, Place.HOST, displaced=displaced)
    return _aside(link, view, Place.HOST) if link.name in owed else ()


def _taker(name: str, view: PortView, place: Place) -> Link | None:
    return next((x for x in view.links(place) if x.name == name), None)


def _gives_way(taker: Link, view: PortView, place: Place, displaced: Collection[Guid]) -> bool:
    """Tell whether an interface is ours to rename: a displaced device's own, or come with it.

    Children come home with their parent in shared mode only; elsewhere somebody made them.
    """
    came_home = place is Place.HOST and view.isolation is RdmaIsolation.SHARED
    return taker.port_guid in displaced and (taker.parent is None or came_home)


def _moved(link: Link, view: PortView, source: Place, target: Place) -> tuple[Step, ...]:
    """Move an interface; the name it has now, maybe the kernel's choice, may be taken there."""
    taken = any(x.name == link.name for x in view.links(target))
    before = _aside(link, view, source) if taken else ()
    return (*before, MoveLink(index=link.index, to=target))


def _aside(link: Link, view: PortView, place: Place) -> tuple[Step, ...]:
    """Rename an interface to what no other is named, here or there."""
    names = {x.name for x in (*view.host, *view.container)}
    spare = next(n for i in count(link.index) if (n := f"ibdra{i}") not in names)
    return (*_down(link, place), RenameLink(index=link.index, name=spare, place=place))


def _down(link: Link, place: Place) -> tuple[Step, ...]:
    return (ConfigureLink(index=link.index, place=place, up=False),) if link.up else ()


def _configured(
    link: Link,
    view: PortView,
    place: Place,
    *,
    mtu: int | None,
    up: bool | None,
    renamed: bool = False,
) -> tuple[Step, ...]:
    """Set MTU and up.

    The MTU that the kernel shows is at most the IPoIB broadcast group's, whatever it was
    asked for, and falls by itself when the group is joined: a lower one is asked for once.
    """
    lowered = mtu is not None and link.mtu < mtu and (place, link.index) in view.mtu_asked
    new_mtu = mtu if mtu != link.mtu and not lowered else None
    now_up = link.up and not renamed
    new_up = up if up is not None and up != now_up else None
    if new_mtu is None and new_up is None:
        return ()
    return (ConfigureLink(index=link.index, place=place, mtu=new_mtu, up=new_up),)
