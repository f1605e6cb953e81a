"""A real kernel under the netlink contract: the virtual node's, seen from inside.

Why: the suite is the same for the fake and the kernel, so that neither can drift from the
other.  Before each test the node is put back to what the suite expects: devices at home,
interfaces under their names and up, no children, no other namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ibdra_adapters.netlink.namespaces import LinuxNamespaces, LinuxNetns, enter
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind, RdmaIsolation
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Netns

IN_GUEST = os.environ.get("IBDRA_VIRTUAL_NODE") == "1"
MODE = os.environ.get("IBDRA_VIRTUAL_NODE_MODE", "")
DRIVER = "mlx5_core"
_PATIENCE = 15.0
_Seen = TypeVar("_Seen")


def functions() -> list[PciAddress]:
    """Give the two PFs and, with its one VF made, the VF of the first."""
    devices = Path("/sys/bus/pci/devices")
    pfs = sorted(p.name for p in devices.iterdir() if (p / "sriov_totalvfs").exists())[:2]
    sriov = SysfsSriov()
    for name in pfs:
        if not (devices / name / "driver").exists():
            sriov.bind(PciAddress(name), DRIVER)
    count = devices / pfs[0] / "sriov_numvfs"
    if count.read_text().strip() == "0":
        sriov.set_num_vfs(PciAddress(pfs[0]), 1)
    vf = PciAddress((devices / pfs[0] / "virtfn0").resolve().name)
    if not (devices / vf / "driver").exists():
        sriov.bind(vf, DRIVER)
    return [PciAddress(name) for name in (*pfs, vf)]


def facts() -> tuple[list[str], list[Guid], list[PciAddress]]:
    """Give names, port GUIDs and PCI addresses of the three devices, in that order."""
    addresses = functions()
    names = [eventually(lambda a=a: _name_on(a)) for a in addresses]  # type: ignore[misc]  # a default binds the loop's value
    gids = [Path(f"/sys/class/infiniband/{n}/ports/1/gids/0").read_text().strip() for n in names]
    return names, [Guid(gid[20:]) for gid in gids], addresses


class KernelMachine:
    """The virtual node under the suite."""

    def __init__(self, netdevs: dict[str, str], guids: dict[str, Guid]) -> None:
        self.namespaces = LinuxNamespaces()
        self.rdma = LinuxRdmaDevices(self.namespaces)
        self.links = LinuxLinks()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._guids = guids
        self._put_right(netdevs)
        self.ipoib_follows_device = tuple(
            int(part) for part in os.uname().release.split("-")[0].split(".")[:2]
        ) >= (6, 17)

    def start_process(self) -> int:
        """Start a process in a network namespace of its own."""
        process = subprocess.Popen(["unshare", "-n", "sleep", "300"])
        own = Path(f"/proc/{process.pid}/ns/net")
        host = Path("/proc/1/ns/net").stat().st_ino
        eventually(lambda: own.stat().st_ino != host)
        eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
        self._processes[process.pid] = process
        return process.pid

    def end_process(self, pid: int) -> None:
        """End it, and wait until the kernel has cleaned up behind it."""
        process = self._processes.pop(pid)
        process.kill()
        process.wait()
        time.sleep(0.5)  # the kernel's clean-up of namespaces tells nobody when it is done

    def pull_out(self, rdma_device: str) -> None:
        """Take a device away by unbinding its driver."""
        node = next(
            n
            for n in self.char_devices()
            if n.kind is CharDeviceKind.UVERBS and n.rdma_device == rdma_device
        )
        assert node.pci is not None
        SysfsSriov().unbind(node.pci)

    def char_devices(self) -> tuple[CharDevice, ...]:
        """List the nodes below /dev/infiniband."""
        return SysfsTree().char_devices()

    def open_node(self, path: str, *, pid: int | None) -> None:
        """Open a node from a process' namespace, or (None) from the host's."""
        netns = self.namespaces.host() if pid is None else self.namespaces.of_process(pid)
        failed: list[OSError] = []

        def work() -> None:
            try:
                assert isinstance(netns, LinuxNetns)
                enter(netns.fd)
                os.close(os.open(path, os.O_RDWR))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        netns.close()
        if failed:
            raise KernelRefused(
                f"{path} cannot be opened", remedy="none", errno=failed[0].errno or errno.EIO
            ) from failed[0]

    def open_handles(self) -> int:
        """Count the namespaces held open by this process; ends what the test left running."""
        for pid in list(self._processes):
            self.end_process(pid)
        targets = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                targets.append(str(entry.readlink()))
        return sum(target.startswith("net:[") for target in targets)

    def _put_right(self, netdevs: dict[str, str]) -> None:
        functions()
        self.rdma.set_isolation(RdmaIsolation(MODE))
        host = self.namespaces.host()
        try:
            eventually(lambda: set(netdevs) <= set(self.rdma.names(host)))
            eventually(lambda: all(self._own(host, name) for name in netdevs))
            for link in self.links.list(host):
                if link.parent is not None and link.port_guid is not None:
                    self.links.remove(link.index, netns=host)
            for name, wanted in netdevs.items():
                index, current = self._own(host, name)
                if current != wanted:
                    self.links.configure(index, netns=host, up=False)
                    self.links.rename(index, f"aside{index}", netns=host)
            for name, wanted in netdevs.items():
                index, current = self._own(host, name)
                if current != wanted:
                    self.links.rename(index, wanted, netns=host)
                self.links.configure(index, netns=host, mtu=4092, up=True)
        finally:
            host.close()

    def _own(self, host: Netns, name: str) -> tuple[int, str]:
        guid = self._guids[name]
        links = self.links.list(host)
        own = [x for x in links if x.port_guid == guid and x.parent is None]
        return own[0].index, own[0].name


def eventually(look: Callable[[], _Seen]) -> _Seen:
    """Look until what is seen is true; at the end of patience fail as the last look did."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError, LookupError, StopIteration, KernelRefused):
            if seen := look():
                return seen
        time.sleep(0.02)
    return look()


def _name_on(address: PciAddress) -> str:
    return next(
        n.rdma_device or ""
        for n in SysfsTree().char_devices()
        if n.kind is CharDeviceKind.UVERBS and n.pci == address
    )
