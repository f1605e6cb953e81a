"""A real kubelet with a real container runtime, as one node of a control plane.

Why: only the kubelet knows when it calls a driver, what it does with an answer, and what it
lets a container have.  containerd gives the containers, through runc, in the namespaces of
`node_space`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from contract.cluster.control_plane import building, images
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet_files import write_cni, write_containerd, write_kubelet
from contract.cluster.control_plane.node_space import NodeSpace, cgroups_refusal
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.processes import Process, Starter
from contract.cluster.control_plane.running import ControlPlane

_READY_SECONDS = 60.0
# Where a driver's installation has its folders, if nobody chooses others.
_USUAL = ("/run/cdi", "/run/ibdra", "/var/lib/ibdra", "/opt/ibdra")


class RealKubelet:
    """One node, running inside a ``with`` block."""

    def __init__(
        self,
        control_plane: ControlPlane,
        name: str,
        *,
        feature_gates: Mapping[str, bool] | None = None,
        usual_folders: bool = False,
    ) -> None:
        """Describe a node.

        Parameters
        ----------
        control_plane, name
            Of which cluster it is, and what it is called there.
        feature_gates
            The kubelet's that differ from the release's defaults.
        usual_folders
            Have the kubelet and the runtime look where they do everywhere.  On the node its own
            folders are mounted there, so that what is installed needs no folders of a test's.
        """
        check_machine()
        self.name = name
        self._usual = usual_folders
        self._control_plane = control_plane
        self._gates = dict(feature_gates or {})
        build = building.kubernetes(control_plane.minor, ("kubelet",))
        self._kubelet_at = building.commands(build)
        self._containerd_at = building.commands(building.containerd())
        self.folder = control_plane.folder / name

    @property
    def root(self) -> Path:
        """The kubelet's ``--root-dir``, below which plugins have their sockets."""
        return self.on_node("/var/lib/kubelet") if self._usual else self.folder / "kubelet"

    @property
    def cdi(self) -> Path:
        """Where the runtime looks for CDI specs."""
        return self.on_node("/run/cdi") if self._usual else self.folder / "cdi"

    def on_node(self, folder: str) -> Path:
        """Give a folder of the node's own, as it is seen from outside."""
        return self.folder / folder[1:]

    def __enter__(self) -> Self:
        self._starter = Starter()
        self._processes: dict[str, Process] = {}
        self._space = NodeSpace(
            self.folder, starter=self._starter, more=_USUAL if self._usual else ()
        )
        try:
            self._open()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def enter(self, *command: str) -> list[str]:
        """Give a command line that runs a command on the node, beside the kubelet."""
        return self._space.enter(*command)

    def ctr(self, *arguments: str) -> list[str]:
        """Give a command line for the container runtime's own client."""
        client = (f"{self._containerd_at}/ctr", f"--address={self.folder}/containerd.sock")
        return self.enter(*client, "--namespace=k8s.io", *arguments)

    def stop_kubelet(self) -> None:
        """Let the kubelet be gone at once; containers go on."""
        self._processes["kubelet"].kill()

    def start_kubelet(self) -> None:
        """Let it come back."""
        self._processes["kubelet"].start()

    def logs_of(self, pod: str, *, namespace: str, container: str = "main") -> str:
        """Read what a container has written."""
        pattern = f"{namespace}_{pod}_*/{container}/*.log"
        lines = []
        for path in sorted((self.folder / "pod-logs").glob(pattern)):
            lines += [line.split(" ", 3)[3] for line in path.read_text().splitlines()]
        return "\n".join(lines)

    def tail(self) -> str:
        """Give the ends of all logs."""
        return "\n".join(f"== {each.name}\n{each.tail()}" for each in self._processes.values())

    def complaints(self) -> str:
        """Give the last warnings and errors of all logs."""
        return "\n".join(
            f"== {each.name}\n{each.complaints()}" for each in self._processes.values()
        )

    def stop(self) -> None:
        """End everything on the node, and remove what it has left."""
        for process in reversed(self._processes.values()):
            process.kill()
        self._space.close()
        self._starter.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open(self) -> None:
        self._space.open()
        for folder in (self.root, self.cdi):
            folder.mkdir(exist_ok=True)
        write_cni(self.folder / "cni")
        self._launch("containerd", self._containerd())
        self._import_images()
        self._launch("kubelet", self._kubelet())
        admin = Admin.of(self._control_plane.kubeconfig)
        wait_until(
            lambda: self._is_ready(admin),
            what=f"node {self.name}, ready",
            seconds=_READY_SECONDS,
            last=self.tail,
        )

    def _launch(self, name: str, command: list[str]) -> None:
        entered = self._space.enter(*command)
        process = Process(name, entered, logs=self._space.logs, starter=self._starter)
        self._processes[name] = process
        process.start()

    def _containerd(self) -> list[str]:
        runc = shutil.which("runc") or "runc"
        cdi = Path("/var/run/cdi") if self._usual else self.cdi
        config = write_containerd(self.folder, runc=runc, shims=self._containerd_at, cdi=cdi)
        return [f"{self._containerd_at}/containerd", f"--config={config}"]

    def _kubelet(self) -> list[str]:
        groups = ["system:nodes"]
        user = self._control_plane.kubeconfig_for(f"system:node:{self.name}", groups=groups)
        config = write_kubelet(
            self.folder,
            address=node_address(),
            port=free_port(),
            ca=self._control_plane.ca_file,
            cgroup=self._space.cgroup,
            feature_gates=self._gates,
        )
        return [
            f"{self._kubelet_at}/kubelet",
            f"--kubeconfig={user}",
            f"--config={config}",
            f"--root-dir={'/var/lib/kubelet' if self._usual else self.root}",
            f"--cert-dir={self.folder}/pki",
            f"--hostname-override={self.name}",
        ]

    def _import_images(self) -> None:
        archive = self.folder / "images.tar"
        images.write_archive(archive)
        self.import_images(archive)

    def import_images(self, archive: Path) -> None:
        """Give the container runtime an archive's images."""
        command = self.ctr("images", "import", str(archive))
        done = [subprocess.CompletedProcess[str](command, 1)]

        def is_done() -> bool:
            done[:] = [subprocess.run(command, check=False, capture_output=True, text=True)]
            return done[0].returncode == 0

        wait_until(
            is_done, what="images in containerd", last=lambda: f"{done[0].stderr}\n{self.tail()}"
        )

    def _is_ready(self, admin: Admin) -> bool:
        found = admin.find("Node", self.name)
        conditions = found["status"].get("conditions", []) if found else []
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        return ready and found is not None and not found["spec"].get("taints")


def check_machine() -> None:
    """Raise `Lacking` if this machine cannot run a node."""
    if os.geteuid() != 0:
        raise building.Lacking("needs root for a kubelet and its containers")
    for program in ("runc", "unshare", "nsenter"):
        if shutil.which(program) is None:
            raise building.Lacking(f"needs {program} for a kubelet's containers")
    if not images.BUSYBOX.exists() or b"/ld-linux" in images.BUSYBOX.read_bytes()[:4096]:
        raise building.Lacking("needs a static busybox for a container's image")
    if (reason := cgroups_refusal()) is not None:
        raise building.Lacking(f"needs cgroups that a kubelet can make more of: {reason}")


def node_address() -> str:
    """Give this machine's address, as its kubelet finds it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.254", 9))
        except OSError:  # no way to anywhere: the API server cannot ask this kubelet
            return "127.0.0.1"
        address: str = asked.getsockname()[0]
        return address


def free_port() -> int:
    """Find a port that nobody has at any address."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        port: int = taken.getsockname()[1]
        return port
