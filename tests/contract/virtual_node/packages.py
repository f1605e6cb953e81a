"""The kernel, its headers and QEMU, from the distribution's own packages.

The tests must see what an operator's machine does, so the kernel is Debian's, byte for byte.
It is unpacked into a cache and never installed: the machine that runs the tests keeps its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Wanted = Literal["6.1", "newer"]

QEMU = "qemu-system-x86_64"
_TOOLS = {
    QEMU: "qemu-system-x86",
    "cc": "gcc",
    "dpkg-deb": "dpkg",
    "ibv_devinfo": "ibverbs-utils",
    "ip": "iproute2",
    "make": "make",
    "rdma": "iproute2",
    "setpriv": "util-linux",
}
_COMPLETE = "complete.json"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FETCH_SECONDS = 600


class Lacking(Exception):
    """The machine lacks something; the text begins "needs "."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel release unpacked below ``root``."""

    release: str
    root: Path

    @property
    def image(self) -> Path:
        """The bootable kernel."""
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """Where its modules lie."""
        return self.root / "lib" / "modules" / self.release / "kernel"

    @property
    def headers(self) -> Path:
        """What modules are built against."""
        return self.root / "usr" / "src" / f"linux-headers-{self.release}"


def need_tools() -> None:
    """Make sure QEMU and a compiler are there, installing them where that is allowed."""
    if os.geteuid() != 0:
        raise Lacking("needs root (the guest's root is this machine's, read over 9p)")
    missing = [package for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if not any(Path("/etc/libibverbs.d").glob("*.driver")):
        missing.append("ibverbs-providers")  # without one, libibverbs opens no device at all
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Lacking(f"needs {', '.join(missing)} (no apt-get here to install them with)")
    try:
        _apt("apt-get", "update")
        _apt("apt-get", "install", "-y", "--no-install-recommends", *missing, "libc6-dev")
    except subprocess.SubprocessError as failure:
        raise Lacking(f"needs {', '.join(missing)}: {_why(failure)}") from failure


def kernel(wanted: Wanted, *, cache: Path) -> Kernel:
    """Give the wanted kernel, from the cache or else from the distribution's archive."""
    root = cache / "kernels" / wanted
    if (root / _COMPLETE).exists():
        return Kernel(release=json.loads((root / _COMPLETE).read_text())["release"], root=root)
    if not shutil.which("apt-get"):
        raise Lacking("needs apt-get to fetch a Debian kernel with (none in the cache)")
    shutil.rmtree(root, ignore_errors=True)
    debs = root / "debs"
    debs.mkdir(parents=True)
    try:
        options = _backports(root / "apt") if wanted == "newer" else ()
        _apt("apt-get", *options, "update")
        release = _release(options)
        if wanted != "newer" and not release.startswith(f"{wanted}."):
            raise Lacking(f"needs Debian's kernel {wanted} (this distribution's is {release})")
        headers = _depends(f"linux-headers-{release}", options)
        _apt(
            "apt-get",
            *options,
            "download",
            f"linux-image-{release}",
            f"linux-headers-{release}",
            *(name for name in headers if "-common" in name or "-kbuild-" in name),
            cwd=debs,
        )
        for deb in debs.glob("*.deb"):
            _run("dpkg-deb", "-x", str(deb), str(root))
    except subprocess.SubprocessError as failure:
        raise Lacking(f"needs the packages of kernel {wanted}: {_why(failure)}") from failure
    shutil.rmtree(debs)
    found = Kernel(release=release, root=root)
    _relocate(found.headers / "Makefile", root)
    (root / _COMPLETE).write_text(json.dumps({"release": release}))
    return found


def _release(options: Sequence[str]) -> str:
    """Say which release the distribution's kernel metapackage stands for now."""
    images = [
        name.removeprefix("linux-image-")
        for name in _depends("linux-image-amd64", options)
        if name.startswith("linux-image-")
    ]
    if not images:
        raise Lacking("needs a Debian archive (no linux-image-amd64 known to apt)")
    return images[0]


def _backports(state: Path) -> tuple[str, ...]:
    """Point apt at the archive's backports, with lists of its own beside the machine's."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    only = ("Origin: Debian", "Component: main", "Created-By: Packages")
    targets = _run("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", *only)
    signed = f"[signed-by={_KEYRING}] " if Path(_KEYRING).exists() else ""
    for line in targets.splitlines():
        site, codename = line.split()
        if "-" not in codename:  # not its updates, nor its security archive
            sources = state / "sources.list"
            sources.write_text(f"deb {signed}{site} {codename}-backports main\n")
            return (
                f"-oDir::Etc::sourcelist={sources}",
                "-oDir::Etc::sourceparts=/dev/null",
                f"-oDir::State::lists={state / 'lists'}",
                f"-oDir::Cache={state / 'cache'}",
            )
    raise Lacking("needs a Debian archive among apt's sources, for its backports")


def _relocate(makefile: Path, root: Path) -> None:
    """Let the headers find their common half where it was unpacked."""
    text = makefile.read_text()
    makefile.write_text(text.replace(" /usr/src/", f" {root}/usr/src/"))


def _depends(package: str, options: Sequence[str]) -> list[str]:
    answer = _run("apt-cache", *options, "depends", package)
    return [line.split()[-1] for line in answer.splitlines() if "Depends:" in line]


def _apt(program: str, *arguments: str, cwd: Path | None = None) -> None:
    # The sandbox user may not write below a cache that only root can enter.
    _run(program, "-oAPT::Sandbox::User=root", "-q", *arguments, cwd=cwd)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command,
        check=True,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_FETCH_SECONDS,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )
    return done.stdout


def _why(failure: subprocess.SubprocessError) -> str:
    if isinstance(failure, subprocess.CalledProcessError):
        lines = str(failure.stderr).strip().splitlines()
        return lines[-1] if lines else str(failure)
    return str(failure)
