"""What goes over netlink, byte by byte, and what of it can be read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from ibdra_adapters.netlink.events import (
    function_in,
    read_links,
    read_notifications,
    read_uevent,
)
from ibdra_adapters.netlink.rdma import device_in
from ibdra_adapters.netlink.rdma_messages import (
    GET,
    REQUEST,
    SET,
    MarshalNldev,
    message_type,
    nldevmsg,
)
from ibdra_adapters.netlink.rtnetlink import LinkMessage, child_request, to_link
from ibdra_domain.ports.events import EventSource


def attribute(kind: int, value: bytes) -> bytes:
    """Write one netlink attribute."""
    raw = struct.pack("HH", 4 + len(value), kind) + value
    return raw + b"\0" * (-len(raw) % 4)


def message(kind: int, body: bytes) -> bytes:
    """Write one netlink message."""
    return struct.pack("IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_a_move_is_set_with_index_and_descriptor() -> None:
    """Type 5 << 10 | SET; DEV_INDEX is attribute 1, NET_NS_FD 68 (rdma_netlink.h)."""
    request = nldevmsg()
    request["attrs"] = [("RDMA_NLDEV_ATTR_DEV_INDEX", 3), ("RDMA_NLDEV_NET_NS_FD", 7)]
    request["header"]["type"] = message_type(SET)
    request["header"]["flags"] = REQUEST
    request.encode()
    expected = attribute(1, struct.pack("I", 3)) + attribute(68, struct.pack("I", 7))
    assert struct.pack("IHH", 32, 5122, 5) == bytes(request.data[:8])
    assert expected == bytes(request.data[16:])


def test_a_device_is_read_and_what_is_unknown_is_passed_over() -> None:
    """A newer kernel's attributes do not hide the ones we know."""
    body = (
        attribute(1, struct.pack("I", 2))
        + attribute(999, b"from the future")
        + attribute(2, b"mlx5_2\0")
    )
    (decoded,) = MarshalNldev().parse(message(message_type(GET), body))
    assert 2 == decoded.get_attr("RDMA_NLDEV_ATTR_DEV_INDEX")
    assert "mlx5_2" == decoded.get_attr("RDMA_NLDEV_ATTR_DEV_NAME")


def test_an_infiniband_address_is_read_whole() -> None:
    """Twenty bytes: the last eight are the port GUID, the only part that survives a move."""
    address = bytes.fromhex("80000101fe800000000000000c42a10300410000")
    header = struct.pack("BBHiII", 0, 0, 32, 4, 0x1003, 0)
    decoded = LinkMessage(message(16, header + attribute(1, address)))
    decoded.decode()
    assert address.hex(":") == decoded.get_attr("IFLA_ADDRESS")


def test_a_childs_request_carries_its_partition() -> None:
    """IFLA_IPOIB_PKEY is attribute 1, two bytes, inside the link's data (if_link.h)."""
    request = child_request(4, name="ib0.8001", pkey=0x8001)
    request.encode()
    raw = bytes(request.data)
    assert struct.pack("HHH", 6, 1, 0x8001) in raw
    assert attribute(1, b"ipoib\0")[4:10] in raw
    assert attribute(5, struct.pack("I", 4)) in raw


UEVENT = (
    b"remove@/devices/pci0000:3a/0000:3b:00.0/0000:3b:00.2/infiniband/mlx5_2\0ACTION=remove\0"
    b"DEVPATH=/devices/pci0000:3a/0000:3b:00.0/0000:3b:00.2/infiniband/mlx5_2\0"
    b"SUBSYSTEM=infiniband\0SEQNUM=4711\0"
)


def test_a_uevent_names_the_innermost_function() -> None:
    """A VF's path goes through its PF's bridge; the VF is what changed."""
    (change,) = read_uevent(UEVENT)
    assert EventSource.UEVENT is change.source
    assert ("0000:3b:00.2", "remove infiniband mlx5_2") == (change.function, change.detail)


