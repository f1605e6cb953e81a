"""The stub HCA module, built for the kernel that will load it.

Building takes longer than booting, so the result is kept under a hash of what went in.

A kernel of a newer suite was built with a newer compiler than this machine's.  Nothing in a
module's layout depends on that; only flags that this compiler does not know are in the way.
Kbuild asks its configuration whether the compiler knows them, so each is tried, and the
configuration corrected on the command line.  (The programs of a newer suite's headers run
with its own libraries: packages.py.)
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from contract.virtual_node.packages import Kernel

_SOURCES = Path(__file__).with_name("module")
_HOOK = Path(__file__).parents[3] / "deploy/hook"
_SECONDS = 300
# What a configuration says of the compiler, and the flag that follows from it.
_FLAGS = {"CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT": "-fmin-function-alignment=16"}


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
        *_compiler(kernel),
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


def _compiler(kernel: Kernel) -> list[str]:
    """Say what to build with if this machine has not the compiler that the headers name."""
    named = re.search(r"gcc-\d+", (kernel.headers / ".kernelvariables").read_text())
    if named and shutil.which(named[0]):
        return []
    return ["CC=cc", *(f"{option}=" for option, flag in _FLAGS.items() if not _knows(flag))]


def _knows(flag: str) -> bool:
    """Try a flag on this machine's compiler."""
    command = ["cc", flag, "-E", "-x", "c", "/dev/null"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)
    return not done.returncode


def attach_hook(out: Path) -> None:
    """Build the attach hook as it is shipped: compiling in the guest would take its time."""
    command = ["make", "-s", "-C", str(_HOOK), f"OUT={out}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the attach hook does not build:\n{done.stderr}")
