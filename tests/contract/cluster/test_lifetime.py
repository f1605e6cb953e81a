"""A control plane's start and end: with other gates, and when its owner is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from contract.cluster.cluster_objects import a_pod
from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import check_machine
from contract.cluster.control_plane.node_space import remove_left_cgroups
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane, StartFailed, remove_left

_PROGRAM = Path(__file__).with_name("control_plane")
_OLDEST = building.kubernetes_minors()[-1]


@pytest.fixture(autouse=True)
def _machine() -> None:
    try:
        building.check_machine()
    except building.Lacking as reason:
        pytest.skip(str(reason))


def _none_runs_with(text: str) -> bool:
    return not _running_with(text)


def _running_with(text: str) -> list[str]:
    """List the command lines with this text in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(line)
    return found


@contextmanager
def _by_hand(*options: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start one as people do, and wait until it is there; give its folder too."""
    command = [sys.executable, str(_PROGRAM), "--version", _OLDEST, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        told = [owner.stdout.readline(), owner.stdout.readline()]
        yield owner, Path(told[1].rpartition("=")[2].strip()).parents[1]


def test_nothing_outlives_its_owner() -> None:
    """When the process that started a control plane is killed, all of it ends."""
    with _by_hand() as (owner, folder):
        running = _running_with(str(folder))
        owner.kill()
    assert 4 == len(running)
    wait_until(lambda: not _running_with(str(folder)), what="the end of all", seconds=5.0)
    remove_left(folder.parent)
    assert not folder.exists()


@pytest.mark.real
def test_no_container_outlives_its_owner() -> None:
    """When the process that started a node is killed, its containers and cgroups go too."""
    try:
        check_machine()
    except building.Lacking as reason:
        pytest.skip(str(reason))
    with _by_hand("--node", "node-a") as (owner, folder):
        admin = Admin.of(folder / "kubeconfigs/1")
        namespace = admin.create_namespace()
        mark = str(uuid4().int % 10**9)
        admin.create(a_pod("pod0", namespace=namespace, script=f"sleep {mark}"))
        admin.wait_for(
            "Pod", "pod0", lambda pod: pod["status"]["phase"] == "Running", namespace=namespace
        )
        containers = _running_with(mark)
        owner.kill()
    assert 1 == len(containers)
    for sign in (mark, str(folder)):
        wait_until(partial(_none_runs_with, sign), what="the end of all", seconds=10.0)
    remove_left_cgroups()
    assert [] == list(Path("/sys/fs/cgroup").glob(f"**/ibdra-node-{owner.pid}-*"))
    remove_left(folder.parent)
    assert not folder.exists()


def test_interrupt_ends_it() -> None:
    """Ctrl-C ends a control plane that somebody has started by hand, and leaves nothing."""
    with _by_hand() as (owner, folder):
        owner.send_signal(signal.SIGINT)
        assert 0 == owner.wait(10.0)
    assert [] == _running_with(str(folder))
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
    """A gate that every release has on by default is off in the server that was told so."""
    with ControlPlane(_OLDEST, feature_gates={"APIResponseCompression": False}) as running:
        metrics = Admin.of(running.kubeconfig).api.text("GET", "/metrics")
    gate = next(line for line in metrics.splitlines() if 'name="APIResponseCompression"' in line)
    assert "0" == gate.split()[-1]
