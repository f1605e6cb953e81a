"""A real kernel under the netlink contract: the virtual node's, seen from inside.

Why: the suite is the same for the fake and the kernel, so that neither can drift from the
other.  Before each test the node is put back to what the suite expects: devices at home
with the numbers they had, interfaces under their names and up, no children, no other
namespace, the mode that is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from contract.netlink.kernel_processes import Processes
from ibdra_adapters.netlink.namespaces import LinuxNamespaces, done_in
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import CharDevice, RdmaIsolation
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Link, Netns

IN_GUEST = os.environ.get("IBDRA_VIRTUAL_NODE") == "1"
MTU = 4092
_FUNCTIONS = Path("/sys/bus/pci/devices")
_DRIVER = Path("/sys/bus/pci/drivers/mlx5_core")
_PATIENCE = 15.0
_Seen = TypeVar("_Seen")
_known: dict[str, bool] = {}


class Device(NamedTuple):
    """An RDMA device of one port, and what it is known by."""

    name: str
    pci: PciAddress
    guid: Guid
    netdev: str


def devices() -> list[Device]:
    """Look at the suite's three devices once, two PFs and a VF of the first, made for that."""
    first, second = _physical_functions()
    _write(first / "sriov_numvfs", "1")
    try:
        functions = (first, second, (first / "virtfn0").resolve())
        return [_device(path, f"ib{n}") for n, path in enumerate(functions)]
    finally:
        _write(first / "sriov_numvfs", "0")


def restore(isolation: RdmaIsolation) -> None:
    """Leave the node as it was before :class:`KernelMachine` put it right."""
    LinuxRdmaDevices(LinuxNamespaces()).set_isolation(isolation)
    first, second = _physical_functions()
    _write(first / "sriov_numvfs", "0")
    for path in (first, second):
        if not (path / "driver").exists():
            _write(_DRIVER / "bind", path.name)


