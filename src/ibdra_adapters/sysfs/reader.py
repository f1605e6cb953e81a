"""The port's real fulfilment: one walk through a tree that stands for ``/sys``.

Why: only what concerns InfiniBand is read, and each file once: the RDMA devices, their
PCI functions, and the functions of the InfiniBand class that show no RDMA device here
because it is in a pod's namespace, or because no driver is bound.
"""

from __future__ import annotations

import errno as errnos
import os
import re
from pathlib import Path

from ibdra_adapters.sysfs import infiniband, pci
from ibdra_adapters.sysfs.files import Tree
from ibdra_domain.errors import HardwareUnreadable, KernelRefused
from ibdra_domain.hardware import (
    CharDevice,
    ErrorCounters,
    PciFunction,
    RdmaIsolation,
    SysfsReading,
)
from ibdra_domain.identifiers import PciAddress, Pkey

_ISOLATION = {"Y": RdmaIsolation.SHARED, "N": RdmaIsolation.EXCLUSIVE}
_TRAFFIC_CLASS = re.compile(rb"Global tclass=(\d{1,3})\b")
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in a hand-made tree must not block
_PAGE = 4096  # what the kernel ever prints into one attribute
UNSET_TRAFFIC_CLASS = -1


class SysfsTree:
    """Fulfils Sysfs and PortCounters below ``root``; reads nothing before it is asked."""

    def __init__(self, root: str | Path = "/sys") -> None:
        self._root = str(root)

    def read(self) -> SysfsReading:
        """Fulfil the port."""
        self._check_root()
        tree = Tree(self._root)
        hcas = infiniband.read_hcas(tree)
        present = pci.addresses(tree)
        with_rdma = {hca.pci for hca in hcas if hca.pci is not None}
        functions = self._functions(tree, present, with_rdma)
        return SysfsReading(
            addresses=frozenset(present),
            functions=tuple(functions.values()),
            hcas=hcas,
            netdevs=tuple(n for address in functions for n in pci.read_netdevs(tree, address)),
            isolation=tree.parsed(
                "module/ib_core/parameters/netns_mode", _ISOLATION.get, optional=True
            ),
            warnings=tuple(tree.warnings),
        )

    def pkey_table(self, rdma_device: str, port: int) -> tuple[Pkey, ...]:
        """Fulfil the port."""
        table = infiniband.read_pkeys(Tree(self._root), rdma_device, port)
        if table is None:
            raise HardwareUnreadable(
                f"the partition table of {rdma_device} port {port} cannot be read from "
                f"{self._root}/{infiniband.CLASS}/{rdma_device}/ports/{port}/pkeys",
                remedy="the device is gone or in another namespace; the kubelet will ask again",
            )
        return table

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        return tuple(infiniband.read_char_devices(Tree(self._root), below))

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Fulfil the port."""
        return tuple(Tree(self._root).names(f"bus/pci/devices/{pci}/infiniband"))

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port; -1 where the file is there and nothing is set."""
        try:
            handle = os.open(self._traffic_class_file(rdma_device, port), os.O_RDONLY | _FLAGS)
            try:
                raw = os.read(handle, _PAGE)
            finally:
                os.close(handle)
        except OSError:
            return None
        match = _TRAFFIC_CLASS.search(raw)
        return int(match[1]) if match else UNSET_TRAFFIC_CLASS

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        path = self._traffic_class_file(rdma_device, port)
        try:
            handle = os.open(path, os.O_WRONLY | _FLAGS)
            try:
                os.write(handle, f"{value}\n".encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise KernelRefused(
                f"traffic class {value} could not be written to {path}",
                remedy="check that the driver runs as root with a writable /sys, and that the "
                "vendor's driver takes the value",
                errno=error.errno or errnos.EIO,
            ) from error

    def error_counters(self, rdma_device: str, port: int) -> ErrorCounters:
        """Fulfil the port."""
        return infiniband.read_error_counters(Tree(self._root), rdma_device, port)

    def _traffic_class_file(self, rdma_device: str, port: int) -> Path:
        return Path(self._root, infiniband.CLASS, rdma_device, "tc", str(port), "traffic_class")

    def _check_root(self) -> None:
        try:
            os.listdir(self._root)  # noqa: PTH208 -- the walk's own call, for its very error
        except OSError as error:
            raise HardwareUnreadable(
                f"{self._root} cannot be read ({(error.strerror or 'unknown cause').lower()})",
                remedy="give a directory that stands for /sys",
            ) from error

    def _functions(
        self, tree: Tree, present: list[PciAddress], with_rdma: set[PciAddress]
    ) -> dict[PciAddress, PciFunction]:
        """Read the functions below RDMA devices, their PFs, and other InfiniBand functions."""
        found: dict[PciAddress, PciFunction] = {}
        for address in present:
            if address in with_rdma or pci.is_infiniband_controller(tree, address):
                found[address] = pci.read_function(tree, address)
        for function in list(found.values()):
            if function.physfn is not None and function.physfn not in found:
                found[function.physfn] = pci.read_function(tree, function.physfn)
        return found
