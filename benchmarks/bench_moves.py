"""One exclusive move of an HCA into a namespace and back: our adapters, and rdma and ip.

Runs in the virtual node (``tests/contract/virtual_node``), whose emulated processor is slow:
the ratio counts, not the times.  What is measured stands in ``moves_in_guest.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from contract.virtual_node import guests
from contract.virtual_node.packages import Lacking
from measure import row

PROGRAM = Path(__file__).with_name("moves_in_guest.py").resolve()


def main() -> int:
    """Measure in a guest, and print what it printed."""
    try:
        bootable = guests.prepare("6.1")
    except Lacking as reason:
        row("a move in the virtual node", "-", str(reason))
        return 0
    outcome = guests.run(bootable, guests.Job([sys.executable, "-B", str(PROGRAM)]))
    print(outcome.output, end="")
    if outcome.ended:
        print(f"the guest {outcome.ended}; its console ends:\n{outcome.console}")
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
