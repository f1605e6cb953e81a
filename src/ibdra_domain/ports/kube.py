"""Why: the driver reads claims, owns its slices and tells pods what went wrong; no more.

Errors of every method: KubeNotFound, KubeConflict, KubeUnavailable (worth another try),
KubeFailed (everything else, permission above all).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from ibdra_domain.kube_objects import (
    AllocatedDeviceStatus,
    ConsumerReference,
    ResourceClaim,
    ResourceSlice,
)


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


class SliceWatch(Protocol):
    """What happens to slices, one event after another, for one reader."""

    def __iter__(self) -> Iterator[SliceEvent]:
        """Give itself."""

    def __next__(self) -> SliceEvent:
        """Wait for the next event.

        Raises KubeUnavailable when the server ends the watch, which it does now and then
        (watch again: that begins with what is there), StopIteration once it is closed.
        """

    def close(self) -> None:
        """End it, from any thread; a second call does nothing."""


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

    def watch(self) -> SliceWatch:
        """Give what is there, then every change from this call on."""


class ClaimStatus(Protocol):
    """What we say about our devices in a claim's status."""

    def apply(
        self, namespace: str, name: str, devices: Sequence[AllocatedDeviceStatus], *, uid: str = ""
    ) -> None:
        """Server-side apply ``status.devices`` entries; those we own and do not name go.

        With a ``uid``, KubeConflict if that name is another claim's by now.
        """


class Nodes(Protocol):
    """Nodes, read only."""

    def uid(self, name: str) -> str:
        """Give a node's UID.  Raises KubeNotFound until its kubelet has registered it."""


class PodEvents(Protocol):
    """What ``kubectl describe pod`` shows under Events."""

    def warn(self, pod: ConsumerReference, *, namespace: str, reason: str, message: str) -> None:
        """Record a warning; the same one again raises its count."""
