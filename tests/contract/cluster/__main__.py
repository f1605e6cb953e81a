"""Lets the folder be run: ``python tests/contract/cluster``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from contract.cluster.run import main

    sys.exit(main(sys.argv[1:]))
