"""What the kernel does not grant although all else is done: said, with what to do about it.

Why: a smaller packet is no reason to keep a container from starting, and another name at
home none to hold an HCA for ever.  Whoever can change it must be told what there is, what
there should be, and why.
"""

from __future__ import annotations

from collections.abc import Mapping

from ibdra_domain.link import IPOIB_HEADER
from ibdra_domain.ports.netlink import Link
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.records import PortOrigin
from ibdra_domain.steps import Place, PortView

_MTU_CODES = {256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5}
"""How OpenSM writes an InfiniBand MTU."""
_LARGEST_DATAGRAM = max(_MTU_CODES) - IPOIB_HEADER


def lowered_mtus(view: PortView, asked: Mapping[tuple[Place, int], int]) -> tuple[str, ...]:
    """Tell of the container's interfaces that have a lower MTU than they were asked to have.

    ``asked`` are MTUs in bytes by place and index.  The kernel takes more than the IPoIB
    broadcast group has without an error, and gives what the group has.
    """
    return tuple(
        f"interface {link.name} has MTU {link.mtu}, not the {wanted} that was asked for, as the "
        "fabric's IPoIB broadcast group has a smaller one: ask the subnet manager's administrator "
        f"to raise the group's (OpenSM: mtu={_MTU_CODES[wanted + IPOIB_HEADER]} in partitions.conf)"
        for link in view.container
        if (wanted := asked.get((Place.CONTAINER, link.index), 0)) > link.mtu
    )


def wanted_mtus(port: PreparedPort, view: PortView) -> dict[tuple[Place, int], int]:
    """Give the MTUs that a port's interfaces in the container were asked to have."""
    link = view.parent(port.device.netdev_guid, Place.CONTAINER)
    if link is None or port.config.mtu is None:
        return {}
    pkey = port.child_pkey
    child = view.child(link, pkey, Place.CONTAINER) if pkey is not None else None
    mtu = port.config.mtu - IPOIB_HEADER
    return {(Place.CONTAINER, one.index): mtu for one in (link, child) if one is not None}


def not_as_it_was(port: PreparedPort, origin: PortOrigin, view: PortView) -> tuple[str, ...]:
    """Tell what of a port that is home could not be put back, and by which commands it can."""
    link = view.parent(port.device.netdev_guid, Place.HOST)
    if link is None:
        return ()
    said: list[str] = []
    if origin.mtu not in (None, link.mtu):
        said.append(_other_mtu(link, origin.mtu))
    if origin.netdev not in (None, link.name):
        now, name = link.name, origin.netdev
        said.append(
            f"interface {now} is home and was {name} before, which another one is now: rename "
            f"that one, then `ip link set {now} down`, `ip link set {now} name {name}`, "
            f"`ip link set {name} up`"
        )
    return tuple(said)


def _other_mtu(link: Link, was: int) -> str:
    name = link.name
    told = f"interface {name} is home with MTU {link.mtu} and had {was} before, which the kernel"
    command = f"`ip link set {name} mtu {was}`"
    if was > _LARGEST_DATAGRAM:
        return (
            f"{told} gives in connected mode only: `echo connected > /sys/class/net/{name}/mode`, "
            f"then {command}"
        )
    return (
        f"{told} does not give it now: ask the subnet manager's administrator for the MTU of the "
        f"IPoIB broadcast group, and if that is larger, {command}"
    )