def test_uevents_of_other_subsystems_are_nothing() -> None:
    """A disk that comes or goes is no reason to look at HCAs."""
    assert [] == read_uevent(UEVENT.replace(b"SUBSYSTEM=infiniband", b"SUBSYSTEM=block"))


def test_a_path_without_a_function_names_none() -> None:
    """Soft-RoCE has no hardware below it."""
    assert function_in("/devices/virtual/infiniband/rxe0") is None


def test_a_link_message_names_its_interface() -> None:
    """Which function is below is not in it."""
    header = struct.pack("BBHiII", 0, 0, 32, 4, 0x1003, 0)
    (change,) = read_links(message(16, header + attribute(3, b"ib0\0")))
    assert (EventSource.LINK, "interface ib0", None) == (
        change.source,
        change.detail,
        change.function,
    )


def test_a_notification_names_its_device() -> None:
    """Registered, unregistered, renamed: look again."""
    body = attribute(1, struct.pack("I", 2)) + attribute(2, b"mlx5_2\0")
    (change,) = read_notifications(message(message_type(28), body))
    assert "RDMA device mlx5_2" == change.detail


@given(raw=st.binary(max_size=400), kind=st.sampled_from([16, 17, message_type(GET), 5148]))
def test_no_bytes_make_reading_raise(raw: bytes, kind: int) -> None:
    """Truncated, unknown and garbage messages are nothing, or "look again", never a crash."""
    for text in (raw, message(kind, raw), UEVENT[: len(raw)] + raw):
        for read in (read_uevent, read_links, read_notifications):
            assert isinstance(read(text), list)


# Attributes of every kind we read and some we do not, well formed or with a length that lies.
ATTRIBUTES = st.one_of(
    st.builds(attribute, st.sampled_from([1, 2, 3, 4, 5, 18, 43, 999]), st.binary(max_size=40)),
    st.builds(
        lambda length, kind, value: struct.pack("HH", length, kind) + value,
        st.integers(0, 65535),
        st.integers(0, 70),
        st.binary(max_size=12),
    ),
    st.binary(max_size=9),
)
HEADER = struct.pack("BBHiII", 0, 0, 32, 4, 0x1003, 0)


@given(parts=st.lists(ATTRIBUTES, max_size=6), cut=st.integers(0, 8))
def test_any_link_message_is_a_link(parts: list[bytes], cut: int) -> None:
    """What cannot be understood of it is missing; what is there has the right type."""
    body = b"".join(parts)
    marshal = MarshalRtnl()
    marshal.msg_map = {**marshal.msg_map, 16: LinkMessage}
    for decoded in marshal.parse(message(16, HEADER + body[: max(0, len(body) - cut)])):
        link = to_link(decoded)
        assert (str, int) == (type(link.name), type(link.mtu))
        assert all(isinstance(each, int | None) for each in (link.pkey, link.parent))


@given(parts=st.lists(ATTRIBUTES, max_size=6))
def test_any_rdma_message_is_a_device_or_none(parts: list[bytes]) -> None:
    """A name without an index, or the other way round, is no device."""
    for decoded in MarshalNldev().parse(message(message_type(GET), b"".join(parts))):
        device = device_in(decoded)
        assert device is None or (str, int) == (type(device[0]), type(device[1]))


@pytest.mark.parametrize(
    ("kind", "value"),
    [(1, b""), (3, b"\xff"), (4, b"\0"), (5, b"\0\0"), (18, b"\1\2\3"), (18, attribute(2, b"xy"))],
)
def test_an_attribute_of_the_wrong_size_is_missing(kind: int, value: bytes) -> None:
    """The rest of its message is read all the same."""
    rest = attribute(4, struct.pack("I", 2044)) if kind != 4 else attribute(3, b"ib0\0")
    decoded = LinkMessage(message(16, HEADER + attribute(kind, value) + rest))
    decoded.decode()
    link = to_link(decoded)
    assert (kind == 4, kind != 4) == (link.name == "ib0", link.mtu == 2044)
