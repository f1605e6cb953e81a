"""The example of another device's driver: its own program on a node, with a real pod."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.cluster.charts import ROOT
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.processes import Process, Starter
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.page_lines import Shell
from unit.docs.pages import typed_lines, with_names

Json = dict[str, Any]
pytestmark = pytest.mark.real


class Program:
    """``loop_driver.py`` on a node, with loop devices that are only a tree."""

    def __init__(self, kubelet: RealKubelet, admin: Admin, *, kubeconfig: Path) -> None:
        self.folder = kubelet.folder / "loops"
        self.cdi = kubelet.cdi
        self.admin = admin
        self.node = kubelet.name
        for number in (0, 41, 42):
            queue = self.folder / f"sys/block/loop{number}/queue"
            queue.mkdir(parents=True)
            (queue / "logical_block_size").write_text("512\n")
        (line,) = typed_lines(
            "examples/custom_driver/README.md", "On a node of a cluster, as root:", program="python"
        )
        typed = with_names(line, {"admin.conf": str(kubeconfig), '"$(hostname)"': kubelet.name})
        _, program, *options = shlex.split(typed)
        command = [
            *(sys.executable, str(ROOT / program), *options),
            *(f"--kubelet={kubelet.root}", f"--cdi={kubelet.cdi}"),
            *(f"--state={self.folder / 'state'}", f"--sysfs={self.folder / 'sys'}"),
        ]
        self.starter = Starter()
        entered = kubelet.enter(*command)
        self.process = Process("loop-driver", entered, logs=self.folder, starter=self.starter)

    def start(self) -> None:
        """Start it, and wait for its slice."""
        self.process.start()
        wait_until(
            lambda: self.slices() or not self.process.is_alive,
            what="the slice",
            last=self.process.tail,
        )
        assert self.process.is_alive, self.process.tail()

    def slices(self) -> list[Json]:
        """Give its slices."""
        fields = f"spec.driver=loop.example.com,spec.nodeName={self.node}"
        return list(self.admin.list("ResourceSlice", fields=fields))

    def left(self) -> list[str]:
        """List its CDI files and records."""
        found = [*self.cdi.glob("loop.example.com_*"), *self.folder.glob("state/claims/*.json")]
        return [path.name for path in found]


@pytest.fixture
def program(admin: Admin, control_plane: ControlPlane, kubelet: RealKubelet) -> Iterator[Program]:
    """Have the driver run."""
    made = Program(kubelet, admin, kubeconfig=control_plane.kubeconfig)
    try:
        made.start()
        yield made
    finally:
        made.process.kill()
        made.starter.close()
        for one in made.slices():
            admin.delete("ResourceSlice", one["metadata"]["name"])


def test_a_pod_has_a_loop_device_and_leaves_no_trace(
    admin: Admin, control_plane: ControlPlane, program: Program, tmp_path: Path
) -> None:
    """Allocated by the real scheduler, prepared for the real kubelet; killed in between."""
    (published,) = program.slices()
    assert ["loop0", "loop41", "loop42"] == [d["name"] for d in published["spec"]["devices"]]
    shell = Shell(control_plane, tmp_path, {}, namespace="default")
    its_class, example, log = typed_lines("examples/custom_driver/README.md", program="kubectl")
    try:
        shell.run(its_class)
        shell.run(example)
        admin.wait_for(
            "Pod", "pod0", lambda pod: pod["status"]["phase"] == "Running", namespace="loop-test"
        )

        def said() -> list[str]:
            lines = shell.run(log).splitlines()
            return lines if len(lines) > 1 else []

        variable, node = wait_until(said, what="the container's word")
        assert "LOOP_DEVICE_DISK=/dev/loop41" == variable
        assert node.startswith("b")
        assert ["7,", "41"] == node.split()[4:6]
        assert 2 == len(program.left())
        program.process.kill()  # what it knows is on the disk
        program.process.start()
    finally:
        admin.delete("Pod", "pod0", namespace="loop-test")
        admin.wait_gone("Pod", "pod0", namespace="loop-test", seconds=60.0)
        admin.delete("Namespace", "loop-test")
        admin.delete("DeviceClass", "loop.example.com")
    wait_until(
        lambda: not admin.list("ResourceClaim", namespace="loop-test"), what="the claim's end"
    )
    assert [] == program.left()
