"""Why: libibverbs knows what sysfs does not print (a port's active MTU)."""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.hardware import HcaPort, VerbsReading


class Verbs(Protocol):
    """Read-only questions to libibverbs, about devices in our own network namespace."""

    def read(self) -> VerbsReading:
        """Open and query every device once.

        A device or port that cannot be opened or queried is left out with a warning.
        No library, no RDMA in the kernel, or no device: an empty reading (the first
        with a warning).  Never raises for what the machine has or lacks.
        """

    def read_port(self, rdma_device: str, port: int) -> HcaPort | None:
        """Query one port now; None if the device is not in our namespace, or is gone."""
