"""Why: somebody watches a thousand nodes, and looks at numbers, not at logs.

Numbers are by-products: no method raises, blocks, or has a say in what is done.  Any thread
may call.  Errors are given as they are and counted by their class, so that no message, and no
name of a claim, ever becomes a series of its own.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.inventory import Inventory
from ibdra_domain.pool import PoolChanges


class NodeMetrics(Protocol):
    """What the node agent counts."""

    def action(self, action: str, error: Exception | None = None) -> None:
        """Count a claim's ``prepare``, ``unprepare``, ``attach`` or ``detach``."""

    def kubelet_request(
        self, method: str, *, seconds: float, error: Exception | None = None
    ) -> None:
        """Count a call of the kubelet's, by gRPC method, and the time it took."""

    def inventory(self, inventory: Inventory) -> None:
        """Tell what the machine has now, in place of what was told before."""

    def held(self, devices: int) -> None:
        """Tell how many devices claims hold now."""

    def published(self, changes: PoolChanges) -> None:
        """Tell that the slices are as the machine is, now, and what was written for that."""

    def api_request(self, verb: str, error: Exception | None = None) -> None:
        """Count a call of the API server: ``get``, ``list``, ``watch``, ``create``, ..."""


class WebhookMetrics(Protocol):
    """What the webhook counts."""

    def review(self, kind: str, verdict: str, seconds: float) -> None:
        """Count a review, by kind of object and verdict, and the time it took."""
