"""Run tests in virtual InfiniBand nodes: one command from nothing to a result.

``python tests/contract/virtual_node [--kernel 6.1|newer] [--mode exclusive|shared] [--keep]
[-- pytest arguments]``.  Without ``--kernel`` there is a guest for each, side by side.  The
exit code is the tests'; 77 means that this machine lacks something, with a reason that
begins "needs ".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

from contract.virtual_node import guests
from contract.virtual_node.guests import Job, Outcome
from contract.virtual_node.lane import IN_GUEST
from contract.virtual_node.packages import Lacking, Wanted

_LACKING = 77
_PYTEST = (
    # Looking for plugins and loading those not needed takes the emulated processor seconds.
    *("env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", sys.executable, "-m", "pytest"),
    *("-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"),
    *("--junitxml=/run/virtual-node/junit.xml", "-o", "junit_family=xunit1"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for."""

    kernels: tuple[Wanted, ...]
    keep: bool
    jobs: Mapping[Wanted, Job]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    options = _parse(sys.argv[1:] if arguments is None else arguments)
    try:
        bootables = {kernel: guests.prepare(kernel) for kernel in options.kernels}
    except Lacking as reason:
        _say(f"SKIPPED virtual node: {reason}")
        return _LACKING
    with ThreadPoolExecutor(len(bootables)) as pool:
        running = [
            pool.submit(guests.run, bootable, options.jobs[kernel], keep=options.keep)
            for kernel, bootable in bootables.items()
        ]
    outcomes = [each.result() for each in running]
    if options.keep:
        _say(f"kept: {guests.CACHE}/run-*")
    return tell(outcomes)


def tell(outcomes: Sequence[Outcome]) -> int:
    """Print what the guests printed and a summary of each; give the first bad exit code."""
    for outcome in outcomes:
        _say(outcome.output)
        if outcome.ended:
            guest = f"the guest of kernel {outcome.kernel.release}"
            _say(f"{guest} {outcome.ended}; its console ends:\n{outcome.console}")
    for outcome in outcomes:
        _say(outcome.summary)
    return next((outcome.code for outcome in outcomes if outcome.code), 0)


def _parse(arguments: Sequence[str]) -> Options:
    at = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="virtual_node", description=__doc__)
    parser.add_argument("--kernel", choices=get_args(Wanted), help="this one only")
    parser.add_argument("--mode", choices=tuple(guests.NETNS_MODES), default="exclusive")
    parser.add_argument("--keep", action="store_true", help="keep the runs' logs")
    parser.add_argument("--deadline", type=float, default=600.0, help="seconds for a machine")
    parsed = parser.parse_args(own)
    kernels: tuple[Wanted, ...] = (parsed.kernel,) if parsed.kernel else get_args(Wanted)
    jobs = {
        kernel: Job(
            (*_PYTEST, *(rest or IN_GUEST[kernel])), mode=parsed.mode, deadline=parsed.deadline
        )
        for kernel in kernels
    }
    return Options(kernels=kernels, keep=parsed.keep, jobs=jobs)


def _say(text: str) -> None:
    print(text)  # noqa: T201
