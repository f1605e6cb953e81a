"""Keeps the guest's tests out of a run on the host, where there is nothing for them to see."""

from __future__ import annotations

import os

# What only holds in the other namespace mode is not collected either: it could only skip.
_OTHER = {"exclusive": ["shared"], "shared": ["exclusive"]}
_MODE = os.environ.get("IBDRA_VIRTUAL_NODE_MODE", "")

if os.environ.get("IBDRA_VIRTUAL_NODE") == "1":
    collect_ignore_glob = [f"guest_tests/test_guest*_{mode}.py" for mode in _OTHER.get(_MODE, [])]
else:
    collect_ignore = ["guest_tests"]
