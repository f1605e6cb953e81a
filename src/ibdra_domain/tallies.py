"""Facts counted: what of a machine, and of what went wrong, is worth a number.

Why: numbers are kept for months and compared, so what they are counted by must be a handful
of known words.  An error counts by its kind, never by its text; a device by what it is, never
by its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec

from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import FunctionType, Inventory, Presence

UNKNOWN = "unknown"


class DeviceGroup(msgspec.Struct, frozen=True):
    """What devices are counted by: PF or VF, the port's state, the isolation mode."""

    type: str
    state: str
    isolation: str


def devices_by_group(inventory: Inventory) -> Mapping[DeviceGroup, int]:
    """Count the devices of a machine, those that pods have included."""
    return Counter(
        DeviceGroup(
            device.function_type.value,
            device.link.state.value if device.link.state is not None else UNKNOWN,
            device.isolation.value if device.isolation is not None else UNKNOWN,
        )
        for device in inventory.devices
        if device.presence is not Presence.GONE
    )


def vfs_by_pf(inventory: Inventory) -> Mapping[PciAddress, int]:
    """Count the VFs of each PF of a machine, however many ports a function has."""
    found: dict[PciAddress, set[PciAddress]] = {}
    for device in inventory.devices:
        if device.presence is Presence.GONE:
            continue
        if device.function_type is FunctionType.PF:
            found.setdefault(device.pci, set())
        elif device.parent_pci is not None:
            found.setdefault(device.parent_pci, set()).add(device.pci)
    return {pf: len(vfs) for pf, vfs in found.items()}


def kind_of(error: Exception) -> str:
    """Give what an error is counted by: its class, of which there are only so many."""
    return type(error).__name__
