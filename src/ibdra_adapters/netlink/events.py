"""Uevents, link events and RDMA notifications as one stream of "look again".

Why: three sources tell of hardware that comes, goes or changes, each of only a part of it
(a device that comes home from a dead namespace gives no link event, a host's uevent for
it is a ``remove`` only).  What to do is always the same, take a new inventory, so they are
one stream.  Nothing is decoded beyond the name of what changed: the inventory is the truth.

Source: ``lib/kobject_uevent.c``, ``rtnetlink(7)``, ``rdma_netlink.h`` (RDMA_NLDEV_NOTIFY).
"""

from __future__ import annotations

import contextlib
import errno
import re
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from ibdra_adapters.netlink.rdma_messages import NETLINK_RDMA, MarshalNldev
from ibdra_domain.errors import InvalidIdentifier, KernelRefused
from ibdra_domain.identifiers import PciAddress, parse_pci_address
from ibdra_domain.ports.events import Change, EventSource

NETLINK_KOBJECT_UEVENT = 15
NETLINK_ROUTE = 0
RTMGRP_LINK = 1
RDMA_NOTIFY = 1 << 3  # group 4 (RDMA_NL_GROUP_NOTIFY), as a mask
_BUFFER = 1 << 20
_LARGEST = 1 << 16
_SUBSYSTEMS = {"infiniband", "infiniband_verbs", "infiniband_mad", "net", "pci"}
_ADDRESS = re.compile(r"/([0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7])(?=/|\Z)")

Reader = Callable[[bytes], list[Change]]


class LinuxEvents:
    """Fulfils the Events port; listens from construction on.

    A source the kernel lacks (RDMA notifications before 6.12, or without ib_core) is left
    out; ``sources`` lists those there are.  Raises KernelRefused if there is none at all.
    """

    def __init__(self) -> None:
        self._readers: dict[int, tuple[socket.socket, Reader]] = {}
        self._poll = select.epoll()
        self.sources: tuple[EventSource, ...] = tuple(
            source
            for source, protocol, groups, reader in (
                (EventSource.UEVENT, NETLINK_KOBJECT_UEVENT, 1, read_uevent),
                (EventSource.LINK, NETLINK_ROUTE, RTMGRP_LINK, read_links),
                (EventSource.RDMA, NETLINK_RDMA, RDMA_NOTIFY, read_notifications),
            )
            if self._listen(protocol, groups, reader)
        )
        if not self.sources:
            self.close()
            raise KernelRefused(
                "no source of hardware events can be opened",
                remedy="run the driver in the host's network namespace with CAP_NET_ADMIN",
                errno=errno.EPERM,
            )

    def fileno(self) -> int:
        """Fulfil the port."""
        return self._poll.fileno()

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port; what concerns nobody here does not end the wait."""
        until = time.monotonic() + timeout
        changes: list[Change] = []
        while not changes:
            left = until - time.monotonic()
            for handle, _ in self._poll.poll(max(left, 0)):
                sock, reader = self._readers[handle]
                changes += _drain(sock, reader)
            if left <= 0:
                break
        return tuple(dict.fromkeys(changes))

    def close(self) -> None:
        """Fulfil the port."""
        for sock, _ in self._readers.values():
            sock.close()
        self._readers = {}
        self._poll.close()

    def _listen(self, protocol: int, groups: int, reader: Reader) -> bool:
        try:
            sock = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
            )
        except OSError:
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            sock.bind((0, groups))
        except OSError:
            sock.close()
            return False
        self._readers[sock.fileno()] = (sock, reader)
        self._poll.register(sock, select.EPOLLIN)
        return True


def read_uevent(raw: bytes) -> list[Change]:
    """Read one uevent; those of subsystems that do not concern us are nothing."""
    pairs = dict(
        line.split("=", 1) for line in raw.decode("utf-8", "replace").split("\0") if "=" in line
    )
    if pairs.get("SUBSYSTEM") not in _SUBSYSTEMS:
        return []
    path = pairs.get("DEVPATH", "")
    detail = f"{pairs.get('ACTION', '?')} {pairs['SUBSYSTEM']} {path.rsplit('/', 1)[-1]}"
    return [Change(source=EventSource.UEVENT, detail=detail, function=function_in(path))]


def read_links(raw: bytes) -> list[Change]:
    """Read link messages; which function is below is not in them."""
    names = [message.get_attr("IFLA_IFNAME") for message in _decoded(MarshalRtnl, raw)]
    return [Change(source=EventSource.LINK, detail=f"interface {name}") for name in names if name]


def read_notifications(raw: bytes) -> list[Change]:
    """Read RDMA notifications: a device, or the interface of one, came or went."""
    return [
        Change(
            source=EventSource.RDMA,
            detail=f"RDMA device {message.get_attr('RDMA_NLDEV_ATTR_DEV_NAME') or '?'}",
        )
        for message in _decoded(MarshalNldev, raw)
    ]


def function_in(path: str) -> PciAddress | None:
    """Find the innermost PCI function in a device path."""
    found = _ADDRESS.findall(path)
    with contextlib.suppress(InvalidIdentifier):
        return parse_pci_address(found[-1]) if found else None
    return None


def _decoded(marshal: Callable[[], Any], raw: bytes) -> list[Any]:
    """Decode what can be decoded: a message we do not understand still means "look again"."""
    try:
        return list(marshal().parse(raw))
    except Exception:  # noqa: BLE001 -- pyroute2's decoders fail in many ways on odd input
        return []


def _drain(sock: socket.socket, reader: Reader) -> list[Change]:
    changes: list[Change] = []
    while True:
        try:
            raw, sender = sock.recvfrom(_LARGEST)
        except BlockingIOError:
            return changes
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return changes
            lost = "the kernel dropped events"
            changes.append(Change(source=EventSource.UEVENT, detail=lost))
            continue
        if sender[0] == 0:  # from the kernel, not from a process that pretends
            changes += reader(raw)
