"""What the driver writes down about a claim, so that nothing is lost with its memory.

Why: the kubelet does not ask again for what it believes prepared, and a device that
nobody remembers stays in a dead pod's namespace for ever (D11).  The record is written
before each change of the outside world (intent) and after it (done).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ibdra_domain.identifiers import DeviceName
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.preparation import PreparedClaim


class Phase(StrEnum):
    """How far a change has come."""

    INTENT = "intent"
    DONE = "done"


class PortOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """How a port was at home before we touched it: what detaching puts back.

    ``netdev``, ``mtu`` (bytes) and ``up`` are the interface's, None without one;
    ``traffic_class`` is None where the driver has no such switch.
    """

    device: DeviceName
    netdev: str | None = None
    mtu: int | None = None
    up: bool | None = None
    traffic_class: int | None = None


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a claim's devices were taken, and what they were before.

    ``pod`` is the holder's "namespace/name", empty where the runtime did not tell.
    """

    netns: NetnsId
    pid: int
    phase: Phase
    origins: tuple[PortOrigin, ...]
    pod: str = ""

    @property
    def holder(self) -> str:
        """Name who has the devices, for messages."""
        process = f"process {self.pid} in {self.netns}"
        return f"pod {self.pod} ({process})" if self.pod else process


class ClaimRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One claim's state file; ``boot_id`` tells whether an attachment can still exist.

    ``on_host_network``: a container that shares the host's namespace was started with it,
    so that its devices may be in use although nothing was moved.
    """

    boot_id: str
    phase: Phase
    prepared: PreparedClaim
    attachment: Attachment | None = None
    on_host_network: bool = False
