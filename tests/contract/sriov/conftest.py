"""Fixtures: a machine of each kind, with nothing left open behind a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.sriov.sriov_machines import MACHINES, Machine, a_machine


@pytest.fixture(params=list(MACHINES))
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    """Give a machine with two PFs and no VF."""
    yield from a_machine(request, tmp_path)
