"""Run tests in a virtual InfiniBand node: one command from nothing to a result.

``python tests/contract/virtual_node [--kernel 6.1|newer] [--mode exclusive|shared] [--keep]
[-- pytest arguments]``. The exit code is the tests'; 77 means that this machine lacks
something, with a reason that begins "needs ".
"""

from __future__ import annotations

import argparse
import fcntl
import json
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
from contract.virtual_node.packages import Lacking

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
_LACKING = 77
_BROKEN = 70
_STACK = ("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib")
_NETNS_MODE = {"exclusive": "netns_mode=0", "shared": "netns_mode=1"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    kernel: packages.Wanted
    mode: str
    keep: bool
    deadline: float
    pytest: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    cache = REPOSITORY / ".cache" / "virtual-node"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with (cache / "lock").open("w") as lock:  # two runs share what they prepare
            fcntl.flock(lock, fcntl.LOCK_EX)
            packages.need_tools()
            kernel = packages.kernel(options.kernel, cache=cache)
            archive = initramfs.make(kernel, cache=cache)
            stub = build.stub_module(kernel, cache=cache)
    except Lacking as reason:
        _say(str(reason))
        return _LACKING
    share = Path(tempfile.mkdtemp(prefix="run-", dir=cache))
    machine = Machine(kernel=kernel, initramfs=archive, share=share)
    stack = [
        (str(path), _NETNS_MODE[options.mode] if path.name.startswith("ib_core.") else "")
        for path in kmods.load_order(_STACK, below=kernel.modules)
    ]
    job = {
        "modules": [*stack, (str(stub), "")],
        "command": [
            *(sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider"),
            *("--junitxml=/run/virtual-node/junit.xml", "-o", "junit_family=xunit1"),
            *options.pytest,
        ],
        "folder": str(REPOSITORY),
        "environment": {"IBDRA_VIRTUAL_NODE": "1", "IBDRA_VIRTUAL_NODE_MODE": options.mode},
    }
    (share / "job.json").write_text(json.dumps(job))
    started = time.monotonic()
    program = [sys.executable, "-I", "-S", "-B", str(HERE / "guest.py")]
    in_time = machine.run(program, deadline=options.deadline)
    code = _report(machine, in_time=in_time, seconds=time.monotonic() - started)
    if options.keep:
        _say(f"kept: {share}")
    else:
        shutil.rmtree(share)
    return code


def _parse(arguments: Sequence[str]) -> Options:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="virtual_node", description=__doc__)
    parser.add_argument("--kernel", choices=("6.1", "newer"), default="6.1")
    parser.add_argument("--mode", choices=tuple(_NETNS_MODE), default="exclusive")
    parser.add_argument("--keep", action="store_true", help="keep the run's logs")
    parser.add_argument("--deadline", type=float, default=300.0, help="seconds for the machine")
    parsed = parser.parse_args(own)
    return Options(
        kernel=parsed.kernel,
        mode=parsed.mode,
        keep=parsed.keep,
        deadline=parsed.deadline,
        pytest=tuple(rest) or (str((HERE / "guest_tests").relative_to(REPOSITORY)),),
    )


def _report(machine: Machine, *, in_time: bool, seconds: float) -> int:
    share = machine.share
    output, status, junit = share / "output.log", share / "status", share / "junit.xml"
    if output.exists():
        _say(output.read_text(errors="replace"))
    if not in_time or not status.exists():
        what = "died" if in_time else f"did not end within {seconds:.0f} s"
        _say(f"the guest {what}; its console ends:\n{machine.tail()}")
        return _BROKEN
    code = int(status.read_text())
    if code == _BROKEN or not output.exists():
        _say(f"the guest failed before the tests; its console ends:\n{machine.tail()}")
    summary = f"kernel {machine.kernel.release}, {_counts(junit)}, {seconds:.1f} s"
    _say(f"virtual node: {summary}{_findings(junit)}")
    return code


def _findings(junit: Path) -> str:
    """Give what tests found out that is not the same on every kernel."""
    if not junit.exists():
        return ""
    found = ET.parse(junit).getroot().iter("property")
    return "".join(f"; {each.get('name')}: {each.get('value')}" for each in found)


def _say(text: str) -> None:
    print(text)  # noqa: T201


def _counts(junit: Path) -> str:
    if not junit.exists():
        return "no test ran"
    suites = list(ET.parse(junit).getroot().iter("testsuite"))

    def total(name: str) -> int:
        return sum(int(suite.get(name, "0")) for suite in suites)

    skipped, failed = total("skipped"), total("failures") + total("errors")
    return f"{total('tests') - skipped} tests ran in the guest ({failed} failed, {skipped} skipped)"
