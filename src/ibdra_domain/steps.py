"""The vocabulary of attachment plans: places, steps, and what is where.

Why: a plan is a value that can be printed, compared and carried out one step at a time;
whoever carries it out needs these words and none of the reasons for them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.identifiers import Guid, Pkey, partition_of
from ibdra_domain.ports.netlink import Link


class Place(StrEnum):
    """One of the two namespaces a plan is about."""

    HOST = "host"
    CONTAINER = "container"


class MoveRdmaDevice(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Move the RDMA device; afterwards its interfaces are others, somewhere."""

    name: str
    to: Place


class MoveLink(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Move an interface."""

    index: int
    to: Place


class RenameLink(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give an interface a name."""

    index: int
    name: str
    place: Place


class ConfigureLink(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Set an interface's MTU (bytes) and bring it up or down."""

    index: int
    place: Place
    mtu: int | None = None
    up: bool | None = None


class AddPkeyChild(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make the partition's child interface."""

    parent: int
    name: str
    pkey: Pkey
    place: Place


class RemoveLink(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Remove a child interface."""

    index: int
    place: Place


class SetTrafficClass(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Write the port's default traffic class (host only: sysfs follows the namespace)."""

    name: str
    port: int
    value: int


Step = (
    MoveRdmaDevice
    | MoveLink
    | RenameLink
    | ConfigureLink
    | AddPkeyChild
    | RemoveLink
    | SetTrafficClass
)


class PortView(msgspec.Struct, frozen=True, kw_only=True):
    """Where a port and its interfaces are at this moment.

    ``rdma_device`` is its name now, ``rdma_in`` the places that show it (both, in shared
    mode); ``exists`` tells whether it is in any namespace at all.  ``host`` and
    ``container`` are all interfaces of the two namespaces; ``container`` is empty if that
    namespace has died.  ``mtu_asked`` are the interfaces, by place and index, whose MTU has
    been asked for: one that is lower than wanted is what the kernel makes of that.
    """

    isolation: RdmaIsolation
    rdma_device: str
    rdma_in: frozenset[Place]
    exists: bool = True
    host: tuple[Link, ...] = ()
    container: tuple[Link, ...] = ()
    traffic_class: int | None = None
    mtu_asked: frozenset[tuple[Place, int]] = frozenset()

    def links(self, place: Place) -> tuple[Link, ...]:
        """Give one namespace's interfaces."""
        return self.host if place is Place.HOST else self.container

    def parent(self, guid: Guid | None, place: Place) -> Link | None:
        """Find the port's own interface, not a pkey's child."""
        return next(
            (x for x in self.links(place) if guid and x.port_guid == guid and x.parent is None),
            None,
        )

    def child(self, parent: Link, pkey: int, place: Place) -> Link | None:
        """Find the port's interface in a partition; the kernel adds the membership bit."""
        return next(
            (
                x
                for x in self.links(place)
                if x.parent == parent.index
                and x.pkey is not None
                and partition_of(x.pkey) == partition_of(pkey)
            ),
            None,
        )
