"""What this node has, now.

Why: the one place where sysfs, libibverbs and the memory of devices in use come together,
so that every command and every prepare sees the same machine.
"""

from __future__ import annotations

from collections.abc import Iterable

from ibdra_domain.inventory import IbDevice, Inventory, take_inventory
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.ports.verbs import Verbs


class Discovery:
    """Takes inventories."""

    def __init__(self, *, sysfs: Sysfs, verbs: Verbs, include_ethernet: bool = False) -> None:
        self._sysfs = sysfs
        self._verbs = verbs
        self._include_ethernet = include_ethernet

    def take(self, remembered: Iterable[IbDevice] = ()) -> Inventory:
        """Look at the machine.

        ``remembered`` are devices in use, as they were when prepared.  Raises
        HardwareUnreadable if sysfs cannot be read at all.
        """
        return take_inventory(
            self._sysfs.read(),
            self._verbs.read(),
            remembered=remembered,
            include_ethernet=self._include_ethernet,
        )
