"""One guest's life: what it needs, the job it is given, and what came of it.

Why: the lane runs several guests side by side, and tests of the lane itself run guests that
crash.  Both want an outcome to look at, not output on the way.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.virtual_node import build, initramfs, kmods, packages
from contract.virtual_node.machine import Machine
from contract.virtual_node.packages import Kernel, Wanted

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
CACHE = REPOSITORY / ".cache" / "virtual-node"
HOOK = REPOSITORY / ".cache/hook/ibdra-hook"
BROKEN = 70
NETNS_MODES = {"exclusive": "netns_mode=0", "shared": "netns_mode=1"}
# veth is no part of InfiniBand: tests see by it when a namespace has died.
_MODULES = ("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib", "veth")


@dataclass(frozen=True, slots=True)
class Bootable:
    """A kernel and all that was made for it."""

    kernel: Kernel
    initramfs: Path
    stub: Path


@dataclass(frozen=True, slots=True)
class Job:
    """What a guest is to do: a command, with the InfiniBand stack in a mode (None: without)."""

    command: Sequence[str]
    mode: str | None = "exclusive"
    deadline: float = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a guest: its exit code is 70 if it did not come to one of its own."""

    kernel: Kernel
    code: int
    ended: str
    output: str
    console: str
    seconds: float
    counts: tuple[int, int, int]
    findings: str

    @property
    def summary(self) -> str:
        """Tell the release and how many tests ran, in a line."""
        ran, failed, skipped = self.counts
        return (
            f"virtual node: kernel {self.kernel.release} of {self.kernel.suite}: {ran} tests ran "
            f"in the guest, {failed} failed, {skipped} skipped, {self.seconds:.1f} s{self.findings}"
        )


def prepare(wanted: Wanted) -> Bootable:
    """Get what a guest needs, from the cache or else anew.  Raises Lacking."""
    packages.need_root()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # two runs share what they prepare
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages.need_tools()
        kernel = packages.kernel(wanted, cache=CACHE)
        build.attach_hook(HOOK.parent)
        return Bootable(
            kernel=kernel,
            initramfs=initramfs.make(kernel, cache=CACHE),
            stub=build.stub_module(kernel, cache=CACHE),
        )


def run(bootable: Bootable, job: Job, *, keep: bool = False) -> Outcome:
    """Boot a guest, let it do its job, and look at what it left behind."""
    share = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    bytecode = CACHE / "bytecode"
    bytecode.mkdir(exist_ok=True)
    machine = Machine(
        kernel=bootable.kernel, initramfs=bootable.initramfs, share=share, bytecode=bytecode
    )
    (share / "job.json").write_text(json.dumps(_written(bootable, job)))
    started = time.monotonic()
    program = [sys.executable, "-I", "-S", "-B", str(HERE / "guest.py")]
    in_time = machine.run(program, deadline=job.deadline)
    outcome = _outcome(machine, in_time=in_time, seconds=time.monotonic() - started)
    if not keep:
        shutil.rmtree(share)
    return outcome


def _written(bootable: Bootable, job: Job) -> dict[str, object]:
    modules: list[tuple[str, str]] = []
    if job.mode is not None:
        modules = [
            (str(path), NETNS_MODES[job.mode] if path.name.startswith("ib_core.") else "")
            for path in kmods.load_order(_MODULES, below=bootable.kernel.modules)
        ]
        modules.append((str(bootable.stub), ""))
    environment = {
        "IBDRA_VIRTUAL_NODE": "1",
        "IBDRA_VIRTUAL_NODE_MODE": job.mode or "",
        # Compiling all modules anew takes the emulated processor as long as booting.
        "PYTHONPYCACHEPREFIX": "/run/bytecode",
    }
    if no_skips := os.environ.get("IBDRA_NO_SKIPS"):
        environment["IBDRA_NO_SKIPS"] = no_skips
    return {
        "modules": modules,
        "command": list(job.command),
        "folder": str(REPOSITORY),
        "environment": environment,
    }


def _outcome(machine: Machine, *, in_time: bool, seconds: float) -> Outcome:
    share = machine.share
    log, status, junit = share / "output.log", share / "status", share / "junit.xml"
    if not in_time:
        code, ended = BROKEN, f"did not end within {seconds:.0f} s"
    elif not status.exists():
        code, ended = BROKEN, "died"
    else:
        code = int(status.read_text())
        ended = "failed before its job" if code == BROKEN and not log.exists() else ""
    report = ET.parse(junit).getroot() if junit.exists() and not ended else None
    return Outcome(
        kernel=machine.kernel,
        code=code,
        ended=ended,
        output=log.read_text(errors="replace") if log.exists() else "",
        console=machine.tail(),
        seconds=seconds,
        counts=_counts(report),
        findings=_findings(report),
    )


def _counts(report: ET.Element | None) -> tuple[int, int, int]:
    """Count the tests that ran, failed and were skipped; one that fails twice has failed once."""
    kinds: dict[tuple[str | None, str | None], set[str]] = {}
    for case in [] if report is None else report.iter("testcase"):
        found = kinds.setdefault((case.get("classname"), case.get("name")), set())
        found |= {part.tag for part in case}
    failed = sum(bool(found & {"failure", "error"}) for found in kinds.values())
    skipped = sum("skipped" in found for found in kinds.values())
    return len(kinds) - skipped, failed, skipped


def _findings(report: ET.Element | None) -> str:
    """Give what tests found out that is not the same on every kernel."""
    found = [] if report is None else report.iter("property")
    return "".join(f"; {each.get('name')}: {each.get('value')}" for each in found)
