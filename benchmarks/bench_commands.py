"""Start-up: what each command costs beside a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from measure import medians, row

TREE = Path(__file__).parents[1] / "tests/contract/sysfs/trees/hpc-hdr100-splitter"
EXAMPLE = Path(__file__).parents[1] / "examples/ib-test2.yaml"
RUN = "from ibdra_app.cli import main; main()"
COMMANDS: dict[str, list[str]] = {
    "bare python": ["-c", "pass"],
    "ibdra --version": ["-c", RUN, "--version"],
    "ibdra devices -o json": ["-c", RUN, "devices", "--sysfs-root", str(TREE), "-o", "json"],
    "ibdra slices": ["-c", RUN, "slices", "--sysfs-root", str(TREE)],
    "ibdra validate": ["-c", RUN, "validate", str(EXAMPLE)],
    "ibdra demo": ["-c", RUN, "demo", "--json"],
}


def main() -> None:
    """Measure and print."""
    works = {
        name: partial(
            subprocess.run,
            [sys.executable, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        for name, arguments in COMMANDS.items()
    }
    took = medians(works, rounds=5)
    for name, seconds in took.items():
        row(name, f"{seconds * 1e3:.0f} ms", f"{seconds / took['bare python']:.1f} x bare")


if __name__ == "__main__":
    main()
