"""The virtual node's kernel under the verbs contract, through the machine's own libibverbs.

Why: the stub of libibverbs says what we think a kernel says.  Here a kernel says it, of
which only the HCA is made up.  Before each test the node is put back to what the suite
expects: two PFs, their ports active, no VFs.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from msgspec.structs import replace

from contract.virtual_node import inside
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.hardware import Hca

IN_GUEST = os.environ.get("IBDRA_VIRTUAL_NODE") == "1"
ADDRESSES = ("0000:41:00.0", "0000:81:00.0")
BIND = Path("/sys/bus/pci/drivers/mlx5_core/bind")


def put_right() -> list[Path]:
    """Give the two PFs, bound, without VFs, their ports active and their tables as at boot."""
    functions = [inside.PCI / address for address in ADDRESSES]
    for function in functions:
        if not (function / "driver").exists():
            inside.write(BIND, function.name)
        if inside.read(function / "sriov_numvfs") != "0":
            inside.write(function / "sriov_numvfs", "0")
        inside.write(function / "stub_port_state", "ACTIVE")
        inside.write(function / "stub_pkeys", "0xffff")
        inside.eventually(lambda at=function: inside.node_of(at, "uverbs").exists())  # type: ignore[misc]  # a default binds the loop's value
    return functions


class KernelMachine:
    """The virtual node under the suite; its devices are there from the start."""

    events = (AsyncEventType.PORT_ERROR, AsyncEventType.PORT_ACTIVE, AsyncEventType.PKEY_CHANGE)

    def __init__(self) -> None:
        self._functions = {inside.rdma_device(path): path for path in put_right()}
        self.verbs = LibIbverbs()

    def fill(self) -> tuple[Hca, ...]:
        """Give what sysfs shows, without what libibverbs does not know, and with the MTU."""
        return tuple(
            replace(
                hca,
                pci=None,
                board_id=None,
                hca_type=None,
                ports=tuple(replace(port, active_mtu=4096) for port in hca.ports),
            )
            for hca in SysfsTree().read().hcas
        )

    def remove(self, rdma_device: str) -> None:
        """Unbind the device's driver."""
        function = self._functions[rdma_device]
        inside.write(function / "driver/unbind", function.name)

    def tell(self, rdma_device: str, event: int, port: int) -> None:
        """Have the device raise an event."""
        assert 1 == port
        function = self._functions[rdma_device]
        if event == AsyncEventType.PKEY_CHANGE:
            inside.write(function / "stub_pkeys", "0xffff 0x8001")
        else:
            state = {AsyncEventType.PORT_ERROR: "DOWN", AsyncEventType.PORT_ACTIVE: "ACTIVE"}
            inside.write(function / "stub_port_state", state[AsyncEventType(event)])

    def leaks(self) -> int:
        """Count the descriptors that are open devices and their event queues."""
        targets = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                targets.append(str(entry.readlink()))
        return sum("infiniband" in target for target in targets)
