"""Fixtures: a machine of each kind, a pod on it, and nothing left open behind a test."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest

from contract.netlink.kernel_machine import IN_GUEST, restore
from contract.netlink.netlink_machines import EXCLUSIVE, MACHINES, SHARED, Machine, Scene
from ibdra_domain.hardware import RdmaIsolation

_REAL = (pytest.mark.real,) if IN_GUEST else ()


def _each(kinds: Iterable[str]) -> list[pytest.ParameterSet]:
    return [pytest.param(kind, marks=_REAL) for kind in kinds]


def a_scene(kind: str) -> Iterator[Scene]:
    """Set a scene, and see that no port kept a namespace open."""
    scene = Scene(MACHINES[kind]())
    yield scene
    scene.close()
    assert 0 == scene.machine.open_handles()


@pytest.fixture(scope="module", autouse=True)
def _left_as_found() -> Iterator[None]:
    """Leave the virtual node to the next module as it was when it had booted."""
    yield
    if IN_GUEST:
        restore(RdmaIsolation(os.environ["IBDRA_VIRTUAL_NODE_MODE"]))


@pytest.fixture(params=_each(MACHINES))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Give a machine without any other namespace."""
    made = MACHINES[request.param]()
    yield made
    assert 0 == made.open_handles()


@pytest.fixture(params=_each(MACHINES))
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set a scene on a machine of any kind."""
    yield from a_scene(request.param)


@pytest.fixture(params=_each(EXCLUSIVE))
def exclusive(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set a scene in exclusive mode, on a kernel of either age."""
    yield from a_scene(request.param)


@pytest.fixture(params=_each(SHARED))
def shared(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Set a scene in shared mode."""
    yield from a_scene(request.param)
