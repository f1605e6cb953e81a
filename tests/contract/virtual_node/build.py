"""The stub HCA module, built for the kernel that will load it.

Building takes longer than booting, so the result is kept under a hash of what went in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from contract.virtual_node.packages import Kernel

_SOURCES = Path(__file__).with_name("module")
_HOOK = Path(__file__).parents[3] / "deploy/hook"
_SECONDS = 300


def stub_module(kernel: Kernel, *, cache: Path) -> Path:
    """Build the module out of tree, or find it built before."""
    sources = sorted(path for path in _SOURCES.iterdir() if path.is_file())
    digest = hashlib.sha256(kernel.release.encode())
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    folder = cache / "module" / digest.hexdigest()[:16]
    built = folder / "stub_hca.ko"
    if built.exists():
        return built
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        shutil.copy(source, folder)
    command = [
        *("make", "-C", str(kernel.headers), f"M={folder}"),
        # The headers name the compiler the kernel was built with; here it may have another name.
        *(() if shutil.which("gcc-12") else ("CC=cc",)),
        f"-j{os.cpu_count() or 1}",
        "CONFIG_DEBUG_INFO_BTF_MODULES=",  # type information for BPF wants one more tool
        "W=1",
        "modules",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
    (folder / "build.log").write_text(done.stdout + done.stderr)
    if done.returncode:
        shutil.rmtree(built, ignore_errors=True)
        raise RuntimeError(f"the stub HCA does not build:\n{done.stdout[-2000:]}{done.stderr}")
    return built


def attach_hook(out: Path) -> None:
    """Build the attach hook as it is shipped: compiling in the guest would take its time."""
    command = ["make", "-s", "-C", str(_HOOK), f"OUT={out}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the attach hook does not build:\n{done.stderr}")
