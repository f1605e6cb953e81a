"""The guest's side: the first process once there is a root.

Mounts what a booted system has mounted, loads the InfiniBand stack and the stub HCA in the
order the host worked out, runs what the host asked for, and powers the machine off. It
imports nothing but the standard library: it runs before anything is set up.
"""

from __future__ import annotations

import ctypes
import json
import lzma
import os
import subprocess
import sys
import traceback
from pathlib import Path

_MNT = Path("/run/virtual-node")
_POWER_OFF = 0x4321FEDC
_SYS_INIT_MODULE = 175
_MOUNTS = (
    ("proc", "/proc", "proc", ""),
    ("sysfs", "/sys", "sysfs", ""),
    ("devtmpfs", "/dev", "devtmpfs", ""),
    ("tmpfs", "/dev/shm", "tmpfs", ""),
    ("tmpfs", "/run", "tmpfs", ""),
    ("share", str(_MNT), "9p", "trans=virtio,version=9p2000.L,msize=512000"),
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
    for path, parameters in modules:
        _load(Path(path), parameters)
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
