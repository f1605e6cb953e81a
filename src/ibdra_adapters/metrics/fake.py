"""Metrics that remember, for tests and for who wants none served."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import Inventory
from ibdra_domain.pool import PoolChanges
from ibdra_domain.tallies import DeviceGroup, devices_by_group, kind_of, vfs_by_pf

DONE = "done"


class FakeMetrics:
    """Fulfils :class:`NodeMetrics` and :class:`WebhookMetrics`; look at its attributes.

    Results are ``done`` or an error's class.  ``seconds`` are the sums of what took time, by
    method, or by kind and verdict.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.actions: Counter[tuple[str, str]] = Counter()
        self.kubelet_requests: Counter[tuple[str, str]] = Counter()
        self.api_requests: Counter[tuple[str, str]] = Counter()
        self.slice_writes: Counter[str] = Counter()
        self.reviews: Counter[tuple[str, str]] = Counter()
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.devices: Mapping[DeviceGroup, int] = {}
        self.vfs: Mapping[PciAddress, int] = {}
        self.platform: str | None = None
        self.devices_held: int | None = None
        self.published_at: float | None = None

    def action(self, action: str, error: Exception | None = None) -> None:
        """Fulfil the port."""
        self.actions[action, _result(error)] += 1

    def kubelet_request(
        self, method: str, *, seconds: float, error: Exception | None = None
    ) -> None:
        """Fulfil the port."""
        self.kubelet_requests[method, _result(error)] += 1
        self.seconds[method, _result(error)] += seconds

    def inventory(self, inventory: Inventory) -> None:
        """Fulfil the port."""
        self.devices = devices_by_group(inventory)
        self.vfs = vfs_by_pf(inventory)
        self.platform = inventory.platform.value

    def held(self, devices: int) -> None:
        """Fulfil the port."""
        self.devices_held = devices

    def published(self, changes: PoolChanges) -> None:
        """Fulfil the port."""
        self.published_at = self._clock()
        self.slice_writes.update(
            create=len(changes.create), replace=len(changes.replace), delete=len(changes.delete)
        )

    def api_request(self, verb: str, error: Exception | None = None) -> None:
        """Fulfil the port."""
        self.api_requests[verb, _result(error)] += 1

    def review(self, kind: str, verdict: str, seconds: float) -> None:
        """Fulfil the port."""
        self.reviews[kind, verdict] += 1
        self.seconds[kind, verdict] += seconds


def _result(error: Exception | None) -> str:
    return DONE if error is None else kind_of(error)
