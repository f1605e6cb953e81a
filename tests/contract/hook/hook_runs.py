"""Runs of the program on the host: what it is given, where it asks, what it left.

``IBDRA_HOOK_MAKE`` gives make other flags for the build, ``IBDRA_HOOK_RUNNER`` a program to
run it under::

    IBDRA_HOOK_MAKE='CFLAGS="-g -fsanitize=address,undefined" LDFLAGS='
    IBDRA_HOOK_RUNNER='valgrind -q --error-exitcode=99'
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.ports.runtime import ContainerStart

ROOT = Path(__file__).resolve().parents[3]
SOURCE = ROOT / "deploy/hook"
NEEDS_CC = "needs cc, make and a static libc: the program is compiled from C"
UID = "7f9d4b2e-6a51-4c0e-9f64-0b9f1a2c3d4e"
NODES = "231:202,231:203"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RUNNER = shlex.split(os.environ.get("IBDRA_HOOK_RUNNER", ""))


class Ran(msgspec.Struct, frozen=True):
    """What a run left: its exit status and its standard error."""

    code: int
    err: str


def build(out: Path) -> Path | None:
    """Build the program as it is shipped; None where this machine cannot."""
    if not (shutil.which("cc") and shutil.which("make") and _has_static_libc()):
        return None
    flags = shlex.split(os.environ.get("IBDRA_HOOK_MAKE", ""))
    done = subprocess.run(
        ["make", "-C", str(SOURCE), f"OUT={out}", *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return out / "ibdra-hook"


def _has_static_libc() -> bool:
    found = subprocess.run(
        ["cc", "-print-file-name=libc.a"], capture_output=True, text=True, check=False
    )
    return Path(found.stdout.strip()).is_absolute()


class Helper(msgspec.Struct, frozen=True, kw_only=True):
    """The program, with a socket and a marks' folder."""

    program: Path
    socket: Path
    marks: Path

    def command(
        self, *, claim: str = UID, nodes: str = NODES, deadline: int | None = None
    ) -> list[str]:
        """Give its command line."""
        limit = [] if deadline is None else ["--deadline", str(deadline)]
        paths = ["--socket", str(self.socket), "--marks", str(self.marks)]
        return [*RUNNER, str(self.program), *paths, *limit, "attach", claim, nodes]

    def run(self, state: bytes, **arguments: Any) -> Ran:
        """Run it to its end."""
        return run_program(*self.command(**arguments), stdin=state)

    async def ask(self, state: bytes, **arguments: Any) -> Ran:
        """Run it while the loop, and a server in it, goes on."""
        process = await asyncio.create_subprocess_exec(
            *self.command(**arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate(state)
        return Ran(process.returncode or 0, err.decode())


def run_program(*command: str, stdin: bytes = b"") -> Ran:
    """Run a command line to its end; what it says is text."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60)
    return Ran(done.returncode, done.stderr.decode())


def state_of(pid: int, **more: Any) -> bytes:
    """Write an OCI state as runc does."""
    facts = {
        "ociVersion": "1.0.2-dev",
        "id": "c0ffee",
        "status": "creating",
        "pid": pid,
        "bundle": "/run/c0ffee",
        "annotations": {"pid": "1", "note": '{"pid": 2}'},
    }
    return json.dumps(facts | more).encode()


def boot_id() -> str:
    """Tell this boot's id."""
    return BOOT_ID.read_text(encoding="ascii").strip()


@contextlib.contextmanager
def a_pod() -> Iterator[int]:
    """Start a process in a network namespace of its own; give its pid."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "300"])
    try:
        ours = Path("/proc/self/ns/net").stat().st_ino
        ends = time.monotonic() + 30
        while Path(f"/proc/{process.pid}/ns/net").stat().st_ino == ours:
            assert time.monotonic() < ends
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def netns_of(pid: int) -> NetnsId:
    """Tell a process' namespace as the driver does."""
    netns = LinuxNamespaces().of_process(pid)
    try:
        return netns.id
    finally:
        netns.close()


class FakeHook:
    """A hook that notes who asks, and does what the test says."""

    def __init__(self, answer: Callable[[ContainerStart], None] | None = None) -> None:
        self.asked: list[ContainerStart] = []
        self.answer = answer

    def attach(self, start: ContainerStart) -> None:
        """Fulfil the port."""
        self.asked.append(start)
        if self.answer is not None:
            self.answer(start)


@contextlib.contextmanager
def hand_made(path: Path, serve: Callable[[socket.socket], object]) -> Iterator[None]:
    """Serve one connection at a socket with a function; then it is closed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(30)

        def work() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                serve(connection)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            thread.join()


def request_from(connection: socket.socket) -> bytes:
    """Read a request to its end."""
    raw = b""
    while chunk := connection.recv(1 << 16):
        raw += chunk
    return raw
