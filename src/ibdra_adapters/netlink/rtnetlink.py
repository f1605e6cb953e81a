"""Network interfaces through rtnetlink, in any namespace.

Why: one short-lived socket a call, made inside the namespace it speaks to, so that nothing
is shared between threads and no stale answer can be read.

Source: ``rtnetlink(7)``, ``include/uapi/linux/if_link.h`` (IFLA_IPOIB_PKEY).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink import (
    NETLINK_EXT_ACK,
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    SOL_NETLINK,
    nla_base,
    nlmsg,
)
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl import RTM_NEWLINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfbase

from ibdra_adapters.netlink.names import checked, name_of
from ibdra_adapters.netlink.namespaces import fd_of, socket_in
from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import port_guid_of
from ibdra_domain.ports.netlink import Link, Netns

IFF_UP = 0x1


class LinkMessage(ifinfbase, nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """A link message whose hardware address is read whole: pyroute2 stops after six bytes.

    Not derived from its ``ifinfmsg``, which shares its compiled table with subclasses.
    """

    nla_map = tuple(
        ("IFLA_ADDRESS", "hex") if entry[0] == "IFLA_ADDRESS" else entry
        for entry in ifinfbase.nla_map
    )


class LinuxLinks:
    """Fulfils the Links and Addresses ports."""

    def list(self, netns: Netns) -> tuple[Link, ...]:
        """Fulfil the port."""
        with _route(netns, "list interfaces") as route:
            return tuple(to_link(message) for message in route.get_links())

    def addresses(self, netns: Netns) -> dict[int, tuple[str, ...]]:
        """Fulfil the port."""
        found: dict[int, tuple[str, ...]] = {}
        with _route(netns, "list addresses") as route:
            for message in route.get_addr():
                address = _attribute(message, "IFA_LOCAL", str)
                address = address or _attribute(message, "IFA_ADDRESS", str)
                if address:
                    index = message["index"]
                    whole = f"{address}/{message['prefixlen']}"
                    found[index] = (*found.get(index, ()), whole)
        return found

    def move(self, index: int, *, source: Netns, target: Netns) -> None:
        """Fulfil the port."""
        with _route(source, f"move interface {index} to {target.id}") as route:
            route.link("set", index=index, net_ns_fd=fd_of(target))

    def rename(self, index: int, name: str, *, netns: Netns) -> None:
        """Fulfil the port."""
        with _route(netns, f"rename interface {index} to {checked(name)}") as route:
            route.link("set", index=index, ifname=name)

    def configure(
        self, index: int, *, netns: Netns, mtu: int | None = None, up: bool | None = None
    ) -> None:
        """Fulfil the port."""
        wanted: dict[str, Any] = {}
        if mtu is not None:
            wanted["mtu"] = mtu
        if up is not None:
            wanted["state"] = "up" if up else "down"
        if wanted:
            with _route(netns, f"set {wanted} on interface {index}") as route:
                route.link("set", index=index, **wanted)

    def add_pkey_child(self, parent: int, *, name: str, pkey: int, netns: Netns) -> None:
        """Fulfil the port."""
        what = f"make interface {checked(name)} with pkey {pkey:#06x} on {parent}"
        with _route(netns, what) as route:
            # Not link("add", ipoib_pkey=...): on a real kernel its child gets the port's
            # default partition instead of the one asked for.
            list(
                route.nlm_request(
                    child_request(parent, name=name, pkey=pkey),
                    msg_type=RTM_NEWLINK,
                    msg_flags=NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
                )
            )

    def remove(self, index: int, *, netns: Netns) -> None:
        """Fulfil the port."""
        with _route(netns, f"remove interface {index}") as route:
            route.link("del", index=index)


def child_request(parent: int, *, name: str, pkey: int) -> Any:
    """Write the request for an IPoIB child, with its partition in it."""
    request = LinkMessage()
    data = {"attrs": [("IFLA_IPOIB_PKEY", pkey)]}
    info = {"attrs": [("IFLA_INFO_KIND", "ipoib"), ("IFLA_INFO_DATA", data)]}
    request["attrs"] = [
        ("IFLA_IFNAME", name),
        ("IFLA_LINK", parent),
        ("IFLA_LINKINFO", info),
    ]
    return request


@contextmanager
def _route(netns: Netns, what: str) -> Iterator[Any]:
    """Open rtnetlink in a namespace; the kernel's refusals become ours."""
    raw = socket_in(netns, NETLINK_ROUTE)
    try:
        # Not by its descriptor: the socket stays ours to close, also if IPRoute cannot be made.
        raw.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        with IPRoute(use_socket=raw, ext_ack=True) as route:
            marshal = route.asyncore.marshal
            marshal.msg_map = {**marshal.msg_map, RTM_NEWLINK: LinkMessage}
            route.asyncore.status["nlm_generator"] = False  # which IPRoute leaves unset
            yield route
    except NetlinkError as error:
        raise _refused(f"the kernel did not {what} in {netns.id}: {error}", error.code) from error
    except OSError as error:
        problem = f"rtnetlink failed to {what} in {netns.id}"
        raise _refused(problem, error.errno or errno.EIO) from error
    except (struct.error, ValueError) as error:  # a number that fits no message, a name no text
        problem = f"the kernel cannot be asked to {what} in {netns.id}"
        raise _refused(problem, errno.EINVAL) from error
    finally:
        raw.close()


def to_link(message: Any) -> Link:
    """Read what we use of a link message; IPoIB addresses have 20 bytes.

    An attribute that pyroute2 could not decode comes as bare bytes, and counts as missing.
    """
    info = _attribute(message, "IFLA_LINKINFO", nla_base)
    data = _attribute(info, "IFLA_INFO_DATA", nla_base)
    ipoib = _attribute(info, "IFLA_INFO_KIND", str) == "ipoib"
    index: int = message["index"]
    below = _attribute(message, "IFLA_LINK", int)
    parent = below if ipoib and below not in (None, 0, index) else None
    return Link(
        index=index,
        name=name_of(message.get_attr("IFLA_IFNAME") or f"?{index}"),
        port_guid=port_guid_of(_attribute(message, "IFLA_ADDRESS", str) or ""),
        mtu=_attribute(message, "IFLA_MTU", int) or 0,
        up=bool(message["flags"] & IFF_UP),
        pkey=_attribute(data, "IFLA_IPOIB_PKEY", int) if parent else None,
        parent=parent,
        address=_attribute(message, "IFLA_ADDRESS", str) or "",
    )


def _attribute(message: Any, name: str, kind: Any) -> Any:
    value = message.get_attr(name) if message is not None else None
    return value if isinstance(value, kind) else None


def _refused(problem: str, code: int) -> KernelRefused:
    return KernelRefused(
        problem,
        remedy="check that the interface is still there and the driver has CAP_NET_ADMIN",
        errno=code,
    )
