"""Why: the driver reads claims and owns its slices; it needs no more of an API server.

Errors of every method: KubeNotFound, KubeConflict, KubeUnavailable (worth another try),
KubeFailed (everything else, permission above all).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

import msgspec

from ibdra_domain.kube_objects import ResourceClaim, ResourceSlice


class Claims(Protocol):
    """ResourceClaims, read only."""

    def get(self, namespace: str, name: str) -> ResourceClaim:
        """Read one claim.  Raises KubeNotFound if it is gone."""


class SliceChange(StrEnum):
    """What a watch saw happen to a slice."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class SliceEvent(msgspec.Struct, frozen=True):
    """One change, with the slice as it is now (or was when deleted)."""

    change: SliceChange
    slice: ResourceSlice


class Slices(Protocol):
    """The ResourceSlices of one driver on one node."""

    def list(self) -> tuple[ResourceSlice, ...]:
        """Read all of them, sorted by name."""

    def create(self, wanted: ResourceSlice) -> ResourceSlice:
        """Create one and give it as the server keeps it (fields may be missing)."""

    def replace(self, wanted: ResourceSlice) -> ResourceSlice:
        """Write over one; its ``resource_version`` must be the server's latest."""

    def delete(self, unwanted: ResourceSlice) -> None:
        """Delete one if UID and resource version still agree; gone is a success."""

    def watch(self) -> Iterator[SliceEvent]:
        """Give what is there, then every change, until closed.  May raise KubeUnavailable."""


class ClaimStatus(Protocol):
    """What we say about our devices in a claim's status."""

    def apply(self, namespace: str, name: str, devices: list[dict[str, object]]) -> None:
        """Server-side apply ``status.devices`` entries; those we own and do not name go."""
