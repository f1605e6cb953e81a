"""RDMA netlink's messages, in pyroute2's idiom: it has none of its own.

Why: only RDMA netlink moves an RDMA device and switches the machine's mode.  Attributes
that are not listed here are skipped by the decoder, so a newer kernel's messages are read
as far as they are known.

Source: ``include/uapi/rdma/rdma_netlink.h``.
"""

from __future__ import annotations

import socket
from typing import ClassVar

from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, nlmsg
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket, Marshal, NetlinkSocket

NETLINK_RDMA = 20
RDMA_NL_NLDEV = 5

# enum rdma_nldev_command
GET, SET, PORT_GET, SYS_GET, SYS_SET, GET_CHARDEV = 1, 2, 5, 6, 7, 15

REQUEST = NLM_F_REQUEST | NLM_F_ACK
DUMP = NLM_F_REQUEST | NLM_F_DUMP


class nldevmsg(nlmsg):  # type: ignore[misc]  # noqa: N801 -- untyped, and named as pyroute2 does
    """A message of the NLDEV client: no header of its own, attributes only."""

    fields = ()
    prefix = "RDMA_NLDEV_"
    nla_map = (
        (1, "RDMA_NLDEV_ATTR_DEV_INDEX", "uint32"),
        (2, "RDMA_NLDEV_ATTR_DEV_NAME", "asciiz"),
        (3, "RDMA_NLDEV_ATTR_PORT_INDEX", "uint32"),
        (5, "RDMA_NLDEV_ATTR_FW_VERSION", "asciiz"),
        (6, "RDMA_NLDEV_ATTR_NODE_GUID", "uint64"),
        (12, "RDMA_NLDEV_ATTR_PORT_STATE", "uint8"),
        (13, "RDMA_NLDEV_ATTR_PORT_PHYS_STATE", "uint8"),
        (14, "RDMA_NLDEV_ATTR_DEV_NODE_TYPE", "uint8"),
        (50, "RDMA_NLDEV_ATTR_NDEV_INDEX", "uint32"),
        (51, "RDMA_NLDEV_ATTR_NDEV_NAME", "asciiz"),
        (66, "RDMA_NLDEV_SYS_ATTR_NETNS_MODE", "uint8"),
        (67, "RDMA_NLDEV_ATTR_DEV_PROTOCOL", "asciiz"),
        (68, "RDMA_NLDEV_NET_NS_FD", "uint32"),
        (69, "RDMA_NLDEV_ATTR_CHARDEV_TYPE", "asciiz"),
        (70, "RDMA_NLDEV_ATTR_CHARDEV_NAME", "asciiz"),
        (71, "RDMA_NLDEV_ATTR_CHARDEV_ABI", "uint64"),
        (72, "RDMA_NLDEV_ATTR_CHARDEV", "uint64"),
        (102, "RDMA_NLDEV_ATTR_EVENT_TYPE", "uint8"),
    )


def message_type(operation: int) -> int:
    """Give the netlink message type of an NLDEV operation (``RDMA_NL_GET_TYPE``)."""
    return (RDMA_NL_NLDEV << 10) + operation


class MarshalNldev(Marshal):  # type: ignore[misc]  # pyroute2 has no types
    """Decodes every NLDEV answer as the one message class."""

    msg_map: ClassVar = {message_type(op): nldevmsg for op in range(1, 64)}


class AsyncNldevSocket(AsyncNetlinkSocket):  # type: ignore[misc]  # as above
    """The socket's asynchronous core, which decodes."""

    marshal_class = MarshalNldev


class NldevSocket(NetlinkSocket):  # type: ignore[misc]  # as above
    """RDMA netlink over a socket that was made in the namespace it speaks to."""

    async_class = AsyncNldevSocket

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(family=NETLINK_RDMA, use_socket=sock, nlm_generator=False)
