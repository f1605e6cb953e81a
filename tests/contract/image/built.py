"""The image, built from the Dockerfile for whoever wants to run it.

Why apart: the image's own tests run it with Podman, a cluster's node with its kubelet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
_BUILD = ROOT / "deploy/image/build.sh"
ENGINE = ("podman", "--runtime=runc", "--cgroup-manager=cgroupfs")
LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
"""What Podman needs to run a container in a sandbox."""
TAG = "localhost/ibdra-tested:latest"


class NoImage(Exception):
    """It cannot be built on this machine; the text begins with "needs"."""


def ran(*command: str, seconds: float = 60.0) -> str:
    """Run a program; give what it printed, or fail with it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    assert 0 == done.returncode, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def built_image() -> str:
    """Build it on a Debian that is made here; what is built already is not built again.

    Raises
    ------
    NoImage
        There is no root, or no Podman, runc or debootstrap.
    """
    lacking = [tool for tool in ("podman", "runc", "debootstrap") if shutil.which(tool) is None]
    if lacking or os.geteuid() != 0:
        raise NoImage(f"needs root, podman, runc and debootstrap; lacking: {lacking or 'root'}")
    environment = {**os.environ, "BASE": os.environ.get("BASE", "debootstrap")}
    done = subprocess.run(
        [_BUILD, TAG], env=environment, capture_output=True, text=True, timeout=1500, check=False
    )
    assert 0 == done.returncode, f"{done.stdout[-2000:]}{done.stderr[-6000:]}"
    return TAG


def save_image(path: Path) -> None:
    """Write it to an archive that a container runtime imports."""
    ran("podman", "save", "--quiet", f"--output={path}", TAG, seconds=120.0)
