"""One exclusive move of an HCA into a namespace and back: our adapters, and rdma and ip.

Runs in the virtual node (``tests/contract/virtual_node``), whose emulated processor is slow:
the ratio counts, not the times.  What is measured stands in ``moves_in_guest.py``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

from contract.virtual_node import build, initramfs, kmods, packages
from contract.virtual_node.machine import Machine
from measure import row

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
NODE = REPOSITORY / "tests/contract/virtual_node"
CACHE = REPOSITORY / ".cache/virtual-node"
STACK = ("ib_core", "ib_uverbs", "ib_umad", "ib_ipoib")
DEADLINE = 400.0
BROKEN = 70


def main() -> int:
    """Measure in a guest, and print what it printed."""
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        packages.need_tools()
        kernel = packages.kernel("6.1", cache=CACHE)
    except packages.Lacking as reason:
        row("a move in the virtual node", "-", str(reason))
        return 0
    share = Path(tempfile.mkdtemp(prefix="run-", dir=CACHE))
    machine = Machine(
        kernel=kernel, initramfs=initramfs.make(kernel, cache=CACHE), share=share, memory_mib=1024
    )
    modules = [
        (str(path), "netns_mode=0" if path.name.startswith("ib_core.") else "")
        for path in kmods.load_order(STACK, below=kernel.modules)
    ]
    job = {
        "modules": [*modules, (str(build.stub_module(kernel, cache=CACHE)), "")],
        "command": [sys.executable, "-B", str(HERE / "moves_in_guest.py")],
        "folder": str(REPOSITORY),
        "environment": {},
    }
    (share / "job.json").write_text(json.dumps(job))
    program = [sys.executable, "-I", "-S", "-B", str(NODE / "guest.py")]
    ended = machine.run(program, deadline=DEADLINE)
    status, output = share / "status", share / "output.log"
    code = int(status.read_text()) if ended and status.exists() else BROKEN
    print(output.read_text() if output.exists() else machine.tail(), end="")
    if code:
        print(f"the guest failed ({code}); its console ends:\n{machine.tail()}")
    shutil.rmtree(share)
    return code


if __name__ == "__main__":
    sys.exit(main())
