"""The names of the field: GUID, GID, pkey, PCI address, DRA device name.

Why: a byte-swapped GUID or a partition key with its membership bit the wrong way round
puts a tenant on another tenant's fabric.  Each kind is read and written here and only
here, in one canonical text form: the one sysfs prints.

The types are ``NewType``s over ``str`` and ``int``, so that they encode as plain JSON
in state files and ResourceSlices.
"""

from __future__ import annotations

import re
from typing import NewType

from ibdra_domain.errors import InvalidIdentifier

Guid = NewType("Guid", str)
"""64-bit EUI, as sysfs prints it: ``a088:c203:0012:3456`` (IBA 1.7, 4.1)."""

Gid = NewType("Gid", str)
"""128 bits, prefix then GUID, as sysfs prints it: ``fe80:0000:0000:0000:a088:c203:0012:3456``."""

Pkey = NewType("Pkey", int)
"""16-bit partition key; bit 15 set means full membership (IBA 1.7, 10.9.1.1)."""

PciAddress = NewType("PciAddress", str)
"""``dddd:bb:dd.f`` in lower case; the domain has five digits behind some bridges."""

DeviceName = NewType("DeviceName", str)
"""A DRA device name: a DNS label, unique in its pool."""

FULL_MEMBER = 0x8000
ZERO_GUID = Guid("0000:0000:0000:0000")

_GUID = re.compile(r"[0-9a-f]{4}(?::[0-9a-f]{4}){3}\Z")
_GID = re.compile(r"[0-9a-f]{4}(?::[0-9a-f]{4}){7}\Z")
_PCI = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]\Z")


def parse_guid(text: str) -> Guid:
    """Read a GUID in sysfs form.  Raises InvalidIdentifier."""
    lowered = text.strip().lower()
    if not _GUID.match(lowered):
        raise InvalidIdentifier(
            f"{text!r} is not a GUID",
            remedy="write four groups of four hexadecimal digits, as sysfs prints it",
        )
    return Guid(lowered)


def guid_from_int(value: int) -> Guid:
    """Write a 64-bit number, most significant byte first, as a GUID."""
    if not 0 <= value < 1 << 64:
        raise InvalidIdentifier(f"{value:#x} is not a GUID", remedy="give a 64-bit number")
    digits = f"{value:016x}"
    return Guid(":".join(digits[i : i + 4] for i in range(0, 16, 4)))


def guid_to_int(guid: Guid) -> int:
    """Give the GUID's 64 bits, most significant byte first."""
    return int(guid.replace(":", ""), 16)


def parse_gid(text: str) -> Gid:
    """Read a GID in sysfs form.  Raises InvalidIdentifier."""
    lowered = text.strip().lower()
    if not _GID.match(lowered):
        raise InvalidIdentifier(
            f"{text!r} is not a GID",
            remedy="write eight groups of four hexadecimal digits, as sysfs prints it",
        )
    return Gid(lowered)


def gid_from_bytes(raw: bytes) -> Gid:
    """Write 16 bytes in network order (libibverbs' ``union ibv_gid``) as a GID."""
    if len(raw) != 16:
        raise InvalidIdentifier(f"{len(raw)} bytes are not a GID", remedy="give 16 bytes")
    digits = raw.hex()
    return Gid(":".join(digits[i : i + 4] for i in range(0, 32, 4)))


def gid_prefix(gid: Gid) -> str:
    """Give the subnet prefix: the first four groups."""
    return gid[:19]


def gid_guid(gid: Gid) -> Guid:
    """Give the port GUID: the last four groups."""
    return Guid(gid[20:])


_IPOIB_ADDRESS = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){19}\Z")


def port_guid_of(hardware_address: str) -> Guid | None:
    """Give the port GUID in a 20-byte IPoIB hardware address; None for other addresses.

    The first four bytes (flags and queue pair number) change whenever the interface is
    made anew; the GID behind them does not (RFC 4391, 9.1.1).
    """
    lowered = hardware_address.strip().lower()
    if not _IPOIB_ADDRESS.match(lowered):
        return None
    return guid_from_int(int(lowered.replace(":", "")[24:], 16))


def parse_pkey(text: str) -> Pkey:
    """Read a pkey as sysfs prints it (``0x8001``).  Zero, an empty table entry, is allowed."""
    try:
        value = int(text.strip(), 0)
    except ValueError:
        value = -1
    if not 0 <= value <= 0xFFFF:
        raise InvalidIdentifier(
            f"{text!r} is not a partition key", remedy="write a 16-bit number such as 0x8001"
        )
    return Pkey(value)


def format_pkey(pkey: int) -> str:
    """``0x8001``."""
    return f"{pkey:#06x}"


def partition_of(pkey: int) -> int:
    """Give the partition number: the key without its membership bit."""
    return pkey & 0x7FFF


def parse_pci_address(text: str) -> PciAddress:
    """Read ``0000:3b:00.1`` (or ``10000:01:00.0``).  Raises InvalidIdentifier."""
    lowered = text.strip().lower()
    if not _PCI.match(lowered):
        raise InvalidIdentifier(
            f"{text!r} is not a PCI address",
            remedy="write domain:bus:device.function, 0000:3b:00.1",
        )
    return PciAddress(lowered)


def pci_sort_key(address: PciAddress) -> tuple[int, str]:
    """Order addresses by number, also where domains differ in length."""
    domain, rest = address.split(":", 1)
    return int(domain, 16), rest


def device_name(address: PciAddress, port: int) -> DeviceName:
    """Name a port's DRA device by what never changes: ``pci-0000-3b-00-1-port1`` (D1)."""
    return DeviceName(f"pci-{address.replace(':', '-').replace('.', '-')}-port{port}")
