"""Fixtures: one stub a release and session, one machine a test."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from contract.verbs.kernel_verbs import IN_GUEST, KernelMachine
from contract.verbs.verbs_machines import FakeMachine, Machine, Scripted, StubMachine, build_stub

SCRIPTED = ["fake", "rdma-core-44", "rdma-core-62"]
NEEDS_CC = "needs cc: the stub of libibverbs is compiled from C"


@pytest.fixture(scope="session")
def stub_library(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Compile the stub at first use of each release, or skip the test."""
    directory = tmp_path_factory.mktemp("stub")

    @cache
    def built(release: int) -> Path | None:
        return build_stub(directory, release=release)

    def library(release: int) -> Path:
        path = built(release)
        if path is None:
            pytest.skip(NEEDS_CC)
        return path

    return library


@pytest.fixture(params=SCRIPTED)
def scripted(request: pytest.FixtureRequest, stub_library: Callable[[int], Path]) -> Scripted:
    """Give an empty machine of each kind that fails on request."""
    if request.param == "fake":
        return FakeMachine()
    return StubMachine(stub_library(int(request.param.rpartition("-")[2])))


@pytest.fixture(
    params=[*SCRIPTED, pytest.param("kernel", marks=pytest.mark.real)] if IN_GUEST else SCRIPTED
)
def machine(request: pytest.FixtureRequest, stub_library: Callable[[int], Path]) -> Machine:
    """Give a machine of each kind, to be filled."""
    if request.param == "kernel":
        return KernelMachine()
    if request.param == "fake":
        return FakeMachine()
    return StubMachine(stub_library(int(request.param.rpartition("-")[2])))


@pytest.fixture(params=[44, 62], ids=["rdma-core-44", "rdma-core-62"])
def stub(request: pytest.FixtureRequest, stub_library: Callable[[int], Path]) -> StubMachine:
    """Give an empty stubbed machine of either release."""
    return StubMachine(stub_library(request.param))


@pytest.fixture
def stub44(stub_library: Callable[[int], Path]) -> StubMachine:
    """Give an empty machine without ``ibv_query_port_speed``."""
    return StubMachine(stub_library(44))


@pytest.fixture
def stub62(stub_library: Callable[[int], Path]) -> StubMachine:
    """Give an empty machine with ``ibv_query_port_speed``."""
    return StubMachine(stub_library(62))
