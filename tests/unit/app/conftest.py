"""Nodes for the tests of use cases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from unit.app.app_node import Node, running_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Start the HPC node: exclusive mode, a kernel that re-creates IPoIB beside its device."""
    with running_node(tmp_path) as running:
        yield running
