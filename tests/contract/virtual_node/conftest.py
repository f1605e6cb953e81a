"""Keeps the guest's tests out of a run on the host, where there is nothing for them to see."""

from __future__ import annotations

import os

collect_ignore = [] if os.environ.get("IBDRA_VIRTUAL_NODE") == "1" else ["guest_tests"]
