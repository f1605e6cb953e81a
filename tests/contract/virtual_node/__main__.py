"""Lets the folder be run: ``python tests/contract/virtual_node``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    from contract.virtual_node.run import main

    sys.exit(main())
