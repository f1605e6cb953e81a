"""What this node has, in ResourceSlices.

Why: the only source of this driver's slices.  Whatever changes on the node enters through a
new inventory; the publisher compares it with what the server keeps.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_app.monitoring import Monitoring
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_domain.exclusion import Exclusion, counters_of
from ibdra_domain.health import Reason, TaintEffect, taints_of
from ibdra_domain.inventory import IbDevice, Inventory, Platform
from ibdra_domain.kube_objects import Device
from ibdra_domain.pool import PoolChanges
from ibdra_domain.publication import counted, to_dra_device

_log = logging.getLogger(__name__)


class Publishing:
    """Keeps a node's pool as its hardware is.

    ``counters``: let the scheduler know what excludes what, if the server keeps it.
    ``taint``: what the taint of an unhealthy device does.
    """

    def __init__(
        self,
        *,
        discovery: Discovery,
        ledger: Ledger,
        publisher: SlicePublisher,
        monitoring: Monitoring,
        counters: bool = True,
        taint: TaintEffect = TaintEffect.NO_SCHEDULE,
    ) -> None:
        self._discovery = discovery
        self._ledger = ledger
        self._publisher = publisher
        self._monitoring = monitoring
        self._counters = counters
        self._taint = taint
        self.published = False
        self._platform: Platform | None = None

    def publish(self) -> tuple[Inventory, PoolChanges]:
        """Look at the machine and write what changed; gives the last changes written.

        Raises what :meth:`SlicePublisher.publish` raises, and HardwareUnreadable.
        """
        inventory = self.look()
        return inventory, self.write(inventory)

    def look(self) -> Inventory:
        """Look at the machine, and judge it.  Raises HardwareUnreadable."""
        with self._ledger.lock:  # not while a move has a device between two places
            inventory = self._discovery.take(self._ledger.remembered())
        self._monitoring.look(inventory)
        if inventory.platform is not self._platform:  # at the start, or VFs' PFs came or went
            self._platform = inventory.platform
            _log.info("this machine: %s", inventory.platform.value)
        return inventory

    def write(self, inventory: Inventory) -> PoolChanges:
        """Write what changed.  Raises what :meth:`SlicePublisher.publish` raises."""
        exclusion = counters_of(inventory.devices) if self._counters else Exclusion()
        tainting = not self._taints
        while tainting != self._taints:  # a server that drops taints shows it at the first write
            tainting = self._taints
            devices = [d for d in inventory.devices if tainting or not self._useless(d)]
            published = counted((self._to_dra_device(d) for d in devices), exclusion)
            changes = self._publisher.publish(published, counter_sets=exclusion.sets)
        self.published = True
        level = logging.INFO if changes.count else logging.DEBUG
        _log.log(level, "%d devices published with %d writes", len(devices), changes.count)
        return changes

    @property
    def _taints(self) -> bool:
        return self._taint is not TaintEffect.NONE and self._publisher.keeps.taints

    def _useless(self, device: IbDevice) -> bool:
        """Tell a device that no pod can ever use: without a taint it is not offered at all."""
        return self._monitoring.verdict(device).reason is Reason.ZERO_GUID

    def _to_dra_device(self, device: IbDevice) -> Device:
        taints = taints_of(self._monitoring.verdict(device), self._taint)
        return replace(to_dra_device(self._monitoring.as_told(device)), taints=taints)
