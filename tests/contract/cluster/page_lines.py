"""A shell in which lines of the user's pages are typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from contract.cluster.charts import ROOT
from contract.cluster.installed_chart import InstalledChart
from unit.docs.pages import with_names


class Shell:
    """Somebody at a shell in a namespace, who puts names in place of the words in capitals."""

    def __init__(
        self, chart: InstalledChart, folder: Path, names: dict[str, str], *, namespace: str
    ) -> None:
        self._folder, self._names = folder, names
        own = folder / "kubeconfig"  # kubectl writes it anew
        own.write_bytes(Path(chart.environment["KUBECONFIG"]).read_bytes())
        self._environment = chart.environment | {"KUBECONFIG": str(own)}
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
            timeout=60,
            check=False,
        )
        assert done.returncode in codes, f"{line}: {done.stdout}{done.stderr}"
        assert 0 == done.returncode or not done.stderr, f"{line}: {done.stderr}"
        return done.stdout
