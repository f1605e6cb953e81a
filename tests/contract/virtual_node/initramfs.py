"""The archive a kernel unpacks before it has a root: one static program and a few modules.

Written here rather than with cpio and a distribution's tools, so that it is small (it is
unpacked by an emulated processor) and needs nothing but a C compiler.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import subprocess
from pathlib import Path

from contract.virtual_node import kmods
from contract.virtual_node.packages import Kernel, Lacking

# What it takes to reach the host's root: a 9p share behind a virtio PCI function.
_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
_SOURCE = Path(__file__).with_name("init.c")


def make(kernel: Kernel, *, cache: Path) -> Path:
    """Write the archive for this kernel, or find it written before."""
    recipe = " ".join((kernel.release, *_MODULES)).encode()
    key = hashlib.sha256(_SOURCE.read_bytes() + recipe).hexdigest()[:16]
    archive = cache / "initramfs" / f"{key}.cpio.gz"
    if archive.exists():
        return archive
    archive.parent.mkdir(parents=True, exist_ok=True)
    init = archive.with_suffix(".init")
    compiler = ["cc", "-static", "-O1", "-Wall", "-o", str(init), str(_SOURCE)]
    try:
        subprocess.run(compiler, check=True, capture_output=True, text=True, timeout=60)
    except subprocess.CalledProcessError as failure:
        raise Lacking(f"needs a C compiler and a static libc: {failure.stderr}") from failure
    files = {"init": init.read_bytes()}
    order = kmods.load_order(_MODULES, below=kernel.modules)
    for module in order:
        files[f"modules/{module.name.removesuffix('.xz')}"] = kmods.content(module)
    names = [module.name.removesuffix(".xz") for module in order]
    files["modules/order"] = "\n".join(names).encode()
    partial = archive.with_suffix(".partial")
    partial.write_bytes(gzip.compress(_cpio(files), compresslevel=1))
    partial.rename(archive)
    return archive


def _cpio(files: dict[str, bytes]) -> bytes:
    """Pack files in the "newc" format, the one kernels read."""
    folders = sorted({str(parent) for name in files for parent in Path(name).parents} - {"."})
    entries = [
        # The kernel opens /dev/console for its first process before that can mount anything.
        _entry("dev", stat.S_IFDIR | 0o755),
        _entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        *(_entry(folder, stat.S_IFDIR | 0o755) for folder in folders),
        *(_entry(name, stat.S_IFREG | 0o755, data=data) for name, data in files.items()),
        _entry("TRAILER!!!", 0),
    ]
    return b"".join(entries)


def _entry(name: str, mode: int, *, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    path = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _padded(header + path) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
