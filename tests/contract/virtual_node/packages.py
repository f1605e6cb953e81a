"""The kernel, its headers and QEMU, from the distribution's own packages.

The tests must see what an operator's machine does, so the kernel is Debian's, byte for byte.
It is unpacked into a cache and never installed: the machine that runs the tests keeps its own.
The newer one is the newest that Debian has built for any stable release, the next one's
backports; where those cannot be had it is this release's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from contract.virtual_node import archive
from contract.virtual_node.archive import Suite

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
# What a kernel is divided into, by the age of its packages; not what it takes to install it.
_PARTS = re.compile(r"linux-(?:binary|headers|kbuild|modules)-")
# And what the programs among the headers are linked with.
_PARTS_AND_LIBRARIES = re.compile(rf"{_PARTS.pattern}|lib|zlib")
_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_LOADER = "ld-linux-x86-64.so.2"


class Lacking(Exception):
    """The machine lacks something; the text begins "needs "."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel release unpacked below ``root``, and the suite it is of."""

    release: str
    root: Path
    suite: str

    @property
    def image(self) -> Path:
        """The bootable kernel."""
        beside = self.modules.parent / "vmlinuz"
        return beside if beside.exists() else self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        """Where its modules lie."""
        merged = self.root / "usr" / "lib" / "modules" / self.release / "kernel"
        return merged if merged.exists() else self.root / merged.relative_to(self.root / "usr")

    @property
    def headers(self) -> Path:
        """What modules are built against."""
        return self.root / "usr" / "src" / f"linux-headers-{self.release}"


def need_root() -> None:
    """Say so before anything is written that only root can."""
    if os.geteuid() != 0:
        raise Lacking("needs root (the guest's root is this machine's, read over 9p)")


def need_tools() -> None:
    """Make sure QEMU and a compiler are there, installing them where that is allowed."""
    missing = [package for tool, package in _TOOLS.items() if not shutil.which(tool)]
    if not any(Path("/etc/libibverbs.d").glob("*.driver")):
        missing.append("ibverbs-providers")  # without one, libibverbs opens no device at all
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Lacking(f"needs {', '.join(missing)} (no apt-get here to install them with)")
    try:
        archive.apt("apt-get", "update")
        install = ("install", "-y", "--no-install-recommends", *missing, "libc6-dev")
        archive.apt("apt-get", *install)
    except subprocess.SubprocessError as failure:
        raise Lacking(f"needs {', '.join(missing)}: {archive.why(failure)}") from failure


def kernel(wanted: Wanted, *, cache: Path) -> Kernel:
    """Give the wanted kernel, from the cache or else from the distribution's archive."""
    root = cache / "kernels" / wanted
    if (root / _COMPLETE).exists():
        known = json.loads((root / _COMPLETE).read_text())
        if "suite" in known:  # a cache from before kernels of two suites were "newer" has none
            return Kernel(release=known["release"], root=root, suite=known["suite"])
    if not shutil.which("apt-get"):
        raise Lacking("needs apt-get to fetch a Debian kernel with (none in the cache)")
    shutil.rmtree(root, ignore_errors=True)
    try:
        suites = [Suite("this distribution")]
        if wanted == "newer":
            suites = archive.backports(root / "apt")
    except subprocess.SubprocessError as failure:
        raise Lacking(f"needs Debian's apt: {archive.why(failure)}") from failure
    reasons: list[str] = []
    for suite in suites:
        try:
            return _fetched(suite, wanted, root=root, instead_of="; ".join(reasons))
        except subprocess.SubprocessError as failure:
            reasons.append(f"{suite.name}: {archive.why(failure)}")
        except Lacking as lacking:
            reasons.append(f"{suite.name}: {lacking}")
    raise Lacking(
        f"needs the packages of kernel {wanted}: "
        f"{'; '.join(reasons) or 'no Debian archive among the sources of apt'}"
    )


def _fetched(suite: Suite, wanted: Wanted, *, root: Path, instead_of: str) -> Kernel:
    """Fetch a suite's kernel into a folder, and make its headers usable there."""
    suite.update()
    release = _release(suite)
    if wanted != "newer" and not release.startswith(f"{wanted}."):
        raise Lacking(f"needs Debian's kernel {wanted} (this distribution's is {release})")
    roots = (f"linux-image-{release}", f"linux-headers-{release}")
    follow = _PARTS_AND_LIBRARIES if suite.foreign else _PARTS
    suite.unpack(suite.closure(roots, follow), into=root)
    origin = f"{suite.name} (not {instead_of})" if instead_of else suite.name
    found = Kernel(release=release, root=root, suite=origin)
    _relocate(found.headers / "Makefile", root)
    if suite.foreign:
        for folder in (root / "usr" / "lib").glob("linux-kbuild-*"):
            _wrap_programs(folder, libraries=root / _LIBRARIES)
    (root / _COMPLETE).write_text(json.dumps({"release": release, "suite": origin}))
    return found


def _release(suite: Suite) -> str:
    """Say which release the distribution's kernel metapackage stands for now."""
    images = [
        name.removeprefix("linux-image-")
        for name in suite.depends("linux-image-amd64")
        if name.startswith("linux-image-")
    ]
    if not images:
        raise Lacking("needs a Debian archive (no linux-image-amd64 known to apt)")
    return images[0]


def _relocate(makefile: Path, root: Path) -> None:
    """Let the headers find their halves where they were unpacked."""
    makefile.write_text(re.sub(r"(?<=[ =])/usr/src/", f"{root}/usr/src/", makefile.read_text()))


def _wrap_programs(folder: Path, *, libraries: Path) -> None:
    """Let programs of a newer suite run here, with that suite's loader and libraries."""
    wrapper = (
        "#!/bin/sh\n"
        # Some look for another program beside them, by the name they were called by.
        f'exec {libraries / _LOADER} --argv0 "$0" --library-path {libraries} "$0.elf" "$@"\n'
    )
    for program in [path for path in folder.rglob("*") if path.is_file()]:
        if program.stat().st_mode & 0o111 and program.read_bytes().startswith(b"\x7fELF"):
            program.rename(f"{program}.elf")
            program.write_text(wrapper)
            program.chmod(0o755)
