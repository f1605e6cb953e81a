"""A real kernel's node examined: fit, and with faults planted all over it.

Why: a doctor is worth what it finds.  Each fault is made by the means by which it comes
about on a node, and must be named together with its remedy.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from contract.virtual_node import inside
from contract.virtual_node.guests import HOOK
from unit.cli.cli_runs import Ran, run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(inside.MODE != "exclusive", reason=f"{inside.NEEDS} (exclusive mode)"),
]
EXPECTED_ON_A_NEW_NODE = {"daemon", "api"}
"""Checks that warn where no daemon runs and no API server is named."""


class Ward:
    """A node's folders, its hook installed, and the doctor's rounds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("kubelet", "cdi", "state", "run"):
            (folder / name).mkdir(mode=0o700)
        self.hook = folder / "ibdra-hook"
        shutil.copy(HOOK, self.hook)

    def examined(self, *more: str) -> Ran:
        """Run the doctor."""
        options = {
            "--kubelet-dir": self.folder / "kubelet",
            "--cdi-dir": self.folder / "cdi",
            "--state-dir": self.folder / "state",
            "--run-dir": self.folder / "run",
            "--hook": self.hook,
            "--hook-source": HOOK,
        }
        words = [word for pair in options.items() for word in pair]
        return run("doctor", "-o", "json", *words, *more)


@pytest.fixture(name="ward")
def _ward() -> Iterator[Ward]:
    with TemporaryDirectory(dir="/run") as folder:  # a socket's path must be short
        yield Ward(Path(folder))


@contextlib.contextmanager
def set_to(path: Path, text: str, *, back: str) -> Iterator[None]:
    """Write to a switch, and back at the end."""
    inside.write(path, text)
    try:
        yield
    finally:
        inside.write(path, back)


@contextlib.contextmanager
def instead_of(node: Path, *, numbers: tuple[int, int] | None) -> Iterator[None]:
    """Have a device node missing, or of other numbers."""
    aside = node.with_name(f"{node.name}.aside")
    node.rename(aside)
    try:
        if numbers is not None:
            os.mknod(node, 0o20666, os.makedev(*numbers))
        yield
    finally:
        aside.replace(node)


@contextlib.contextmanager
def a_runtime(folder: Path) -> Iterator[None]:
    """Run a containerd that may lock 64 KiB."""
    program = folder / "containerd"
    shutil.copy("/bin/sleep", program)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))

    process = subprocess.Popen([program, "600"], preexec_fn=limited)  # noqa: PLW1509 -- one thread, and there is no other way to the limit
    try:
        inside.eventually(lambda: inside.read(Path(f"/proc/{process.pid}/comm")) == "containerd")
        yield
    finally:
        process.kill()
        process.wait()


def nodes_at_fault(ran: Ran) -> list[dict[str, str]]:
    """Give what is found about device nodes."""
    return [f for f in ran.json["findings"] if f["check"] == "node" and f["grade"] != "good"]


def done_as_told(remedy: str) -> bool:
    """Do what is said about a device node; tell whether it is one then."""
    (command,) = re.findall(r"`(mknod .+?)`", remedy)
    node = Path(command.split()[3])
    if "remove it" in remedy:
        node.unlink()
    inside.run(command)
    return node.is_char_device()


def test_a_fit_node_has_no_findings(ward: Ward) -> None:
    """No error, and no warning but for what is not there yet; nothing was changed by looking."""
    before = sorted(ward.folder.rglob("*"))
    ran = ward.examined("--umad", "--rdma-isolation", "exclusive")
    bad = [f for f in ran.json["findings"] if f["grade"] != "good"]
    assert (0, True) == (ran.code, ran.json["fit"]), bad
    assert EXPECTED_ON_A_NEW_NODE == {f["check"] for f in bad}, bad
    assert before == sorted(ward.folder.rglob("*"))
    checks = {f["check"] for f in ran.json["findings"]}
    assert {"kernel", "rights", "isolation", "verbs", "hca", "port", "sriov", "node"} <= checks


def test_planted_faults_are_found_with_their_remedies(ward: Ward) -> None:
    """Fourteen at once, as none may hide another."""
    first, second = inside.physical_functions()
    names = [inside.rdma_device(function) for function in (first, second)]
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        autoprobe = first / "sriov_drivers_autoprobe"
        enter(set_to(autoprobe, "0", back="1"))
        enter(set_to(first / "sriov_numvfs", "1", back="0"))
        (vf,) = (path.name for path in inside.virtual_functions(first))
        enter(set_to(first / "stub_port_state", "DOWN", back="ACTIVE"))
        enter(set_to(second / "stub_port_state", "INIT", back="ACTIVE"))
        missing = inside.node_of(first, "uverbs")
        enter(instead_of(missing, numbers=None))
        renumbered = inside.node_of(second, "uverbs")
        enter(instead_of(renumbered, numbers=(1, 3)))
        enter(inside.network_namespace("pod"))
        enter(a_runtime(ward.folder))
        registry = ward.folder / "kubelet/plugins_registry"
        registry.mkdir()
        stale = registry / "ib.sigs.k8s.io-reg.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(stale))
        forged = Path("/etc/cdi/mine.yaml")
        forged.parent.mkdir(exist_ok=True)
        forged.write_text('cdiVersion: "0.6.0"\nkind: ib.sigs.k8s.io/claim\ndevices: []\n')
        stack.callback(forged.unlink)
        ward.hook.chmod(0o644)
        (ward.folder / "state/0f6b.json").write_text("{half")
        (ward.folder / "run").chmod(0o777)
        ran = ward.examined("--rdma-isolation", "shared", "--num-vfs", "4")
        made_anew = [done_as_told(finding["remedy"]) for finding in nodes_at_fault(ran)]
        nodes_left = nodes_at_fault(ward.examined())
    expected = {
        "isolation": ("shared is demanded, the mode is exclusive", "netns_mode=1"),
        f"{names[0]} port 1": ("is Down (physical state", "check cable"),
        f"{names[1]} port 1": (" Init", "subnet manager"),
        "autoprobe": ("is off: its VFs get no driver", "sriov_drivers_autoprobe"),
        vf: ("no driver is bound", "/sys/bus/pci/drivers/"),
        "numvfs": ("it has 1 VFs, 4 are wanted", "ask for the 1 there are"),
        missing.name: (f"{missing} is missing", "mknod -m 0666"),
        renumbered.name: (f"{renumbered} is 1:3", "mknod -m 0666"),
        "runtime": ("lets containers lock 65536 bytes", "LimitMEMLOCK=infinity"),
        "socket": (f"nobody answers at {stale}", "ibdra cleanup"),
        "cdi": (f"{forged} is a CDI spec of kind", "remove it"),
        "hook": (f"{ward.hook} cannot be run", "ibdra install-hook"),
        "state": ("0f6b.json is not a record of this driver", "sets it aside"),
        "run": (f"write to {ward.folder}/run", "chmod 0700"),
    }
    bad = [f for f in ran.json["findings"] if f["grade"] != "good"]
    assert 1 == ran.code
    assert ([True, True], []) == (made_anew, nodes_left)
    for fault, (problem, remedy) in expected.items():
        hits = [f for f in bad if problem in f["problem"] and remedy in f["remedy"]]
        assert hits, f"{fault} was not found in {bad}"


def test_the_mended_node_is_fit_again(ward: Ward) -> None:
    """Whatever was planted before has gone, so that nothing of it hides in the findings."""
    inside.eventually(lambda: ward.examined().code == 0)
