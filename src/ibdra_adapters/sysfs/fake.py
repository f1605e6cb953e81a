"""Sysfs in memory, for tests of whatever leans on the port.

Why: a use case's test wants to say "this port has these pkeys" in one line, not to build
a tree.  It passes the same contract suite as the real reader.
"""

from __future__ import annotations

import errno

from ibdra_domain.errors import HardwareUnreadable, KernelRefused
from ibdra_domain.hardware import CharDevice, ErrorCounters, SysfsReading
from ibdra_domain.identifiers import PciAddress, Pkey


class FakeSysfs:
    """Hold the facts it is given; all of them may be changed at any time.

    ``pkeys``, ``traffic_classes`` and ``counters`` are by RDMA device name and port number;
    a port without an entry in ``traffic_classes`` has no such switch.
    """

    def __init__(
        self,
        reading: SysfsReading | None = None,
        *,
        char_devices: tuple[CharDevice, ...] = (),
        pkeys: dict[tuple[str, int], tuple[Pkey, ...]] | None = None,
        traffic_classes: dict[tuple[str, int], int] | None = None,
    ) -> None:
        self.reading = reading or SysfsReading()
        self.nodes = char_devices
        self.pkeys = pkeys if pkeys is not None else {}
        self.counters: dict[tuple[str, int], ErrorCounters] = {}
        self.traffic_classes = traffic_classes if traffic_classes is not None else {}

    def read(self) -> SysfsReading:
        """Fulfil the port."""
        return self.reading

    def pkey_table(self, rdma_device: str, port: int) -> tuple[Pkey, ...]:
        """Fulfil the port."""
        try:
            table = list(self.pkeys[rdma_device, port])
        except KeyError as error:
            raise HardwareUnreadable(
                f"the partition table of {rdma_device} port {port} cannot be read",
                remedy="give the fake one",
            ) from error
        while table and not table[-1]:
            table.pop()
        return tuple(table)

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        return tuple(node for node in self.nodes if below is None or node.pci == below)

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Fulfil the port."""
        return tuple(hca.name for hca in self.reading.hcas if hca.pci == pci)

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port."""
        return self.traffic_classes.get((rdma_device, port))

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        if (rdma_device, port) not in self.traffic_classes:
            raise KernelRefused(
                f"{rdma_device} port {port} has no traffic class switch",
                remedy="give the fake one",
                errno=errno.ENOENT,
            )
        self.traffic_classes[rdma_device, port] = value

    def error_counters(self, rdma_device: str, port: int) -> ErrorCounters:
        """Fulfil the port."""
        return self.counters.get((rdma_device, port), ErrorCounters())
