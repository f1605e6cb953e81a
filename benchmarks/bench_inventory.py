"""1,024 VFs: the walk through sysfs against its floor, and what `ibdra slices` costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ibdra_adapters.manifests.documents import to_yaml
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import load_profile
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.hardware import VerbsReading
from ibdra_domain.inventory import take_inventory
from ibdra_domain.publication import DRIVER_NAME, to_dra_device
from ibdra_domain.slices import to_slices
from measure import medians, row

HERE = Path(__file__).parent
_SELF_RSS = """
import resource, sys
sys.argv = ["ibdra", *sys.argv[1:]]
from ibdra_app.cli import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


def files_read(tree: SysfsTree) -> list[str]:
    """Record which files one walk opens, with the interpreter's own audit events."""
    opened: list[str] = []
    recording = True

    def hook(event: str, args: tuple[object, ...]) -> None:
        if recording and event == "open":
            opened.append(str(args[0]))

    sys.addaudithook(hook)
    tree.read()
    recording = False
    return opened


def bare_loop(paths: list[str]) -> None:
    """Read files and do nothing with them."""
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        os.read(handle, 4096)
        os.close(handle)


def cost_of(*arguments: str) -> tuple[float, float]:
    """Run the command in a process of its own; seconds (median of five), peak memory in MiB."""
    runs = [_cost(arguments) for _ in range(5)]
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def _cost(arguments: tuple[str, ...]) -> tuple[float, float]:
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _SELF_RSS, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    )
    return time.perf_counter() - start, int(done.stderr.split()[-1]) / 1024


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        SimulatedMachine(load_profile(str(HERE / "1024-vfs.toml")), root)
        tree = SysfsTree(root)
        paths = [path for path in files_read(tree) if Path(path).is_file()]
        devices = take_inventory(tree.read(), VerbsReading()).devices
        published = [to_dra_device(device) for device in devices]
        slices = to_slices(published, node="node", driver=DRIVER_NAME)
        took = medians({"walk": tree.read, "floor": lambda: bare_loop(paths)})
        row("devices", str(len(devices)))
        row(
            "slices",
            str(len(slices)),
            f"at most {max(len(s.spec.devices) for s in slices)} devices",
        )
        row("files read in one walk", str(len(paths)))
        row("sysfs walk", f"{took['walk'] * 1e3:.0f} ms")
        row("floor: the same files, a bare loop", f"{took['floor'] * 1e3:.0f} ms")
        row("ratio", f"{took['walk'] / took['floor']:.2f}", "must stay below 3")
        reading = tree.read()
        pure = medians(
            {
                "join": lambda: take_inventory(reading, VerbsReading()),
                "attributes": lambda: [to_dra_device(device) for device in devices],
                "slices": lambda: to_slices(published, node="node", driver=DRIVER_NAME),
                "yaml": lambda: to_yaml(s.to_builtins() for s in slices),
            },
            rounds=3,
        )
        for name, seconds in pure.items():
            row(f"  {name}", f"{seconds * 1e3:.1f} ms")
        for command in ("slices", "devices"):
            seconds, mebibytes = cost_of(command, "--sysfs-root", folder)
            row(
                f"ibdra {command} --sysfs-root, as a process",
                f"{seconds * 1e3:.0f} ms",
                f"peak memory {mebibytes:.0f} MiB",
            )


if __name__ == "__main__":
    main()
