"""Fixtures: a machine of each kind, with nothing left open behind a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.netlink.kernel_machine import IN_GUEST
from contract.sriov.sriov_machines import MACHINES, Machine, a_machine, born_again


@pytest.fixture(scope="module")
def tidy() -> Iterator[None]:
    """Leave the virtual node as it was booted behind a module's tests."""
    yield
    if IN_GUEST:
        born_again()


_REAL = (pytest.mark.real,) if IN_GUEST else ()


@pytest.fixture(params=[pytest.param(kind, marks=_REAL) for kind in MACHINES])
def machine(request: pytest.FixtureRequest, tmp_path: Path, tidy: None) -> Iterator[Machine]:  # noqa: ARG001 -- for what it does afterwards
    """Give a machine with two PFs and no VF."""
    yield from a_machine(request, tmp_path)
