"""Runs of the command line: in this process, or in a fresh one to see what it imports."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec

from ibdra_app.cli import main

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
TREES = ROOT / "tests/contract/sysfs/trees"
EXPECTED = ROOT / "tests/contract/sysfs/expected"
PROFILES = ("azure-nd-h100-v5", "dgx-h100", "hpc-hdr100-dual-port")
BIG_PROFILE = ROOT / "benchmarks/1024-vfs.toml"
_RUN = "from ibdra_app.cli import main; main()"
_RUN_AND_TELL = """
import json, sys
from ibdra_app.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run left: its exit code and what it printed where."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, decoded."""
        return json.loads(self.out)


def run(*arguments: str | Path) -> Ran:
    """Run the program in this process, as its entry point does."""
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in raw)
    code: object = None
    with (
        mock.patch.object(sys, "argv", ["ibdra", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    printed = [stream.getvalue().decode() for stream in raw]
    return Ran(code=code if isinstance(code, int) else 0, out=printed[0], err=printed[1])


def run_fresh(*arguments: str | Path, program: str = _RUN) -> Ran:
    """Run the program in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ran(code=done.returncode, out=done.stdout, err=done.stderr)


def modules_of(*arguments: str | Path) -> set[str]:
    """Tell every module a run in a process of its own has imported."""
    ran = run_fresh(*arguments, program=_RUN_AND_TELL)
    assert 0 == ran.code, ran.err
    return set(json.loads(ran.err.splitlines()[-1]))
