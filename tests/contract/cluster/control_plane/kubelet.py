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


class RealKubelet:
    """One node, running inside a ``with`` block."""

    def __init__(
        self,
        control_plane: ControlPlane,
        name: str,
        *,
        feature_gates: Mapping[str, bool] | None = None,
    ) -> None:
        check_machine()
        self.name = name
        self._control_plane = control_plane
        self._gates = dict(feature_gates or {})
        minor = ".".join(control_plane.version[1:].split(".")[:2])
        self._kubelet_at = building.commands(building.kubernetes(minor, ("kubelet",)))
        self._containerd_at = building.commands(building.containerd())
        self.folder = control_plane.folder / name

    @property
    def root(self) -> Path:
        """The kubelet's ``--root-dir``, below which plugins have their sockets."""
        return self.folder / "kubelet"

    @property
    def cdi(self) -> Path:
        """Where the runtime looks for CDI specs."""
        return self.folder / "cdi"

    def __enter__(self) -> Self:
        self._starter = Starter()
        self._processes: dict[str, Process] = {}
        self._space = NodeSpace(self.folder, starter=self._starter)
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
            folder.mkdir()
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
        config = write_containerd(self.folder, runc=runc, shims=self._containerd_at)
        return [f"{self._containerd_at}/containerd", f"--config={config}"]

    def _kubelet(self) -> list[str]:
        groups = ["system:nodes"]
        user = self._control_plane.kubeconfig_for(f"system:node:{self.name}", groups=groups)
        config = write_kubelet(
            self.folder,
            port=_free_port(),
            ca=self._control_plane.ca_file,
            cgroup=self._space.cgroup,
            feature_gates=self._gates,
        )
        return [
            f"{self._kubelet_at}/kubelet",
            f"--kubeconfig={user}",
            f"--config={config}",
            f"--root-dir={self.root}",
            f"--cert-dir={self.folder}/pki",
            f"--hostname-override={self.name}",
        ]

    def _import_images(self) -> None:
        archive = self.folder / "images.tar"
        images.write_archive(archive)
        ctr = [f"{self._containerd_at}/ctr", f"--address={self.folder}/containerd.sock"]
        command = [*ctr, "--namespace=k8s.io", "images", "import", str(archive)]
        done = [subprocess.CompletedProcess[str](command, 1)]

        def is_done() -> bool:
            done[:] = [
                subprocess.run(
                    self._space.enter(*command), check=False, capture_output=True, text=True
                )
            ]
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


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
