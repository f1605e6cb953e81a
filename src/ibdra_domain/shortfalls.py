"""What the kernel does not grant although all else is done: said, with what to do about it.

Why: a smaller packet is no reason to keep a container from starting.  Whoever can change
it must be told what there is, what there should be, and why.
"""

from __future__ import annotations

from collections.abc import Mapping

from ibdra_domain.link import IPOIB_HEADER
from ibdra_domain.steps import Place, PortView

_MTU_CODES = {256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5}
"""How OpenSM writes an InfiniBand MTU."""


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
