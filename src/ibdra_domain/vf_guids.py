"""Which GUID a VF gets: from the operator's file, else derived from its PF's.

Why: without a GUID a VF cannot be used, and two alike on a fabric break both.  Derived ones
must be the same after every reboot (subnet managers and storage servers know hosts by
GUID), differ from all others without anybody keeping a list, and tell the person who reads
a subnet manager's log whose VF it is.

So a VF's GUID is its PF's port GUID with two changes.  The U/L bit of the EUI-64 is set (0x02
of the first byte): it says "locally administered", and no vendor gives such a GUID out, so it
is never a PF's own.  And index + 1 is added to the two bytes in the middle, behind the
vendor's 24 bits and before the card's: ``a088:c203:0040:1000`` gives its VFs
``a288:c203:0140:1000``, ``a288:c203:0240:1000`` and so on.  Vendors count their cards in
the last three bytes, neighbours (the ports of one card) by one, which is why the index is not
added there.  A hash would do as well but say nothing; two PFs whose GUIDs differ in the two
middle bytes only could clash, which is why the planner compares all of a node.

Node and port GUID of a VF are the same, as on HCAs with one port.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

import msgspec

from ibdra_domain.errors import InvalidGuidFile, InvalidIdentifier
from ibdra_domain.identifiers import (
    ZERO_GUID,
    Guid,
    PciAddress,
    guid_from_int,
    guid_to_int,
    parse_guid,
    parse_pci_address,
)

LOCAL = 0x02 << 56
GROUP = 0x01 << 56
_MIDDLE_SHIFT = 24
_MIDDLE = 0xFFFF
MOST_VFS = 0xFFFF
_INDEX = re.compile(r"(?:0|[1-9]\d{0,4})\Z", re.ASCII)
_TABLE_LINE = re.compile(r"\s*\[\s*[\"']?([^\"'\]]*?)[\"']?\s*\]")
_KEY_LINE = re.compile(r"\s*[\"']?([^\"'=\s]+)[\"']?\s*=")


def derived_guid(pf: Guid, index: int) -> Guid:
    """Derive a VF's GUID from its PF's port GUID.  Raises InvalidIdentifier.

    For one PF no two of the 65,535 possible VFs get the same.
    """
    why = unfit(pf)
    if why is not None:
        raise InvalidIdentifier(
            f"no VF's GUID can be derived from {pf}: {why}", remedy="give the VFs' GUIDs in a file"
        )
    if not 0 <= index < MOST_VFS:
        raise InvalidIdentifier(f"{index} is no VF's index", remedy="count from 0 to 65534")
    number = guid_to_int(pf)
    middle = number >> _MIDDLE_SHIFT & _MIDDLE
    kept = number & ~(_MIDDLE << _MIDDLE_SHIFT)
    return guid_from_int(kept | (middle + index + 1 & _MIDDLE) << _MIDDLE_SHIFT | LOCAL)


def unfit(guid: Guid) -> str | None:
    """Say why a GUID cannot be a port's; None if it can."""
    if guid == ZERO_GUID:
        return "it is zero"
    number = guid_to_int(guid)
    if number == (1 << 64) - 1:
        return "it is all ones"
    if number & GROUP:
        return "it is a group's (0x01 of the first byte is set)"
    return None


class GuidFile(msgspec.Struct, frozen=True):
    """GUIDs an operator has given, by PF and VF index."""

    guids: Mapping[tuple[PciAddress, int], Guid] = {}

    def of(self, pf: PciAddress, index: int) -> Guid | None:
        """Find the GUID given for a VF."""
        return self.guids.get((pf, index))


def parse_guid_file(text: str, *, name: str = "the GUID file") -> GuidFile:
    """Read a GUID file: a table a PF (its PCI address), in it ``index = "GUID"``.

    By PF and index, not by the VFs' addresses: these are known only once there are VFs.

    Raises InvalidGuidFile with a line about everything that is wrong: what is no TOML, no
    address, no index, no GUID or none that a port can have, and each GUID or VF that comes
    twice.
    """
    try:
        document = tomllib.loads(text + "\n")  # so that it tells the line also of the last
    except tomllib.TOMLDecodeError as error:
        raise _invalid([f"{name}: {error}"]) from error
    lines = _line_numbers(text)
    guids: dict[tuple[PciAddress, int], Guid] = {}
    wrong: list[str] = []
    first: dict[Guid, str] = {}
    for table, entries in document.items():
        try:
            pf = parse_pci_address(table)
        except InvalidIdentifier as error:
            wrong.append(f"{_at(name, lines, table, '')}: {error.problem}")
            continue
        if not isinstance(entries, dict):
            wrong.append(f"{_at(name, lines, '', table)}: {table} is not a table of GUIDs")
            continue
        for key, value in entries.items():
            place = _at(name, lines, table, key)
            try:
                index, guid = _entry(key, value)
            except InvalidIdentifier as error:
                wrong.append(f"{place}: {error.problem}")
                continue
            if guid in first:
                wrong.append(f"{place}: {guid} is given twice, first at {first[guid]}")
            elif (pf, index) in guids:
                wrong.append(f"{place}: VF {index} of {pf} is given twice")
            first.setdefault(guid, place)
            guids.setdefault((pf, index), guid)
    if wrong:
        raise _invalid(wrong)
    return GuidFile(guids)


def _entry(key: str, value: object) -> tuple[int, Guid]:
    if not _INDEX.match(key) or int(key) >= MOST_VFS:
        raise InvalidIdentifier(f"{key!r} is no VF's index", remedy="count from 0")
    if not isinstance(value, str):
        raise InvalidIdentifier(f"{value!r} is not a GUID", remedy="write it in quotes")
    guid = parse_guid(value)
    why = unfit(guid)
    if why is not None:
        raise InvalidIdentifier(f"{guid} cannot be a VF's: {why}", remedy="give another")
    return int(key), guid


def _line_numbers(text: str) -> dict[tuple[str, str], int]:
    """Find the line of each table and entry; the TOML reader does not tell."""
    found: dict[tuple[str, str], int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE_LINE.match(line):
            table = match[1]
            found[table, ""] = number
        elif match := _KEY_LINE.match(line):
            found[table, match[1]] = number
    return found


def _at(name: str, lines: Mapping[tuple[str, str], int], table: str, key: str) -> str:
    line = lines.get((table, key)) or lines.get((table, ""))
    return f"{name}:{line}" if line else name


def _invalid(wrong: list[str]) -> InvalidGuidFile:
    return InvalidGuidFile(
        "; ".join(wrong),
        remedy='write [ "PF address" ] and below it index = "GUID", as sysfs prints them',
    )
