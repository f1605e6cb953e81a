"""Why: only the kernel moves devices, and it does so by rules no other source can tell.

Three small ports, because they are fulfilled by different parts of the kernel: network
namespaces, RDMA netlink and rtnetlink.  Every method raises KernelRefused with the
kernel's errno; ENODEV is how a device that vanished half-way shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.identifiers import Guid


class NetnsId(msgspec.Struct, frozen=True):
    """What tells one network namespace from another: its nsfs file's device and inode.

    The kernel gives a dead namespace's inode to the next one, so a namespace also has a
    cookie, given once a boot (``SO_NETNS_COOKIE``; 0 before kernel 5.14).
    """

    device: int
    inode: int
    cookie: int = 0

    def __str__(self) -> str:
        return f"net:[{self.inode}]"


class Netns(Protocol):
    """An open network namespace: it, and what is in it, lives as long as this is open."""

    @property
    def id(self) -> NetnsId:
        """Whose namespace it is."""

    def close(self) -> None:
        """Let go of it; a second call does nothing."""


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface as rtnetlink shows it inside one namespace.

    ``port_guid`` is the last eight bytes of an IPoIB hardware address (the first four
    change at every move).  ``parent`` is the index of the interface a pkey child sits on,
    ``pkey`` the child's key; a port's own interface has neither.
    """

    index: int
    name: str
    port_guid: Guid | None = None
    mtu: int = 0
    up: bool = False
    pkey: int | None = None
    parent: int | None = None
    address: str = ""


class Process(Protocol):
    """A process that is known by more than its number, which may be another's one day."""

    def netns(self) -> Netns:
        """Open its namespace.  Raises KernelRefused (ESRCH) if it has ended."""

    def close(self) -> None:
        """Let go of it; a second call does nothing.  Nothing lives longer by it."""


class Namespaces(Protocol):
    """Network namespaces of this machine."""

    def host(self) -> Netns:
        """Open the namespace the devices belong in when nobody uses them."""

    def process(self, pid: int) -> Process:
        """Take hold of a process by its number.  Raises KernelRefused (ESRCH) if it is gone.

        For who opens its namespace only later: by then the number may be another's.
        """

    def of_process(self, pid: int) -> Netns:
        """Open a process' namespace.  Raises KernelRefused (ESRCH) if it is gone."""

    def find(self, wanted: NetnsId) -> Netns | None:
        """Open a namespace again by what it was; None if nothing keeps it alive any more."""


class RdmaDevices(Protocol):
    """RDMA devices, by name: unique in a namespace, and on older kernels over all of them."""

    def isolation(self) -> RdmaIsolation:
        """Tell the machine's mode."""

    def set_isolation(self, mode: RdmaIsolation) -> None:
        """Set it.  EBUSY while any other network namespace exists."""

    def names(self, netns: Netns) -> tuple[str, ...]:
        """List the devices that can be used in a namespace."""

    def move(self, name: str, *, source: Netns, target: Netns) -> None:
        """Move a device; everything above it is torn down and made anew (D5).

        On older kernels also if it is there already: look first.  EOPNOTSUPP in shared
        mode, EEXIST if another there has its name.
        """


class Links(Protocol):
    """Network interfaces, by index: an index holds for one namespace and one life."""

    def list(self, netns: Netns) -> tuple[Link, ...]:
        """List a namespace's interfaces."""

    def move(self, index: int, *, source: Netns, target: Netns) -> None:
        """Move an interface; it keeps its name if that is free there, and goes down."""

    def rename(self, index: int, name: str, *, netns: Netns) -> None:
        """Rename it.  EEXIST if the name is taken; older kernels want it down (EBUSY)."""

    def configure(
        self, index: int, *, netns: Netns, mtu: int | None = None, up: bool | None = None
    ) -> None:
        """Set its MTU in bytes and bring it up or down; what is None stays."""

    def add_pkey_child(self, parent: int, *, name: str, pkey: int, netns: Netns) -> None:
        """Make an IPoIB child interface in a partition.  It starts down."""

    def remove(self, index: int, *, netns: Netns) -> None:
        """Remove a child interface."""


class Addresses(Protocol):
    """IP addresses of network interfaces."""

    def addresses(self, netns: Netns) -> Mapping[int, tuple[str, ...]]:
        """Give those of a namespace by the interface's index, as ``10.0.0.1/24``."""
