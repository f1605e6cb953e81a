"""Network namespaces of this machine, entered without forking.

Why: pyroute2 opens a socket in another namespace by way of ``fork``, which is unsafe in a
process with gRPC's threads and sixteen times slower than what is done here: a thread of
its own enters the namespace, makes one socket and ends.  No other thread ever leaves the
host's namespace.

Source: ``setns(2)``, ``pidfd_open(2)``, ``namespaces(7)``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from ibdra_domain.errors import KernelRefused
from ibdra_domain.ports.netlink import Netns, NetnsId, Process

CLONE_NEWNET = 0x40000000
SO_NETNS_COOKIE = 71
_MOUNTED = (Path("/run/netns"), Path("/var/run/docker/netns"))
_libc = ctypes.CDLL(None, use_errno=True)
DoneT = TypeVar("DoneT")


class LinuxNetns:
    """An open network namespace; ``fd`` is ours until :meth:`close`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        status = os.fstat(fd)
        self._id = NetnsId(status.st_dev, status.st_ino, _cookie(fd))

    @property
    def id(self) -> NetnsId:
        """Fulfil the port."""
        return self._id

    @property
    def fd(self) -> int:
        """Give the file descriptor.  Raises KernelRefused (EBADF) once closed."""
        if self._fd < 0:
            raise KernelRefused(
                f"namespace {self._id} was closed already",
                remedy="open it again",
                errno=errno.EBADF,
            )
        return self._fd

    def close(self) -> None:
        """Fulfil the port."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class LinuxProcess:
    """A process, held by its pidfd."""

    def __init__(self, pid: int, *, proc: Path) -> None:
        self._pid = pid
        self._proc = proc
        try:
            self._held = os.pidfd_open(pid)
        except OSError as error:
            raise _refused(f"there is no process {pid}", error) from error

    def netns(self) -> Netns:
        """Fulfil the port: what was opened by the number counts only if it still lives after."""
        netns = None
        try:
            netns = LinuxNetns(_open(self._proc / str(self._pid) / "ns/net"))
        except KernelRefused:
            if not _has_ended(self._held):  # a dead one's number may be nobody's now
                raise
        if netns is None or _has_ended(self._held):
            if netns is not None:
                netns.close()
            gone = ProcessLookupError(errno.ESRCH, "ended")
            raise _refused(f"process {self._pid} has ended", gone)
        return netns

    def close(self) -> None:
        """Fulfil the port."""
        held, self._held = self._held, -1
        if held >= 0:
            os.close(held)


class LinuxNamespaces:
    """Fulfils the Namespaces port.

    Parameters
    ----------
    proc:
        Where the *host's* processes are seen; a pod has them with ``hostPID``.
    host:
        A file that is the host's namespace: process 1's, or our own with ``hostNetwork``.
    mounted:
        Folders with namespaces kept alive by a bind mount.
    """

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        host: Path = Path("/proc/1/ns/net"),
        mounted: tuple[Path, ...] = _MOUNTED,
    ) -> None:
        self._proc = proc
        self._host = host
        self._mounted = mounted

    def host(self) -> Netns:
        """Fulfil the port."""
        return LinuxNetns(_open(self._host))

    def process(self, pid: int) -> Process:
        """Fulfil the port."""
        return LinuxProcess(pid, proc=self._proc)

    def of_process(self, pid: int) -> Netns:
        """Fulfil the port; a pid given to another process meanwhile is noticed."""
        with closing(self.process(pid)) as process:
            return process.netns()

    def find(self, wanted: NetnsId) -> Netns | None:
        """Fulfil the port: by the mounts that keep it, else by any process in it."""
        for path in self._candidates():
            try:
                status = path.stat()
                if (status.st_dev, status.st_ino) != (wanted.device, wanted.inode):
                    continue
                netns = LinuxNetns(_open(path))
            except (OSError, KernelRefused):  # a process or mount that just went
                continue
            if netns.id == wanted:
                return netns
            netns.close()
        return None

    def _candidates(self) -> Iterator[Path]:
        for folder in (*self._mounted, Path("/proc/self/fd")):  # what we hold open lives
            yield from _entries(folder)
        for entry in _entries(self._proc):
            if entry.name.isdecimal():
                yield entry / "ns/net"


def socket_in(netns: Netns, protocol: int) -> socket.socket:
    """Make a netlink socket inside a namespace.  Raises KernelRefused."""
    fd = fd_of(netns)
    try:
        return _made_in(fd, socket.AF_NETLINK, protocol)
    except OSError as error:
        raise _refused(f"no netlink socket in namespace {netns.id}", error) from error


def _cookie(fd: int) -> int:
    """Ask for a namespace's cookie; 0 where the kernel has none, or it may not be entered."""
    try:
        with _made_in(fd, socket.AF_UNIX, 0) as sock:
            cookie = sock.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
            return int.from_bytes(cookie, sys.byteorder)
    except OSError:
        return 0


def _made_in(fd: int, family: int, protocol: int) -> socket.socket:
    """Make a socket inside a namespace.  Raises OSError."""
    return _done_in(fd, lambda: socket.socket(family, socket.SOCK_DGRAM, protocol))


def done_in(netns: Netns, work: Callable[[], DoneT]) -> DoneT:
    """Do something inside a namespace; for what the kernel judges by the caller's own.

    Raises KernelRefused if the namespace cannot be entered, else what ``work`` raises.
    """
    fd = fd_of(netns)
    try:
        return _done_in(fd, work)
    except OSError as error:
        raise _refused(f"namespace {netns.id} cannot be entered", error) from error


def _done_in(fd: int, work: Callable[[], DoneT]) -> DoneT:
    """Do something in a thread that ends in a namespace.  Raises OSError, or as ``work`` does."""
    done: list[DoneT] = []
    failed: list[Exception] = []

    def enter_and_work() -> None:
        try:
            enter(fd)
            done.append(work())
        except Exception as error:  # noqa: BLE001 -- raised below, by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=enter_and_work, name="ibdra-setns")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def enter(fd: int) -> None:
    """Move the *calling thread* into a namespace; for threads that end soon.  Raises OSError."""
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def fd_of(netns: Netns) -> int:
    """Give a real namespace's descriptor.  Raises KernelRefused (EBADF) for any other."""
    if isinstance(netns, LinuxNetns):
        return netns.fd
    raise KernelRefused(
        f"namespace {netns.id} is none of this kernel's",
        remedy="do not mix real and simulated adapters",
        errno=errno.EBADF,
    )


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(f"namespace {path} cannot be opened", error) from error


def _has_ended(pidfd: int) -> bool:
    """Tell whether a process has ended: its pidfd is readable then."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _refused(problem: str, error: OSError) -> KernelRefused:
    remedy = "check that the process lives, and that the driver runs as root with hostPID"
    if error.errno == errno.EPROTONOSUPPORT:
        remedy = "load the kernel module ib_core"  # rtnetlink is always there
    return KernelRefused(problem, remedy=remedy, errno=error.errno or errno.EIO)
