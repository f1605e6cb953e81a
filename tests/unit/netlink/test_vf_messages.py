"""What is said and heard of VFs over rtnetlink, byte by byte.

The requests are those of iproute2 6.1, as strace showed them, but for the sequence number:
``ip link set dev ib0 vf 3 node_guid 00:11:22:33:44:55:66:77`` and so on, ib0 being index 2.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_adapters.netlink.vf_attributes import (
    IFLA_VF_IB_NODE_GUID,
    IFLA_VF_IB_PORT_GUID,
    get_request,
    guid_request,
    read_settings,
    state_request,
)
from ibdra_domain.identifiers import Guid
from ibdra_domain.ports.sriov import VfLinkState, VfSettings

NODE, PORT = Guid("0011:2233:4455:6677"), Guid("0011:2233:4455:6688")
LINK = bytes.fromhex("0000000002000000 0000000000000000")
# Kernel 6.1's answer for one VF, cut down to the number of VFs and their list.
ONE_VF = bytes.fromhex(
    "08001500 01000000"
    "d8001600 d4000100"
    "28000100 03000000 80000101 fe800000 00000000 0c42a103 00410000 0000000000000000 00000000"
    "24000d00 00ffffff ff12401b ffff0000 00000000 ffffffff 00000000 00000000 00000000"
    "10000200 03000000 00000000 00000000"
    "10000600 03000000 00000000 00000000"
    "0c000300 03000000 00000000"
    "0c000400 03000000 00000000"
    "0c000500 03000000 02000000"
    "0c000700 03000000 00000000"
    "0c000900 03000000 00000000"
    "14000a00 03000000 00000000 7766554433221100"
    "14000b00 03000000 00000000 8866554433221100"
)


def without_sequence(raw: bytes) -> bytes:
    """Blank the one field that is another at every call of ip."""
    return raw[:8] + bytes(4) + raw[12:]


@pytest.mark.parametrize(
    ("request_bytes", "sent"),
    [
        (
            guid_request(2, 3, IFLA_VF_IB_NODE_GUID, NODE),
            "3c000000 1000 0500 00000000 00000000 00000000 02000000 00000000 00000000"
            "1c001600 18000100 14000a00 03000000 00000000 7766554433221100",
        ),
        (
            guid_request(2, 3, IFLA_VF_IB_PORT_GUID, PORT),
            "3c000000 1000 0500 00000000 00000000 00000000 02000000 00000000 00000000"
            "1c001600 18000100 14000b00 03000000 00000000 8866554433221100",
        ),
        (
            state_request(2, 3, VfLinkState.AUTO),
            "34000000 1000 0500 00000000 00000000 00000000 02000000 00000000 00000000"
            "14001600 10000100 0c000500 03000000 00000000",
        ),
        (
            state_request(2, 3, VfLinkState.ENABLE),
            "34000000 1000 0500 00000000 00000000 00000000 02000000 00000000 00000000"
            "14001600 10000100 0c000500 03000000 01000000",
        ),
        (
            state_request(2, 3, VfLinkState.DISABLE),
            "34000000 1000 0500 00000000 00000000 00000000 02000000 00000000 00000000"
            "14001600 10000100 0c000500 03000000 02000000",
        ),
    ],
    ids=["node GUID", "port GUID", "auto", "enable", "disable"],
)
def test_what_is_sent_is_what_ip_sends(request_bytes: bytes, sent: str) -> None:
    """Type RTM_NEWLINK, flags REQUEST and ACK, one attribute of one VF, the host's byte order."""
    assert bytes.fromhex(sent) == without_sequence(request_bytes)


def test_one_interface_is_asked_for_with_its_vfs() -> None:
    """By index; RTEXT_FILTER_VF and SKIP_STATS, as ip has it, and no name."""
    sent = "28000000 1200 0100 00000000 00000000 00000000 02000000 00000000 00000000"
    assert bytes.fromhex(sent + "08001d00 09000000") == without_sequence(get_request(2))


def test_a_vf_is_read_from_among_all_else() -> None:
    """Its index, its GUIDs in the host's order, its link state."""
    expected = VfSettings(index=3, node_guid=NODE, port_guid=PORT, link_state=VfLinkState.DISABLE)
    assert (expected,) == read_settings(bytes(16) + LINK + ONE_VF)


def test_a_driver_that_tells_no_guids_tells_the_rest() -> None:
    """What is missing is not known, and no zero."""
    info = struct.pack("=HHII", 12, 5, 1, 0)
    raw = struct.pack("=HHHH", 20, 22, 16, 1) + info
    expected = VfSettings(index=1, link_state=VfLinkState.AUTO)
    assert (expected,) == read_settings(bytes(16) + LINK + raw)


def test_a_link_state_of_tomorrow_is_not_known() -> None:
    """A number without a name is none of ours."""
    raw = struct.pack("=HHHH", 20, 22, 16, 1) + struct.pack("=HHII", 12, 5, 1, 7)
    assert (VfSettings(index=1),) == read_settings(bytes(16) + LINK + raw)


@given(st.binary(max_size=200), st.integers(0, len(ONE_VF)))
def test_no_message_is_too_odd_to_read(garbage: bytes, cut: int) -> None:
    """Cut short or followed by garbage, it gives what can be read, or nothing."""
    assert len(read_settings(bytes(16) + LINK + ONE_VF[:cut] + garbage)) <= 200
    read_settings(garbage)
