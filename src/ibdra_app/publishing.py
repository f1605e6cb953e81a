"""What this node has, in ResourceSlices.

Why: the only source of this driver's slices.  Whatever changes on the node enters through a
new inventory; the publisher compares it with what the server keeps.
"""

from __future__ import annotations

import logging

from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_domain.exclusion import Exclusion, counters_of
from ibdra_domain.inventory import Inventory
from ibdra_domain.pool import PoolChanges
from ibdra_domain.publication import counted, to_dra_device

_log = logging.getLogger(__name__)


class Publishing:
    """Keeps a node's pool as its hardware is.

    ``counters``: let the scheduler know what excludes what, if the server keeps it.
    """

    def __init__(
        self,
        *,
        discovery: Discovery,
        ledger: Ledger,
        publisher: SlicePublisher,
        counters: bool = True,
    ) -> None:
        self._discovery = discovery
        self._ledger = ledger
        self._publisher = publisher
        self._counters = counters

    def publish(self) -> tuple[Inventory, PoolChanges]:
        """Look at the machine and write what changed; gives the last changes written.

        Raises what :meth:`SlicePublisher.publish` raises, and HardwareUnreadable.
        """
        with self._ledger.lock:  # not while a move has a device between two places
            inventory = self._discovery.take(self._ledger.remembered())
        exclusion = counters_of(inventory.devices) if self._counters else Exclusion()
        published = counted((to_dra_device(device) for device in inventory.devices), exclusion)
        changes = self._publisher.publish(published, counter_sets=exclusion.sets)
        level = logging.INFO if changes.count else logging.DEBUG
        _log.log(
            level, "%d devices published with %d writes", len(inventory.devices), changes.count
        )
        return inventory, changes
