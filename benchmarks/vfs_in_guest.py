"""What ``bench_moves.py`` runs in the virtual node: VFs from none to published.

Two PFs of eight: planned, made, given their GUIDs, bound, seen, and their slices written (to
a server in memory, whose time is none).  One round: VFs are never destroyed by us.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ibdra_app.container import wired
from ibdra_app.settings import Settings
from ibdra_app.sources import wanted_vfs
from ibdra_domain.inventory import FunctionType
from measure import row

VFS = 8


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        below = Path(folder)
        settings = Settings(
            node="node-a",
            num_vfs=VFS,
            cdi_folder=below / "cdi",
            state_folder=below / "state",
            run_folder=below / "run",
        )
        with wired(settings) as container:
            before, _ = container.publishing().publish()
            began = time.monotonic()
            container.provisioning().provision_at_start(wanted_vfs(settings))
            made = time.monotonic()
            after, _ = container.publishing().publish()
            done = time.monotonic()
            slices = container.kube().slices.list()
    pfs = sum(d.function_type is FunctionType.PF for d in before.devices)
    vfs = sum(d.function_type is FunctionType.VF for d in after.devices)
    published = sum(len(each.spec.devices) for each in slices)
    if (pfs * VFS, pfs + vfs) != (vfs, published):
        raise SystemExit(f"{pfs} PFs, {vfs} VFs, {published} devices published")
    row(f"{pfs} PFs x {VFS} VFs, from 0 to published", f"{done - began:.1f} s")
    row("of that, made and given GUIDs", f"{made - began:.1f} s")


if __name__ == "__main__":
    main()
