"""Podman with runc: a real container runtime that reads our CDI specs and runs our hook.

Why: what a runtime makes of a spec, which process it names to a hook, and what it shows of
a refusal can be seen only there.  Images are not needed: a folder with busybox is the root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import msgspec

NEEDS_RUNTIME = "needs podman and runc, a static busybox and root"
CDI_FOLDER = Path("/var/run/cdi")  # Podman 4.3 looks nowhere else but in /etc/cdi
BUSYBOX = Path("/bin/busybox")
_TOOLS = ("sh", "cat", "env", "readlink", "sleep", "stat", "true")


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of Podman left."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What the container said, line by line."""
        return self.out.splitlines()


def is_here() -> bool:
    """Tell whether this machine can run containers so."""
    return (
        os.geteuid() == 0
        and all(shutil.which(tool) for tool in ("podman", "runc"))
        and BUSYBOX.exists()
        and b"/ld-linux" not in BUSYBOX.read_bytes()[:4096]
    )


class Podman:
    """Containers of one folder: nothing of the machine's own storage is touched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rootfs = folder / "rootfs"
        for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp"):
            (self._rootfs / name).mkdir(parents=True)
        shutil.copy2(BUSYBOX, self._rootfs / "bin/busybox")
        for tool in _TOOLS:
            (self._rootfs / "bin" / tool).symlink_to("busybox")

    def run(self, *command: str, devices: tuple[str, ...] = (), network: str = "none") -> Ran:
        """Run a container to its end and remove it."""
        options = self._options(devices=devices, network=network)
        return self.podman("run", "--rm", *options, *command)

    def start(self, name: str, *, devices: tuple[str, ...] = (), network: str = "none") -> Ran:
        """Start a container that goes on."""
        options = self._options(devices=devices, network=network)
        return self.podman("run", "--detach", "--name", name, *options, "sleep", "600")

    def pid(self, name: str) -> int:
        """Give a running container's first process."""
        return int(self.podman("inspect", "--format", "{{.State.Pid}}", name).out)

    def podman(self, *arguments: str) -> Ran:
        """Run Podman."""
        storage = [f"--root={self._folder / 'storage'}", f"--runroot={self._folder / 'run'}"]
        engine = ["--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        done = subprocess.run(
            ["podman", *storage, "--storage-driver=vfs", *engine, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr)

    def clean(self) -> None:
        """Remove all containers: first those that use another one's network, then these."""
        for _ in range(5):
            removed = self.podman("rm", "--all", "--force", "--time", "0")
            if removed.code == 0:
                return
        raise AssertionError(removed.err)

    def _options(self, *, devices: tuple[str, ...], network: str) -> list[str]:
        # Limits as low as any machine's own: raising them is not allowed everywhere.
        limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        asked = [f"--device={device}" for device in devices]
        return [f"--network={network}", *limits, *asked, "--rootfs", str(self._rootfs)]
