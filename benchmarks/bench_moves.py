"""What wants a kernel: an exclusive move of an HCA there and back, and VFs from none to published.

Runs in the virtual node (``tests/contract/virtual_node``), whose emulated processor is slow:
ratios count, not times.  What is measured stands in ``moves_in_guest.py``, ``vfs_in_guest.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contract.virtual_node import guests
from contract.virtual_node.packages import Lacking
from measure import row

HERE = Path(__file__).parent.resolve()
PROGRAMS = ("moves_in_guest.py", "vfs_in_guest.py")


def main() -> int:
    """Measure in guests, and print what they printed."""
    try:
        bootable = guests.prepare("6.1")
    except Lacking as reason:
        row("a move in the virtual node", "-", str(reason))
        return 0
    codes = []
    for program in PROGRAMS:
        job = guests.Job([sys.executable, "-B", str(HERE / program)])
        outcome = guests.run(bootable, job)
        print(outcome.output, end="")
        if outcome.ended:
            print(f"the guest {outcome.ended}; its console ends:\n{outcome.console}")
        codes.append(outcome.code)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
