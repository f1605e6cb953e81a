"""Nobody counts.

Why: where no metrics are served nothing is kept for them, and the Prometheus library, which
costs 50 ms and 4 MiB, is not imported.
"""

from __future__ import annotations

from ibdra_domain.inventory import Inventory
from ibdra_domain.pool import PoolChanges


class NoMetrics:
    """Fulfils :class:`ibdra_domain.ports.metrics.NodeMetrics`."""

    def action(self, action: str, error: Exception | None = None) -> None:
        """Fulfil the port."""

    def kubelet_request(
        self, method: str, *, seconds: float, error: Exception | None = None
    ) -> None:
        """Fulfil the port."""

    def inventory(self, inventory: Inventory) -> None:
        """Fulfil the port."""

    def held(self, devices: int) -> None:
        """Fulfil the port."""

    def published(self, changes: PoolChanges) -> None:
        """Fulfil the port."""

    def api_request(self, verb: str, error: Exception | None = None) -> None:
        """Fulfil the port."""
