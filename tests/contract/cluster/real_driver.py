"""The driver's own program on a node with a real kubelet, and what its node has of it.

Why: pods that really run show what no test inside one process can: that the kubelet's calls,
the runtime's hook, our daemon and the API server fit together, also when one of them is killed.
Only the HCAs are simulated (``ibdra run --simulate``).
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.processes import Process, Starter
from ibdra_adapters.hook.install import install_hook
from ibdra_adapters.simulation.kept import Kept

Json = dict[str, Any]
PROGRAM = Path(sys.executable).with_name("ibdra")
PROFILE = "dgx-h100"
PATIENCE = 30.0


class RealDriver:
    """``ibdra run`` on a node, running inside a ``with`` block."""

    def __init__(self, kubelet: RealKubelet, admin: Admin, *, kubeconfig: Path, hook: Path) -> None:
        self.kubelet = kubelet
        self.admin = admin
        self.node = kubelet.name
        self.folder = kubelet.folder / "ibdra"
        self.run_folder = self.folder / "run"
        installed = install_hook(hook, folder=self.folder / "bin").link
        command = [
            *(str(PROGRAM), "run", f"--simulate={PROFILE}", f"--node={self.node}"),
            *(f"--kubeconfig={kubeconfig}", f"--kubelet-dir={kubelet.root}"),
            *(f"--cdi-dir={kubelet.cdi}", f"--state-dir={self.folder / 'claims'}"),
            *(f"--run-dir={self.run_folder}", f"--hook={installed}", "--verbose"),
        ]
        self._starter = Starter()
        entered = kubelet.enter(*command)
        self._process = Process("ibdra", entered, logs=self.folder, starter=self._starter)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._starter.close()

    @property
    def log(self) -> str:
        """Everything it has said."""
        return self._process.log.read_text(errors="replace") if self._process.log.exists() else ""

    @property
    def registrations(self) -> int:
        """How often the kubelet has taken it."""
        return self.log.count("kubelet registered driver")

    def start(self) -> None:
        """Start it, and wait until the kubelet has taken it."""
        already = self.registrations
        self._process.start()
        wait_until(
            lambda: self.registrations > already or not self._process.is_alive,
            what="the driver, taken by the kubelet",
            seconds=PATIENCE,
            last=self.tail,
        )
        assert self._process.is_alive, self.tail()
        self.await_slices()

    def ensure_running(self) -> None:
        """Start it if a test has left it dead."""
        if not self._process.is_alive:
            self.start()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash would."""
        self._process.kill()

    def complaints(self) -> str:
        """Give its last warnings and errors."""
        bad = (" WARNING ", " ERROR ", "Traceback")
        found = [line for line in self.log.splitlines() if any(word in line for word in bad)]
        return "\n".join(found[-20:])

    def tail(self) -> str:
        """Give the end of its log."""
        return self._process.tail()

    def slices(self) -> list[Json]:
        """Give the node's slices, as the server has them."""
        return list(self.admin.list("ResourceSlice", fields=f"spec.nodeName={self.node}"))

    def devices(self) -> dict[str, Json]:
        """Give the published devices by name."""
        return {d["name"]: d for s in self.slices() for d in s["spec"].get("devices") or ()}

    def await_slices(self) -> None:
        """Wait until the node's whole pool is published."""

        def complete() -> bool:
            found = self.slices()
            wanted = {s["spec"]["pool"]["resourceSliceCount"] for s in found}
            generations = {s["spec"]["pool"]["generation"] for s in found}
            return {len(found)} == wanted and 1 == len(generations)

        wait_until(complete, what="the node's slices", seconds=PATIENCE, last=self.slices)

    def left(self) -> list[str]:
        """List what is on the disk of claims: CDI specs, records and marks."""
        folders = (self.kubelet.cdi, self.folder / "claims", self.run_folder / "attached")
        return [
            path.name
            for folder in folders
            if folder.exists()
            for path in sorted(folder.iterdir())
            if not path.name.startswith(".")
        ]

    def machine(self) -> Kept:
        """Read where the simulated kernel has its devices and interfaces."""
        return msgspec.json.decode((self.run_folder / "simulation.json").read_bytes(), type=Kept)

    def away(self) -> list[str]:
        """List the RDMA devices and interfaces that are in some pod's namespace."""
        kept = self.machine()
        away = [name for name, device in kept.devices.items() if device.netns.inode != _HOST]
        return away + [link.link.name for link in kept.links if link.netns.inode != _HOST]

    def await_gone(self) -> None:
        """Wait until nothing is left of any claim, and every device is at home."""
        wait_until(
            lambda: not self.left() and not self.away(),
            what="the end of all claims",
            seconds=PATIENCE,
            last=lambda: (self.left(), self.away(), self.tail()),
        )

    def at_home(self) -> dict[str, object]:
        """Describe what of the machine must be the same when a pod has come and gone."""
        kept = self.machine()
        links = {
            (one.rdma, one.port, one.link.pkey): (one.link.name, one.link.mtu, one.link.up)
            for one in kept.links
        }
        classes = {name: device.traffic_classes for name, device in kept.devices.items()}
        return {"links": links, "classes": classes, "away": self.away()}


_HOST = 4026531840
