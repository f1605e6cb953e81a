"""What a DRA driver must be able to do for the kubelet.

Why: the kubelet plugin (:mod:`ibdra_adapters.kubelet`) speaks gRPC, sockets and protocol
versions, and nothing else.  Whoever fulfils this Protocol, for InfiniBand or for any
other device, has a complete kubelet plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from ibdra_domain.errors import IbdraError


class ClaimRef(msgspec.Struct, frozen=True, kw_only=True):
    """A ResourceClaim as the kubelet names it."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} ({self.uid})"


class PreparedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One allocated device, ready for use.

    ``requests`` are request names without the part after ``/`` that names a subrequest.
    ``cdi_ids`` are qualified CDI names (``vendor/class=name``) that the runtime injects
    into every container which references one of the requests.
    """

    requests: tuple[str, ...]
    pool: str
    device: str
    cdi_ids: tuple[str, ...]
    share_id: str | None = None


class DraDriver(Protocol):
    """The driver behind a kubelet plugin.  Called from worker threads, maybe several at once."""

    def prepare(
        self, claims: Sequence[ClaimRef]
    ) -> Mapping[str, tuple[PreparedDevice, ...] | IbdraError]:
        """Make the claims' devices usable on this node.

        Gives an entry for every claim's UID: its devices, or why not.  One claim's error
        does not touch the others.  Idempotent: asked again, it gives the same answer.
        """

    def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, IbdraError | None]:
        """Undo ``prepare``.  A claim that was never prepared is a success."""


class HealthStatus(StrEnum):
    """What a driver can say of a device."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class DeviceHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A device's health as the kubelet is told it, and as a pod's status then shows it.

    ``message`` should stay the same while nothing changes: every other text is a write to
    disk and a pod's status for the kubelet; it keeps 1024 characters.  ``updated`` is Unix
    time, of the look that says so.  ``timeout`` is in seconds, after which the kubelet takes
    the health for unknown if it hears nothing; 0 is the kubelet's own, 30.
    """

    pool: str
    device: str
    status: HealthStatus
    message: str = ""
    updated: int = 0
    timeout: int = 0


class DeviceHealthSource(Protocol):
    """A driver that knows how its devices are.  Called from any thread; must not block."""

    def health(self) -> tuple[DeviceHealth, ...]:
        """Give all devices of this node: one that is left out is unknown to the kubelet."""

    def subscribe(self, changed: Callable[[], object]) -> Callable[[], None]:
        """Have ``changed`` called, from any thread, after every change; gives what ends that."""
