"""Throw-away pods on this machine: a process that sleeps in a namespace of its own.

Why: ``ibdra demo --real`` shows a machine's own HCAs moved by a real kernel, without a
cluster and without a container runtime.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time
from pathlib import Path

from ibdra_adapters.netlink.namespaces import enter, fd_of
from ibdra_domain.errors import KernelRefused
from ibdra_domain.ports.netlink import Netns

_SLEEP = ("sleep", "86400")
_PATIENCE = 10.0


class ThrowAwayPods:
    """Fulfils the Stage port; wants root and util-linux' ``unshare``."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def description(self) -> str:
        """Fulfil the port."""
        kernel = os.uname()
        return f"this machine's own HCAs, kernel {kernel.release}"

    def may_stay_pending(self, example: str) -> bool:  # noqa: ARG002 -- any machine may lack anything
        """Fulfil the port."""
        return True

    def left_open(self) -> list[str]:
        """Fulfil the port."""
        own = Path("/proc/self/ns/net").stat().st_ino
        found = [f"process {pid}" for pid in self._processes]
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                target = str(entry.readlink())
                if target.startswith("net:[") and target != f"net:[{own}]":
                    found.append(f"open namespace {target}")
        return found

    def start_pod(self, *, host_network: bool) -> int:
        """Fulfil the port."""
        command = _SLEEP if host_network else ("unshare", "--net", *_SLEEP)
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 -- fixed above
        except OSError as error:
            raise _refused(f"{command[0]} cannot be started", error.errno) from error
        self._processes[process.pid] = process
        self._wait_until_it_sleeps(process)
        return process.pid

    def end_pod(self, pid: int) -> None:
        """Fulfil the port."""
        process = self._processes.pop(pid)
        process.kill()
        process.wait()

    def open_node(self, path: str, *, netns: Netns) -> None:
        """Fulfil the port: in a thread of its own, since a thread is what has a namespace."""
        fd = fd_of(netns)
        failed: list[OSError] = []

        def work() -> None:
            try:
                enter(fd)
                os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
            except OSError as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="ibdra-look")
        thread.start()
        thread.join()
        if failed:
            raise _refused(f"{path} cannot be opened", failed[0].errno) from failed[0]

    def _wait_until_it_sleeps(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the exec: only then the process is in its own namespace."""
        name = Path(f"/proc/{process.pid}/comm")
        until = time.monotonic() + _PATIENCE
        while name.read_text() != "sleep\n":
            if process.poll() is not None or time.monotonic() > until:
                self.end_pod(process.pid)
                raise _refused("no process in a new network namespace", errno.EPERM)
            time.sleep(0.005)


def _refused(problem: str, code: int | None) -> KernelRefused:
    return KernelRefused(
        problem, remedy="run it as root, with util-linux installed", errno=code or errno.EIO
    )
