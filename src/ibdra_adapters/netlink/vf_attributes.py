"""GUIDs and link state of VFs, through their PF's interface.

Why: the messages are written and read here byte by byte, the same bytes as iproute2's, and
not with pyroute2: its classes give a GUID 32 bytes where the kernel has 8 behind a padding.
And a node with 8 PFs of 127 VFs each takes three thousand of these calls.

One attribute a message: the kernel stops at a VF's GUID and passes over what comes after.
The vendor's driver package has a second way, files below the RDMA device
(``device/sriov/<n>/node``); it is not used here, see ``docs/user/vfs.md``.

Source: ``include/uapi/linux/if_link.h``, ``net/core/rtnetlink.c`` (do_setvfinfo).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from ibdra_adapters.netlink.namespaces import socket_in
from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import Guid, guid_from_int, guid_to_int
from ibdra_domain.ports.netlink import Netns
from ibdra_domain.ports.sriov import VfLinkState, VfSettings

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_GETLINK = 16, 18
NLMSG_ERROR = 2
REQUEST, ACK = 1, 4
IFLA_VFINFO_LIST, IFLA_EXT_MASK = 22, 29
IFLA_VF_INFO = 1
IFLA_VF_LINK_STATE, IFLA_VF_IB_NODE_GUID, IFLA_VF_IB_PORT_GUID = 5, 10, 11
RTEXT_FILTER_VF, RTEXT_FILTER_SKIP_STATS = 1, 8

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, change
_ATTRIBUTE = struct.Struct("=HH")
_GUID = struct.Struct("=I4xQ")  # ifla_vf_guid: the number is the host's, not the network's
_STATE = struct.Struct("=II")  # ifla_vf_link_state
_STATES = (VfLinkState.AUTO, VfLinkState.ENABLE, VfLinkState.DISABLE)
_KIND = 0x3FFF  # without the bits that say "nested" and "network order"
_SEQUENCE = 1
_LARGEST = 1 << 17  # the list of VFs is one attribute: 64 KiB at most
_REMEDIES = {
    errno.ENODEV: "the interface is gone or in another namespace: look with `ip link`",
    errno.EINVAL: "the PF has no such VF: look with `ip link show` of its interface",
    errno.EOPNOTSUPP: "the driver of this interface cannot do it: it is no InfiniBand PF's, or "
    "the kernel is older than the card",
    errno.EPERM: "give the driver CAP_NET_ADMIN in the host's namespace",
}


class LinuxVfAttributes:
    """Fulfils the VfAttributes port."""

    def read(self, interface: int, *, netns: Netns) -> tuple[VfSettings, ...]:
        """Fulfil the port."""
        what = f"read the VFs of interface {interface}"
        return read_settings(_ask(netns, get_request(interface), what))

    def set_node_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Fulfil the port."""
        request = guid_request(interface, vf, IFLA_VF_IB_NODE_GUID, guid)
        _ask(netns, request, f"set node GUID {guid} of VF {vf} through interface {interface}")

    def set_port_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Fulfil the port."""
        request = guid_request(interface, vf, IFLA_VF_IB_PORT_GUID, guid)
        _ask(netns, request, f"set port GUID {guid} of VF {vf} through interface {interface}")

    def set_link_state(self, interface: int, vf: int, state: VfLinkState, *, netns: Netns) -> None:
        """Fulfil the port."""
        request = state_request(interface, vf, state)
        _ask(netns, request, f"set VF {vf} to link state {state} through interface {interface}")


def get_request(interface: int) -> bytes:
    """Ask for one interface with its VFs, without their counters."""
    mask = struct.pack("=I", RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS)
    return _message(RTM_GETLINK, REQUEST, interface, _attribute(IFLA_EXT_MASK, mask))


def guid_request(interface: int, vf: int, kind: int, guid: Guid) -> bytes:
    """Write what ``ip link set … vf N node_guid|port_guid …`` sends."""
    return _set_request(interface, _attribute(kind, _GUID.pack(vf, guid_to_int(guid))))


def state_request(interface: int, vf: int, state: VfLinkState) -> bytes:
    """Write what ``ip link set … vf N state …`` sends."""
    value = _STATE.pack(vf, _STATES.index(state))
    return _set_request(interface, _attribute(IFLA_VF_LINK_STATE, value))


def read_settings(message: bytes) -> tuple[VfSettings, ...]:
    """Read the VFs of a link message, whatever else is in it."""
    found = {}
    for kind, value in _attributes(message[_HEADER.size + _LINK.size :]):
        if kind != IFLA_VFINFO_LIST:
            continue
        for _, info in _attributes(value):
            settings = _settings(dict(_attributes(info)))
            if settings is not None:
                found[settings.index] = settings
    return tuple(found[index] for index in sorted(found))


def _settings(attributes: dict[int, bytes]) -> VfSettings | None:
    """Read one VF; every attribute of it begins with its index."""
    first = next((value for value in attributes.values() if len(value) >= 4), None)
    if first is None:
        return None
    state = attributes.get(IFLA_VF_LINK_STATE, b"")
    number = _STATE.unpack(state)[1] if len(state) == _STATE.size else len(_STATES)
    return VfSettings(
        index=struct.unpack_from("=I", first)[0],
        node_guid=_guid(attributes.get(IFLA_VF_IB_NODE_GUID, b"")),
        port_guid=_guid(attributes.get(IFLA_VF_IB_PORT_GUID, b"")),
        link_state=_STATES[number] if number < len(_STATES) else None,
    )


def _guid(value: bytes) -> Guid | None:
    return guid_from_int(_GUID.unpack(value)[1]) if len(value) == _GUID.size else None


def _set_request(interface: int, attribute: bytes) -> bytes:
    info = _attribute(IFLA_VF_INFO, attribute)
    return _message(RTM_NEWLINK, REQUEST | ACK, interface, _attribute(IFLA_VFINFO_LIST, info))


def _message(kind: int, flags: int, interface: int, body: bytes) -> bytes:
    link = _LINK.pack(0, 0, interface, 0, 0)
    length = _HEADER.size + len(link) + len(body)
    return _HEADER.pack(length, kind, flags, _SEQUENCE, 0) + link + body


def _attribute(kind: int, value: bytes) -> bytes:
    raw = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
    return raw + b"\0" * (-len(raw) % 4)


def _attributes(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Take attributes apart; what does not fit into the rest ends them."""
    at = 0
    while at + _ATTRIBUTE.size <= len(raw):
        length, kind = _ATTRIBUTE.unpack_from(raw, at)
        if length < _ATTRIBUTE.size or at + length > len(raw):
            return
        yield kind & _KIND, raw[at + _ATTRIBUTE.size : at + length]
        at += length + (-length % 4)


def _ask(netns: Netns, request: bytes, what: str) -> bytes:
    """Send a request and give the one message that answers it."""
    with socket_in(netns, NETLINK_ROUTE) as sock:
        try:
            sock.bind((0, 0))
            sock.sendto(request, (0, 0))
            answer = _answer(sock)
        except OSError as error:
            raise _refused(what, netns, error.errno or errno.EIO) from error
    return answer


def _answer(sock: socket.socket) -> bytes:
    """Take the answer; an error message's code becomes an OSError, 0 is the acknowledgement."""
    raw = sock.recv(_LARGEST)
    length, kind, _, sequence, _ = _HEADER.unpack_from(raw)
    if sequence != _SEQUENCE or length > len(raw):
        raise OSError(errno.EBADMSG, os.strerror(errno.EBADMSG))
    if kind == NLMSG_ERROR:
        (code,) = struct.unpack_from("=i", raw, _HEADER.size)
        if code:
            raise OSError(-code, os.strerror(-code))
    return raw[:length]


def _refused(what: str, netns: Netns, code: int) -> KernelRefused:
    remedy = _REMEDIES.get(code, "look in the kernel's log")
    return KernelRefused(f"the kernel did not {what} in {netns.id}", remedy=remedy, errno=code)
