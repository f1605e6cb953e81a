"""GUIDs, GIDs, pkeys, PCI addresses and device names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.errors import InvalidIdentifier
from ibdra_domain.identifiers import (
    PciAddress,
    device_name,
    format_pkey,
    gid_from_bytes,
    gid_prefix,
    guid_from_int,
    guid_to_int,
    parse_gid,
    parse_guid,
    parse_pci_address,
    parse_pkey,
    partition_of,
    pci_sort_key,
    port_guid_of,
)
from unit.domain.domain_facts import GID0, IPOIB_ADDRESS, NODE_GUID, PORT_GUID
from unit.domain.domain_strategies import pci_address, pci_addresses, pci_numbers

port_numbers = st.integers(1, 255)


@given(st.integers(0, 2**64 - 1))
def test_guids_go_to_text_and_back(value: int) -> None:
    """A number written as a GUID reads as that GUID and gives the number again."""
    guid = guid_from_int(value)
    assert guid == parse_guid(guid)
    assert value == guid_to_int(guid)


def test_a_guid_is_written_most_significant_byte_first() -> None:
    """The first byte on the wire is the first on paper, as sysfs prints it."""
    assert "a088:c203:0012:3456" == guid_from_int(0xA088C20300123456)


@pytest.mark.parametrize("text", ["A088:C203:0012:3456", " a088:c203:0012:3456\n"])
def test_a_guid_is_read_in_any_case_and_trimmed(text: str) -> None:
    """One canonical form comes out, whoever wrote it."""
    assert NODE_GUID == parse_guid(text)


@pytest.mark.parametrize(
    "text",
    ["", "a088", "a088:c203:0012", "a088:c203:0012:345", "a088:c203:0012:345g", f"{NODE_GUID}:0"],
)
def test_what_is_not_a_guid_is_refused(text: str) -> None:
    """The message quotes the text and shows the form."""
    with pytest.raises(InvalidIdentifier) as caught:
        parse_guid(text)
    assert f"{text!r} is not a GUID" == caught.value.problem


@pytest.mark.parametrize("value", [-1, 2**64])
def test_a_number_beyond_64_bits_is_no_guid(value: int) -> None:
    """Nothing is cut off silently."""
    with pytest.raises(InvalidIdentifier, match="64-bit"):
        guid_from_int(value)


@given(st.binary(min_size=16, max_size=16))
def test_gids_keep_their_bytes(raw: bytes) -> None:
    """A GID from bytes reads as itself, and its halves are the bytes' halves."""
    gid = gid_from_bytes(raw)
    assert gid == parse_gid(gid)
    assert raw == bytes.fromhex(gid.replace(":", ""))
    assert raw[:8] == bytes.fromhex(gid_prefix(gid).replace(":", ""))
    assert int.from_bytes(raw[8:], "big") == int(gid[20:].replace(":", ""), 16)


@given(st.binary(max_size=40).filter(lambda raw: len(raw) != 16))
def test_only_sixteen_bytes_are_a_gid(raw: bytes) -> None:
    """Any other length is refused."""
    with pytest.raises(InvalidIdentifier, match=f"{len(raw)} bytes"):
        gid_from_bytes(raw)


@pytest.mark.parametrize("text", ["", "fe80::1", str(NODE_GUID), f"{GID0}:0000"])
def test_what_is_not_a_gid_is_refused(text: str) -> None:
    """Sysfs' long form only: an abbreviated IPv6 address is none."""
    with pytest.raises(InvalidIdentifier, match="is not a GID"):
        parse_gid(text)


def test_an_ipoib_address_ends_in_the_port_guid() -> None:
    """Flags, queue pair number and subnet prefix before it do not count."""
    assert PORT_GUID == port_guid_of(IPOIB_ADDRESS)
    assert PORT_GUID == port_guid_of("80:ff:ff:ff" + IPOIB_ADDRESS[11:].upper() + "\n")


@pytest.mark.parametrize(
    "text", ["", "a0:88:c2:12:34:56", IPOIB_ADDRESS[:-3], IPOIB_ADDRESS + ":0"]
)
def test_other_hardware_addresses_have_no_port_guid(text: str) -> None:
    """Ethernet's, an empty one, or one of the wrong length."""
    assert port_guid_of(text) is None


@given(st.integers(0, 0xFFFF))
def test_pkeys_go_to_text_and_back(value: int) -> None:
    """Membership is bit 15, the partition the other fifteen; nothing else is in a key."""
    text = format_pkey(value)
    assert 6 == len(text)
    assert value == parse_pkey(text)
    assert value == (value & 0x8000) + partition_of(value)


@pytest.mark.parametrize("text", ["", "0x", "8001h", "0x10000", "-1", "0x8001 0x8002", "9" * 5000])
def test_what_is_not_a_pkey_is_refused(text: str) -> None:
    """Sixteen bits, as sysfs prints them."""
    with pytest.raises(InvalidIdentifier, match="is not a partition key"):
        parse_pkey(text)


@given(pci_addresses)
def test_pci_addresses_read_as_they_are_written(address: PciAddress) -> None:
    """Also in capitals, and with a newline behind."""
    assert address == parse_pci_address(f"{address.upper()}\n")


@pytest.mark.parametrize(
    "text",
    ["", "3b:00.0", "0000:3b:00", "0000:3b:00.8", "0000:3b:20.0", "0000-3b-00.0", "0000:3b:00.0/x"],
)
def test_what_is_not_a_pci_address_is_refused(text: str) -> None:
    """The domain is needed; a device has five bits, a function three."""
    with pytest.raises(InvalidIdentifier, match="is not a PCI address"):
        parse_pci_address(text)


@given(st.lists(pci_numbers))
def test_pci_order_is_numeric_order(numbers: list[tuple[int, int, int, int]]) -> None:
    """Also where domains differ in length (0000 and 10000)."""
    addresses = sorted((pci_address(*n) for n in numbers), key=pci_sort_key)
    assert [pci_address(*n) for n in sorted(numbers)] == addresses


def test_a_device_name_says_address_and_port() -> None:
    """What never changes, in the letters a DNS label has."""
    assert "pci-0000-3b-00-1-port2" == device_name(PciAddress("0000:3b:00.1"), 2)


@given(pci_addresses, port_numbers)
def test_device_names_are_dns_labels(address: PciAddress, port: int) -> None:
    """The API server takes every name we make."""
    name = device_name(address, port)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name)
    assert len(name) <= 63


@given(pci_addresses, port_numbers, pci_addresses, port_numbers)
def test_device_names_are_injective(
    address: PciAddress, port: int, other: PciAddress, other_port: int
) -> None:
    """Two ports never share a name."""
    same = (address, port) == (other, other_port)
    assert same == (device_name(address, port) == device_name(other, other_port))
