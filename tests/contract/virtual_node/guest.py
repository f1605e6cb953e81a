"""The guest's side: the first process once there is a root.

Mounts what a booted system has mounted, loads the InfiniBand stack and the stub HCA in the
order the host worked out, runs what the host asked for, and powers the machine off. It
imports nothing but the standard library: it runs before anything is set up.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import lzma
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

_MNT = Path("/run/virtual-node")
_POWER_OFF = 0x4321FEDC
_SYS_INIT_MODULE = 175
_CLONE_NEWNET = 0x40000000
_MOUNTS = (
    ("proc", "/proc", "proc", ""),
    ("sysfs", "/sys", "sysfs", ""),
    ("devtmpfs", "/dev", "devtmpfs", ""),
    ("tmpfs", "/dev/shm", "tmpfs", ""),
    ("tmpfs", "/run", "tmpfs", ""),
    ("share", str(_MNT), "9p", "trans=virtio,version=9p2000.L,msize=512000"),
    ("bytecode", "/run/bytecode", "9p", "trans=virtio,version=9p2000.L,msize=512000"),
)

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Run to the end, whatever happens: a first process that returns is a panic."""
    status = 70
    try:
        for source, target, kind, options in _MOUNTS:
            Path(target).mkdir(parents=True, exist_ok=True)
            _check(
                _libc.mount(*(t.encode() for t in (source, target, kind)), 0, options.encode()),
                f"mount {target}",
            )
        status = _run(json.loads((_MNT / "job.json").read_text()))
    except BaseException:  # noqa: BLE001 - the only way out is the console
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if _MNT.is_mount():
            (_MNT / "status").write_text(f"{status}\n")
        os.sync()
        _libc.reboot(_POWER_OFF)


def _run(job: dict[str, object]) -> int:
    modules = job["modules"]
    command = job["command"]
    environment = job["environment"]
    assert isinstance(modules, list)
    assert isinstance(command, list)
    assert isinstance(environment, dict)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if modules:
        with _another_namespace():
            for path, parameters in modules:
                _load(Path(path), parameters)
            _note_boot()
    (_MNT / "uname").write_text(" ".join(os.uname()) + "\n")
    with (_MNT / "output.log").open("wb", buffering=0) as log:
        done = subprocess.run(
            command,
            check=False,
            cwd=str(job["folder"]),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    with (_MNT / "dmesg.log").open("wb") as log:
        subprocess.run(["dmesg"], check=False, stdout=log, stderr=log)
    return done.returncode


@contextlib.contextmanager
def _another_namespace() -> Iterator[None]:
    """Have a second network namespace for a while, as a node has on which pods run already."""
    there, done = threading.Event(), threading.Event()

    def stay() -> None:
        _libc.unshare(_CLONE_NEWNET)
        there.set()
        done.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    there.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _note_boot() -> None:
    """Write down what the stack was loaded beside, and in which mode."""
    spaces = {str(task.joinpath("ns/net").readlink()) for task in Path("/proc/self/task").iterdir()}
    mode = Path("/sys/module/ib_core/parameters/netns_mode").read_text().strip()
    seen = {"namespaces": len(spaces), "netns_mode": mode}
    (_MNT / "boot.json").write_text(json.dumps(seen))


def _load(path: Path, parameters: str) -> None:
    data = path.read_bytes()
    if path.suffix == ".xz":
        data = lzma.decompress(data)
    result = _libc.syscall(_SYS_INIT_MODULE, data, ctypes.c_ulong(len(data)), parameters.encode())
    _check(result, f"load {path.name}")


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
