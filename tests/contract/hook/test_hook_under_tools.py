"""These tests once more, with the program under the tools that see what C does wrong.

Why: a byte read past the end of a buffer is no failure that a test of behaviour sees.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.hook.hook_runs import NEEDS_CC, ROOT, build
from contract.hook.test_hook_json import can_sanitize
from unit.docs.pages import typed_lines

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif("IBDRA_HOOK_MAKE" in os.environ, reason="needs the build as it is shipped"),
]


def typed(line: str) -> str:
    """Type a line that runs pytest; give the last line that it printed."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST_", "IBDRA_NO_SKIPS"))
    }
    done = subprocess.run(
        ["sh", "-euc", line.replace(".venv/bin/pytest", f"{sys.executable} -m pytest -q")],
        env=inherited,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert 0 == done.returncode, f"{line}: {done.stdout[-8000:]}{done.stderr[-2000:]}"
    return done.stdout.splitlines()[-1]


def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    """No access outside a buffer, no leak, nothing undefined."""
    if build(tmp_path) is None:
        pytest.skip(NEEDS_CC)
    if not can_sanitize(tmp_path / "trial"):
        pytest.skip("needs cc with the libraries of its address and undefined sanitizers")
    (line,) = typed_lines(
        "docs/dev/architecture.md", "## Test lanes", program="IBDRA_HOOK_MAKE='CFLAGS=\""
    )
    assert " passed" in typed(line)


def test_valgrind_finds_nothing(tmp_path: Path) -> None:
    """No use of memory that nobody has written to."""
    if build(tmp_path) is None:
        pytest.skip(NEEDS_CC)
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind, with the C library's debugging symbols (libc6-dbg)")
    (line,) = typed_lines(
        "docs/dev/architecture.md", "## Test lanes", program="IBDRA_HOOK_MAKE='CFLAGS=-g"
    )
    assert " passed" in typed(line)
