"""Processes in network namespaces of their own, and how to see that such a namespace is dead.

Why: a namespace dies some time after the last that held it has let go, and the kernel tells
nobody.  So each namespace has a witness: one end of a veth pair whose other end is the
host's.  The kernel sends home what came from there (RDMA devices first, then interfaces)
before it destroys what is left, the witness.  When the host's end has gone, all is home.

The request is written by hand: a test makes two of them a second, on an emulated processor.
Source: ``rtnetlink(7)``, ``include/uapi/linux/veth.h``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import struct
from pathlib import Path
from typing import NamedTuple

_CLONE_NEWNET = 0x40000000
_NEW_LINK, _ERROR = 16, 2
_REQUEST_ACK_EXCL_CREATE = 0x1 | 0x4 | 0x200 | 0x400
_IFNAME, _LINKINFO, _NET_NS_PID = 3, 18, 19
_INFO_KIND, _INFO_DATA, _PEER = 1, 2, 1
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
        _make_witness(witness, pid)
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


def _make_witness(name: str, pid: int) -> None:
    """Make a veth pair, its other end in the process' namespace."""
    nobody = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    peer = (
        nobody
        + _attribute(_IFNAME, b"witness\0")
        + _attribute(_NET_NS_PID, pid.to_bytes(4, "little"))
    )
    info = _attribute(_INFO_KIND, b"veth") + _attribute(_INFO_DATA, _attribute(_PEER, peer))
    body = nobody + _attribute(_IFNAME, name.encode() + b"\0") + _attribute(_LINKINFO, info)
    head = struct.pack("=IHHII", 16 + len(body), _NEW_LINK, _REQUEST_ACK_EXCL_CREATE, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(head + body)
        answer = route.recv(4096)
    _, kind, _, _, _, code = struct.unpack_from("=IHHIIi", answer)
    assert (_ERROR, 0) == (kind, code), os.strerror(-code)


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("=HH", 4 + len(value), kind) + value + padding


def _file(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino
