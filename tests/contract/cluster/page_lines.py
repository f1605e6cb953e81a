"""Commands of the user's pages, run as a reader types them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from contract.cluster.charts import ROOT
from contract.cluster.installed_chart import InstalledChart

_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def lines_of(page: str, heading: str = "", *, program: str = "") -> list[str]:
    """Read the commands of a page or of one section, of one program if that is named.

    They come in the order that a reader comes to them, without their comments.
    """
    text = (ROOT / "docs/user" / page).read_text()
    if heading:
        text = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    joined = re.sub(r"\\\n\s*", "", "".join(_BLOCK.findall(text)))
    lines = [re.sub(r"\s+# .*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line.startswith(program)]


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
        for name, value in self._names.items():
            line = re.sub(rf"(?<![\w.-]){name}(?![\w.-])", value, line)
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
