"""Why: libibverbs knows what sysfs does not print (a port's active MTU).

It also tells of what nothing else reports in time: a port that goes down, a partition table
that the subnet manager has changed.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.hardware import HcaPort, VerbsReading
from ibdra_domain.ports.events import Events


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


class DeviceEvents(Events, Protocol):
    """What one open RDMA device tells, for one thread at a time.

    Drop it before the device is moved: a move ends every open context.
    """

    @property
    def ended(self) -> bool:
        """Whether nothing more will come: the device failed, left, or this was closed."""


class AsyncEvents(Protocol):
    """Asynchronous events of RDMA devices in our own network namespace."""

    def watch(self, rdma_device: str) -> DeviceEvents:
        """Open a device and follow it until closed.

        Raises KernelRefused: ENODEV if it is not in our namespace, else why it cannot be
        opened.
        """
