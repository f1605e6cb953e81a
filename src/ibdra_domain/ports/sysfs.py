"""Why: most facts about HCAs, and all about SR-IOV, stand in sysfs."""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.hardware import CharDevice, ErrorCounters, SysfsReading
from ibdra_domain.identifiers import PciAddress, Pkey


class Sysfs(Protocol):
    """Facts and switches below one directory that stands for ``/sys``."""

    def read(self) -> SysfsReading:
        """Walk the tree once.

        Raises HardwareUnreadable only if the directory itself cannot be read; every
        other trouble is a warning in the reading.
        """

    def pkey_table(self, rdma_device: str, port: int) -> tuple[Pkey, ...]:
        """Read the port's partition table, index 0 first, trailing empty entries cut.

        Raises HardwareUnreadable if the port is not visible from this namespace.
        """

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """List the RDMA character devices, those of devices in other namespaces too.

        With ``below`` only that function's, which costs a tenth on a machine of many.
        """

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Name the RDMA devices on a function that are in this namespace; mostly one.

        A device's name does not tell where it is: on newer kernels (seen on 7.3) each
        namespace has names of its own, and another device may have the same elsewhere.
        """

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Read the port's default traffic class.

        None where the driver has no such file, -1 where it has and none is set.
        """

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Write it; -1 unsets it.  Raises KernelRefused."""


class PortCounters(Protocol):
    """What ports count; each reading is a question to the HCA's firmware, so ask seldom."""

    def error_counters(self, rdma_device: str, port: int) -> ErrorCounters:
        """Read a port's error counters; one that cannot be read is None, and nothing raises."""
