"""The lines by which somebody runs a part of this lane, or looks at a control plane by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from contract.cluster.charts import ROOT
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.running import ControlPlane
from unit.docs.pages import typed_lines, with_names

pytestmark = pytest.mark.real


def command(line: str, plane: ControlPlane) -> list[str]:
    """Give what runs a line, with this Python and for a release that is built here."""
    line = with_names(line, {"1.37": plane.minor, "1.34": plane.minor})
    return ["sh", "-euc", f"exec {line.replace('.venv/bin/python', sys.executable)}"]


def test_one_test_on_one_release(control_plane: ControlPlane) -> None:
    """The page's choice runs one test and no other."""
    one_test, _ = typed_lines("tests/contract/cluster/README.md")
    done = subprocess.run(
        command(one_test, control_plane),
        env={name: value for name, value in os.environ.items() if "PYTEST" not in name},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert 0 == done.returncode, f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
    assert done.stdout.splitlines()[-1].startswith("1 passed, ")


def test_a_control_plane_to_look_at(control_plane: ControlPlane) -> None:
    """It says how to reach it, serves, and is gone after Ctrl-C."""
    _, look = typed_lines("tests/contract/cluster/README.md")
    with subprocess.Popen(
        command(look, control_plane), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        try:
            said = running.stdout.readline()
            _, _, kubeconfig = running.stdout.readline().strip().partition("export KUBECONFIG=")
            assert said.startswith("Kubernetes v")
            assert Admin.of(Path(kubeconfig)).get("Namespace", "default")
            running.send_signal(signal.SIGINT)
            assert 0 == running.wait(60)
        finally:
            running.kill()
    assert not Path(kubeconfig).exists()
