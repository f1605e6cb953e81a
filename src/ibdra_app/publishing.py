"""ResourceSlices that say what this node has.

Why: the only writer of this driver's slices.  Whatever changes on the node enters through
a new inventory; here it is compared with what the server keeps, and the fewest slices are
written.
"""

from __future__ import annotations

import logging

from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_domain.inventory import Inventory
from ibdra_domain.pool import PoolChanges, plan_pool
from ibdra_domain.ports.kube import Slices
from ibdra_domain.publication import to_dra_device

_log = logging.getLogger(__name__)


class Publishing:
    """Keeps a node's pool as its hardware is."""

    def __init__(self, *, discovery: Discovery, ledger: Ledger, slices: Slices, node: str) -> None:
        self._discovery = discovery
        self._ledger = ledger
        self._slices = slices
        self._node = node

    def publish(self) -> tuple[Inventory, PoolChanges]:
        """Look at the machine and write what changed.

        Raises KubeConflict if somebody else wrote first (do it again), KubeUnavailable,
        HardwareUnreadable.
        """
        with self._ledger.lock:  # not while a move has a device between two places
            inventory = self._discovery.take(self._ledger.remembered())
        changes = plan_pool(
            self._slices.list(),
            [to_dra_device(device) for device in inventory.devices],
            node=self._node,
        )
        for unwanted in changes.delete:
            self._slices.delete(unwanted)
        for wanted in changes.replace:
            self._slices.replace(wanted)
        for wanted in changes.create:
            self._slices.create(wanted)
        _log.info("%d devices published with %d writes", len(inventory.devices), changes.count)
        return inventory, changes
