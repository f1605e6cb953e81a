"""Real processes on the simulated machine: their network namespaces, taken into its kernel.

Why: the driver can then be tried on a real node without InfiniBand.  Pods, the container
runtime and the hook are real there; only the devices, and their moves, are simulated.  A
namespace is known by what the real kernel calls it, so that the hook's marks are right, and
it is dead when nothing real keeps it alive any more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ibdra_adapters.netlink.fake import FakeNamespaces, FakeNetns
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_domain.errors import InvalidProfile
from ibdra_domain.ports.netlink import Namespaces, Netns, NetnsId, Process

_HOST = Path("/proc/1/ns/net")
_OWN = Path("/proc/self/ns/net")


class RealNetns:
    """An open namespace of both kernels: the real one lives as long as it is open."""

    def __init__(self, simulated: Netns, real: Netns) -> None:
        self._simulated = simulated
        self._real = real

    @property
    def id(self) -> NetnsId:
        """Fulfil the port."""
        return self._simulated.id

    def close(self) -> None:
        """Fulfil the port."""
        self._simulated.close()
        self._real.close()


class RealProcess:
    """A real process, whose namespace is taken into the fake kernel when it is opened."""

    def __init__(self, real: Process, *, opened: Callable[[Netns], Netns]) -> None:
        self._real = real
        self._opened = opened

    def netns(self) -> Netns:
        """Fulfil the port."""
        return self._opened(self._real.netns())

    def close(self) -> None:
        """Fulfil the port."""
        self._real.close()


class RealProcesses:
    """Fulfils the Namespaces port: real processes for a fake kernel.

    The host's namespace is the fake kernel's initial one.  Any other is known to the fake
    kernel from the first time that it is opened, by a process of its own that stands for all
    in there; that one ends when the namespace is looked for and is gone, and the kernel does
    then what it does for the dead.

    Parameters
    ----------
    real:
        This machine's namespaces.
    """

    def __init__(self, kernel: FakeKernel, *, real: Namespaces | None = None) -> None:
        self._kernel = kernel
        self._simulated = FakeNamespaces(kernel)
        self._real = LinuxNamespaces(host=_host_file()) if real is None else real
        self._standing_in: dict[NetnsId, int] = {}

    def host(self) -> Netns:
        """Fulfil the port."""
        return self._simulated.host()

    def process(self, pid: int) -> Process:
        """Fulfil the port."""
        return RealProcess(self._real.process(pid), opened=self._opened)

    def of_process(self, pid: int) -> Netns:
        """Fulfil the port."""
        return self._opened(self._real.of_process(pid))

    def find(self, wanted: NetnsId) -> Netns | None:
        """Fulfil the port; of one that has died, everything is at home afterwards."""
        if wanted == self._kernel.init_netns:
            return self.host()
        real = self._real.find(wanted)
        if real is None:
            self._bury(wanted)
            return None
        return self._opened(real)

    def _opened(self, real: Netns) -> Netns:
        try:
            host = self._real.host()
            host.close()
            if real.id == host.id:
                real.close()
                return self.host()
            with self._kernel.lock:
                if real.id not in self._standing_in:
                    self._bury_all()
                    self._standing_in[real.id] = self._kernel.start_process(real.id)
                return RealNetns(FakeNetns(self._kernel, real.id), real)
        except BaseException:
            real.close()
            raise

    def _bury_all(self) -> None:
        """Look after those that nobody has asked for since they died."""
        for netns in tuple(self._standing_in):
            alive = self._real.find(netns)
            if alive is None:
                self._bury(netns)
            else:
                alive.close()

    def _bury(self, netns: NetnsId) -> None:
        with self._kernel.lock:
            stand_in = self._standing_in.pop(netns, None)
            if stand_in is not None:
                self._kernel.end_process(stand_in)


def check_no_hcas(sysfs: Path = Path("/sys")) -> None:
    """Raise InvalidProfile on a machine with RDMA devices: pods would get nodes of theirs."""
    folder = sysfs / "class/infiniband"
    if found := sorted(path.name for path in folder.glob("*")):
        raise InvalidProfile(
            f"this machine has RDMA devices ({', '.join(found)}), and a simulated one has the "
            "same device numbers",
            remedy="leave --simulate out, or take a machine without them",
        )


def _host_file() -> Path:
    """Choose what is the host's: process 1's, or (where that cannot be seen) our own."""
    try:
        _HOST.stat()
    except OSError:
        return _OWN
    return _HOST
