"""A process of the control plane: started, watched, paused, and certainly ended.

Why: a test run can be killed at any moment, and an API server that stays behind takes half a
gigabyte.  Each process asks the kernel to be killed with its parent.  To the kernel the parent
is the *thread* that started it, so all are started by one thread that lives as long as the
control plane.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_TAIL_LINES = 40
# As Kubernetes writes them, etcd, and containerd.
_COMPLAINT = re.compile(r'^[WEF]\d{4} |^{"level":"(warn|error|fatal)|level=(warning|error|fatal)')


class Starter:
    """The thread that starts processes."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="control-plane-starter")

    def start(self, command: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
        """Start a process that dies with this one."""
        return self._thread.submit(_start, command, log).result()

    def close(self) -> None:
        """End the thread, and with it whatever it has started."""
        self._thread.shutdown()


class Process:
    """One command with one log, which may be started again."""

    def __init__(self, name: str, command: Sequence[str], *, logs: Path, starter: Starter) -> None:
        self.name = name
        self.log = logs / f"{name}.log"
        self._command = command
        self._starter = starter
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._running is not None and self._running.poll() is None

    @property
    def pid(self) -> int:
        """The process, which has been started."""
        return self._the_running().pid

    def start(self) -> None:
        """Start it; its log goes on where it was."""
        if self.is_alive:
            raise RuntimeError(f"{self.name} runs already")
        self._running = self._starter.start(self._command, log=self.log)

    def kill(self) -> None:
        """End it at once, as a power cut would; nothing happens if it has ended."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def pause(self) -> None:
        """Stop it where it is: connections stay open and nobody answers."""
        self._the_running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._the_running().send_signal(signal.SIGCONT)

    def tail(self, lines: int = _TAIL_LINES) -> str:
        """Give the last lines of its log."""
        return "\n".join(self._lines()[-lines:])

    def complaints(self, lines: int = 10) -> str:
        """Give the last warnings and errors of its log."""
        found = [line for line in self._lines() if _COMPLAINT.search(line)]
        return "\n".join(found[-lines:])

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def _the_running(self) -> subprocess.Popen[bytes]:
        if self._running is None or self._running.poll() is not None:
            raise RuntimeError(f"{self.name} does not run; its log ends:\n{self.tail()}")
        return self._running


def _start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Ctrl-C on a terminal is for the one who stops it, not for each of its parts.
            start_new_session=True,
        )