class KernelMachine:
    """The virtual node under the suite."""

    def __init__(self, isolation: RdmaIsolation, known: Sequence[Device]) -> None:
        self.namespaces = LinuxNamespaces()
        self.rdma = LinuxRdmaDevices(self.namespaces)
        self.links = LinuxLinks()
        self._devices = {device.name: device for device in known}
        self._processes = Processes()
        release = os.uname().release.split("-")[0].split("+")[0]
        self.renames_while_up = tuple(map(int, release.split(".")[:2])) >= (6, 2)
        # The last test may have failed, and left a namespace that is still dying.
        eventually(lambda: self._is_switched(isolation))
        if not _in_order(known):
            _renew(known)
        self._put_right()
        self.ipoib_follows_device = isolation is RdmaIsolation.EXCLUSIVE and self._follows()

    def start_process(self) -> int:
        """Start a process in a network namespace of its own."""
        return self._processes.start()

    def end_process(self, pid: int) -> None:
        """End it; if its namespace dies with it, wait until all is home."""
        self._processes.end(pid)
        self.settle()

    def settle(self) -> None:
        """Wait until the kernel has cleaned up behind every namespace that nothing holds."""
        for witness in self._processes.dying():
            eventually(lambda w=witness: not w.exists())  # type: ignore[misc]  # binds the loop's

    def pull_out(self, rdma_device: str) -> None:
        """Take a device away by unbinding its driver."""
        function = self._devices[rdma_device].pci
        _write(_FUNCTIONS / function / "driver/unbind", function)

    def char_devices(self) -> tuple[CharDevice, ...]:
        """List the nodes below /dev/infiniband."""
        return SysfsTree().char_devices()

    def open_node(self, path: str, *, pid: int | None) -> None:
        """Open a node from a process' namespace, or (None) from the host's, and close it."""
        with self.keep_open(path, pid=pid):
            pass

    @contextlib.contextmanager
    def keep_open(self, path: str, *, pid: int | None) -> Iterator[None]:
        """Hold a node open that was opened from there; who holds it is in the host's."""
        netns = self.namespaces.host() if pid is None else self.namespaces.of_process(pid)
        try:
            opened = done_in(netns, lambda: os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            code = error.errno or errno.EIO
            raise KernelRefused(f"{path} cannot be opened", remedy="none", errno=code) from error
        finally:
            netns.close()
        try:
            yield
        finally:
            os.close(opened)

    def open_handles(self) -> int:
        """Count the namespaces that are held open; ends and closes all that a test left."""
        left = self._processes.handles()
        for handle in left:
            os.close(handle)
        for pid in self._processes.running():
            self._processes.end(pid)
        self.settle()
        return len(left)

    def _is_switched(self, isolation: RdmaIsolation) -> bool:
        if isolation is not _mode():
            self.rdma.set_isolation(isolation)
        return isolation is _mode()

    def _put_right(self) -> None:
        host = self.namespaces.host()
        try:
            links = self.links.list(host)
            for link in links:
                if link.parent is not None and link.port_guid is not None:
                    self.links.remove(link.index, netns=host)
            wanted = {device.guid: device.netdev for device in self._devices.values()}
            own = [(x, wanted[x.port_guid]) for x in links if x.port_guid and x.parent is None]
            assert len(wanted) == len(own)
            self._name(host, [(x, name) for x, name in own if x.name != name])
            for link, name in own:
                if (link.name, link.mtu, link.up) != (name, MTU, True):
                    self.links.configure(link.index, netns=host, mtu=MTU, up=True)
        finally:
            host.close()

    def _name(self, host: Netns, wrong: Sequence[tuple[Link, str]]) -> None:
        """Give names that may still be one another's."""
        for link, _ in wrong:
            self.links.configure(link.index, netns=host, up=False)
            self.links.rename(link.index, f"aside{link.index}", netns=host)
        for link, name in wrong:
            self.links.rename(link.index, name, netns=host)

    def _follows(self) -> bool:
        """Look once where this kernel makes a moved device's interface: no version tells."""
        if "follows" not in _known:
            moved = list(self._devices.values())[-1]
            host, pid = self.namespaces.host(), self.start_process()
            pod = self.namespaces.of_process(pid)
            self.rdma.move(moved.name, source=host, target=pod)
            _known["follows"] = moved.guid in {x.port_guid for x in self.links.list(pod)}
            pod.close()
            host.close()
            self.end_process(pid)
            self._put_right()
        return _known["follows"]


def eventually(look: Callable[[], _Seen]) -> _Seen:
    """Look until what is seen is true; at the end of patience fail as the last look did."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError, LookupError, StopIteration, KernelRefused):
            if seen := look():
                return seen
        time.sleep(0.01)
    seen = look()
    assert seen
    return seen


def _mode() -> RdmaIsolation:
    shown = Path("/sys/module/ib_core/parameters/netns_mode").read_text().strip()
    return {"Y": RdmaIsolation.SHARED, "N": RdmaIsolation.EXCLUSIVE}[shown]


def _physical_functions() -> list[Path]:
    found = sorted(p for p in _FUNCTIONS.iterdir() if (p / "stub_port_state").exists())
    return [path for path in found if not (path / "physfn").exists()]


def _device(function: Path, netdev: str) -> Device:
    (name,) = (path.name for path in (function / "infiniband").iterdir())
    gid = (function / "infiniband" / name / "ports/1/gids/0").read_text().strip()
    return Device(name, PciAddress(function.name), Guid(gid[20:]), netdev)


def _in_order(known: Sequence[Device]) -> bool:
    """Tell whether the devices have the numbers 0, 1, 2 in their order."""
    for kind, folder in (("uverbs", "infiniband_verbs"), ("umad", "infiniband_mad")):
        for number, device in enumerate(known):
            try:
                of = Path("/sys/class", folder, f"{kind}{number}", "ibdev").read_text().strip()
            except OSError:
                return False
            if of != device.name:
                return False
    return True


def _renew(known: Sequence[Device]) -> None:
    """Bind all functions again, in their order: the lowest name and numbers go first."""
    first, second = (_FUNCTIONS / device.pci for device in known[:2])
    _write(first / "sriov_numvfs", "0")
    for path in (first, second):
        if (path / "driver").exists():
            _write(path / "driver/unbind", path.name)
    for path in (first, second):
        _write(_DRIVER / "bind", path.name)
    _write(first / "sriov_numvfs", "1")
    eventually(lambda: _in_order(known))


def _write(path: Path, text: str) -> None:
    """Write at once, so that the kernel's error is this call's."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
