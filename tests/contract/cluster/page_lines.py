"""Shells in which lines of the pages are typed: an administrator's, and root's on a node."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from contract.cluster.charts import ROOT
from contract.cluster.control_plane import building
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.running import ControlPlane
from unit.docs.pages import with_names

_SECONDS = 60.0
_PROGRAMS = Path(sys.executable).parent


def with_kubectl(plane: ControlPlane) -> dict[str, str]:
    """Give the environment of an administrator: kubectl, and how to reach the cluster."""
    kubectl = building.commands(building.kubernetes(plane.minor, ("kubectl",)))
    path = f"{kubectl}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "KUBECONFIG": str(plane.kubeconfig)}


class Shell:
    """Somebody at a shell in a namespace, who puts names in place of the words in capitals."""

    def __init__(
        self, plane: ControlPlane, folder: Path, names: dict[str, str], *, namespace: str
    ) -> None:
        self._folder, self._names = folder, names
        own = folder / "kubeconfig"  # kubectl writes it anew
        own.write_bytes(plane.kubeconfig.read_bytes())
        self._environment = with_kubectl(plane) | {"KUBECONFIG": str(own)}
        (folder / "examples").symlink_to(ROOT / "examples")
        self.run(f"kubectl config set-context --current --namespace={namespace}")

    def run(self, line: str, *, codes: tuple[int, ...] = (0,)) -> str:
        """Run a line; give what it printed."""
        line = with_names(line, self._names)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            env=self._environment,
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode in codes, f"{line}: {done.stdout}{done.stderr}"
        assert 0 == done.returncode or not done.stderr, f"{line}: {done.stderr}"
        return done.stdout


class NodeShell:
    """Root at a shell of a node, in the project's folder, with ibdra installed beside Python."""

    def __init__(self, node: RealKubelet, kubeconfig: Path) -> None:
        self._node = node
        self._names = {
            "node-7": node.name,
            "NODE": node.name,
            "/etc/ibdra/kubeconfig": str(kubeconfig),
            "FILE": str(kubeconfig),
        }
        self._environment = os.environ | {
            "PATH": f"{_PROGRAMS}:{os.environ['PATH']}",
            "NODE_NAME": node.name,  # the host has another
            "COLUMNS": "1000",
        }

    def run(
        self,
        line: str,
        names: Mapping[str, str] | None = None,
        *,
        codes: tuple[int, ...] = (0,),
    ) -> str:
        """Run a line; give what it printed, of its errors too."""
        done = subprocess.run(
            self._command(line, names or {}),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode in codes, f"{line}: {done.returncode}: {done.stdout}"
        return done.stdout

    @contextmanager
    def running(self, line: str) -> Iterator[Path]:
        """Have a line's program run until it is told to end, as a service manager does.

        Gives the file that it writes its log to.
        """
        log = self._node.folder / "by-hand.log"
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            program = subprocess.Popen(
                self._command(f"exec {line}", {}),
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        try:
            yield log
            children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
            (inside,) = children.read_text().split()  # the program itself: nsenter only waits
            os.kill(int(inside), signal.SIGTERM)
            assert 0 == program.wait(_SECONDS), log.read_text()
        finally:
            program.kill()
            program.wait()

    def _command(self, line: str, names: Mapping[str, str]) -> list[str]:
        typed = f"cd {ROOT}\n{with_names(line, {**self._names, **names})}"
        return self._node.enter("bash", "-uc", typed)
