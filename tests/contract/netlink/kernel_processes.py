"""Processes in network namespaces of their own, and how to see that such a namespace is dead.

Why: a namespace dies some time after the last that held it has let go, and the kernel tells
nobody.  So each namespace has a witness: one end of a veth pair whose other end is the
host's.  The kernel sends home what came from there (RDMA devices first, then interfaces)
before it destroys what is left, the witness.  When the host's end has gone, all is home.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path
from typing import NamedTuple

from pyroute2 import IPRoute

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace(NamedTuple):
    """What is known of a namespace from outside."""

    file: tuple[int, int]
    witness: Path


class Processes:
    """The processes that a test has started, and their namespaces."""

    def __init__(self) -> None:
        self._running: dict[int, Namespace] = {}
        self._left: list[Namespace] = []

    def start(self) -> int:
        """Fork into a new namespace, which costs a tenth of starting a program."""
        ready, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            _be_there(tell)
        os.close(tell)
        entered = os.read(ready, 1)
        os.close(ready)
        assert entered
        witness = f"wit{pid}"
        with IPRoute() as route:
            peer = {"ifname": "witness", "net_ns_pid": pid}
            route.link("add", ifname=witness, kind="veth", peer=peer)
        status = Path(f"/proc/{pid}/ns/net").stat()
        seen = Path("/sys/class/net", witness)
        self._running[pid] = Namespace((status.st_dev, status.st_ino), seen)
        return pid

    def end(self, pid: int) -> None:
        """Kill a process; what becomes of its namespace depends on who else holds it."""
        self._left.append(self._running.pop(pid))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def running(self) -> list[int]:
        """List the processes that have not been ended."""
        return list(self._running)

    def dying(self) -> list[Path]:
        """Give the witnesses of all namespaces that nothing holds any more."""
        held = {_file(handle) for handle in self.handles()}
        gone = [namespace for namespace in self._left if namespace.file not in held]
        self._left = [namespace for namespace in self._left if namespace.file in held]
        return [namespace.witness for namespace in gone]

    def handles(self) -> list[int]:
        """List this process' descriptors that are network namespaces."""
        found = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()).startswith("net:["):
                    found.append(int(entry.name))
        return found


def _be_there(tell: int) -> None:
    """Be a process in a namespace of its own that holds nothing of its parent's open."""
    try:
        os.closerange(0, tell)
        os.closerange(tell + 1, 4096)
        if _libc.unshare(_CLONE_NEWNET) == 0:
            os.write(tell, b"x")
        os.close(tell)
        while True:
            signal.pause()
    finally:
        os._exit(1)


def _file(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
