"""A control plane's start and end: with other gates, and when its owner is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane, StartFailed, remove_left

_PROGRAM = Path(__file__).with_name("control_plane")
_OLDEST = building.kubernetes_minors()[-1]


@pytest.fixture(autouse=True)
def _go() -> None:
    if shutil.which("go") is None:
        pytest.skip("needs Go")


def _running_below(folder: str) -> list[str]:
    """List the commands that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if folder in line:
            found.append(line)
    return found


def test_nothing_outlives_its_owner() -> None:
    """When the process that started a control plane is killed, all of it ends."""
    command = [sys.executable, str(_PROGRAM), "--version", _OLDEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        told = [owner.stdout.readline(), owner.stdout.readline()]
        folder = Path(told[1].rpartition("=")[2].strip()).parents[1]
        running = _running_below(str(folder))
        os.kill(owner.pid, signal.SIGKILL)
    assert 4 == len(running)
    wait_until(lambda: not _running_below(str(folder)), what="the end of all", seconds=5.0)
    remove_left(folder.parent)
    assert not folder.exists()


def test_interrupt_ends_it() -> None:
    """Ctrl-C ends a control plane that somebody has started by hand, and leaves nothing."""
    command = [sys.executable, str(_PROGRAM), "--version", _OLDEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        told = [owner.stdout.readline(), owner.stdout.readline()]
        folder = Path(told[1].rpartition("=")[2].strip()).parents[1]
        owner.send_signal(signal.SIGINT)
        assert 0 == owner.wait(10.0)
    assert [] == _running_below(str(folder))
    assert not folder.exists()


def test_failing_start_shows_the_log() -> None:
    """A part that does not start is named at once, with what it said."""
    begun = time.monotonic()
    with pytest.raises(StartFailed, match="NoSuchGate") as failed:  # noqa: SIM117 - one raises
        with ControlPlane(_OLDEST, feature_gates={"NoSuchGate": True}):
            pass
    assert "kube-apiserver has ended" in str(failed.value)
    assert 20.0 > time.monotonic() - begun


def test_gate_is_set() -> None:
    """A gate that is off by default keeps its fields once it is on."""
    counters = [{"name": "set", "counters": {"vfs": {"value": "8"}}}]
    body = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "counters"},
        "spec": {
            "driver": "x.example.com",
            "nodeName": "n",
            "pool": {"name": "n", "generation": 1, "resourceSliceCount": 1},
            "sharedCounters": counters,
            "devices": [{"name": "dev-0"}],
        },
    }
    with ControlPlane(_OLDEST, feature_gates={"DRAPartitionableDevices": True}) as running:
        made = Admin.of(running.kubeconfig).create(body)
    assert counters == made["spec"]["sharedCounters"]
