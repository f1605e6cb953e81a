"""ResourceSlices that say what this node has.

Why: the only writer of this driver's slices.  Whatever changes on the node enters through
a new inventory; here it is compared with what the server keeps, and the fewest slices are
written.  A server that does not know counters drops them without a word (D14): that is seen
in its first answer and remembered, or every look would write the pool anew.
"""

from __future__ import annotations

import logging

from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_domain.exclusion import Exclusion, counters_of
from ibdra_domain.inventory import Inventory
from ibdra_domain.kube_objects import ResourceSlice
from ibdra_domain.pool import PoolChanges, plan_pool
from ibdra_domain.ports.kube import Slices
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
        slices: Slices,
        node: str,
        counters: bool = True,
    ) -> None:
        self._discovery = discovery
        self._ledger = ledger
        self._slices = slices
        self._node = node
        self._counters = counters

    def publish(self) -> tuple[Inventory, PoolChanges]:
        """Look at the machine and write what changed; gives the last changes written.

        Raises KubeConflict if somebody else wrote first (do it again), KubeUnavailable,
        HardwareUnreadable.
        """
        with self._ledger.lock:  # not while a move has a device between two places
            inventory = self._discovery.take(self._ledger.remembered())
        changes, kept = self._write(inventory)
        if not kept:
            _log.warning(
                "the API server drops counters: a PF and its VFs look independent to the "
                "scheduler, and are told apart when a claim is prepared"
            )
            self._counters = False
            changes, _ = self._write(inventory)
        _log.info("%d devices published with %d writes", len(inventory.devices), changes.count)
        return inventory, changes

    def _write(self, inventory: Inventory) -> tuple[PoolChanges, bool]:
        """Write what changed; tells whether the server kept the counters in it."""
        exclusion = counters_of(inventory.devices) if self._counters else Exclusion()
        published = (to_dra_device(device) for device in inventory.devices)
        changes = plan_pool(
            self._slices.list(),
            counted(published, exclusion),
            node=self._node,
            counter_sets=exclusion.sets,
        )
        for unwanted in changes.delete:
            self._slices.delete(unwanted)
        written = [(wanted, self._slices.replace(wanted)) for wanted in changes.replace]
        written += [(wanted, self._slices.create(wanted)) for wanted in changes.create]
        return changes, all(_keeps_counters(wanted, found) for wanted, found in written)


def _keeps_counters(wanted: ResourceSlice, found: ResourceSlice) -> bool:
    taken = [[d.consumes_counters for d in s.spec.devices] for s in (wanted, found)]
    return taken[0] == taken[1] and wanted.spec.shared_counters == found.spec.shared_counters
