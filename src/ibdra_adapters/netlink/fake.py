"""The three netlink ports in front of the fake kernel.

Why: the ports are what the driver sees and what the contract suite asks; the kernel
behind them is what the simulation and its tests turn.  A real kernel does one thing at a
time, whatever threads ask; so does this one, by its lock.
"""

from __future__ import annotations

import errno

from ibdra_adapters.netlink.fake_kernel import FakeKernel, refused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ports.netlink import Link, Netns, NetnsId, Process


class FakeNetns:
    """An open namespace of the fake kernel."""

    def __init__(self, kernel: FakeKernel, netns: NetnsId) -> None:
        self._kernel: FakeKernel | None = kernel
        self._id = netns
        with kernel.lock:
            kernel.hold(netns)

    @property
    def id(self) -> NetnsId:
        """Fulfil the port."""
        return self._id

    def close(self) -> None:
        """Fulfil the port."""
        kernel, self._kernel = self._kernel, None
        if kernel is not None:
            with kernel.lock:
                kernel.release(self._id)


class FakeProcess:
    """A process of the fake kernel; its birth tells it from a later one of its number."""

    def __init__(self, kernel: FakeKernel, pid: int) -> None:
        self._kernel = kernel
        self._pid = pid
        self._birth = kernel.births.get(pid)
        if pid not in kernel.processes:
            raise refused(f"there is no process {pid}", errno.ESRCH)

    def netns(self) -> Netns:
        """Fulfil the port."""
        with self._kernel.lock:
            netns = self._kernel.processes.get(self._pid)
            if netns is None or self._birth != self._kernel.births.get(self._pid):
                raise refused(f"process {self._pid} has ended", errno.ESRCH)
            return FakeNetns(self._kernel, netns)

    def close(self) -> None:
        """Fulfil the port."""


class FakeNamespaces:
    """Fulfils the port over a fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def host(self) -> Netns:
        """Fulfil the port."""
        return FakeNetns(self._kernel, self._kernel.init_netns)

    def process(self, pid: int) -> Process:
        """Fulfil the port."""
        with self._kernel.lock:
            return FakeProcess(self._kernel, pid)

    def of_process(self, pid: int) -> Netns:
        """Fulfil the port."""
        with self._kernel.lock:
            return self.process(pid).netns()

    def find(self, wanted: NetnsId) -> Netns | None:
        """Fulfil the port."""
        with self._kernel.lock:
            return FakeNetns(self._kernel, wanted) if self._kernel.alive(wanted) else None


class FakeRdmaDevices:
    """Fulfils the port over a fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def isolation(self) -> RdmaIsolation:
        """Fulfil the port."""
        with self._kernel.lock:
            return self._kernel.isolation

    def set_isolation(self, mode: RdmaIsolation) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            self._kernel.set_isolation(mode)

    def names(self, netns: Netns) -> tuple[str, ...]:
        """Fulfil the port."""
        with self._kernel.lock:
            return self._kernel.visible(netns.id)

    def move(self, name: str, *, source: Netns, target: Netns) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            self._kernel.move_device(name, source=source.id, target=target.id)


class FakeLinks:
    """Fulfils the Links and Addresses ports over a fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def list(self, netns: Netns) -> tuple[Link, ...]:
        """Fulfil the port."""
        with self._kernel.lock:
            return tuple(x.link for x in self._kernel.links_of(netns.id))

    def addresses(self, netns: Netns) -> dict[int, tuple[str, ...]]:
        """Fulfil the port."""
        with self._kernel.lock:
            return {
                x.link.index: x.addresses for x in self._kernel.links_of(netns.id) if x.addresses
            }

    def move(self, index: int, *, source: Netns, target: Netns) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            self._kernel.move_link(index, source=source.id, target=target.id)

    def rename(self, index: int, name: str, *, netns: Netns) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            found = self._kernel.link_in(netns.id, index)
            if found.link.up and not self._kernel.renames_while_up:  # also to the name it has
                raise refused(f"{found.link.name} is up and cannot be renamed", errno.EBUSY)
            if found.link.name == name:
                return
            self._kernel.check_name(name, netns.id)
            self._kernel.change(found, name=name)

    def configure(
        self, index: int, *, netns: Netns, mtu: int | None = None, up: bool | None = None
    ) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            found = self._kernel.link_in(netns.id, index)
            if mtu is not None:
                if not 68 <= mtu <= self._kernel.largest_mtu(found):
                    raise refused(f"{found.link.name} cannot have MTU {mtu}", errno.EINVAL)
                self._kernel.set_mtu(found, mtu)
            if up is not None:
                self._kernel.change(found, up=up)

    def add_pkey_child(self, parent: int, *, name: str, pkey: int, netns: Netns) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            self._kernel.add_child(parent, name=name, pkey=pkey, netns=netns.id)

    def remove(self, index: int, *, netns: Netns) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            self._kernel.remove_link(index, netns=netns.id)
