"""Fixtures: every kernel there is, with the host's namespace and a pod open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from contract.netlink.netlink_machines import FakeMachine, Machine, Pod
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ports.netlink import Netns


@pytest.fixture(params=["interface-at-home", "interface-follows"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Give a machine of each kernel, in exclusive mode; nobody may leave a handle open."""
    built = FakeMachine(interface_follows=request.param == "interface-follows")
    yield built
    assert 0 == built.open_handles()


@pytest.fixture
def shared(machine: Machine) -> Machine:
    """Give the machine in shared mode.  Ask for it before ``pod``: the mode is set first."""
    machine.rdma.set_isolation(RdmaIsolation.SHARED)
    return machine


@pytest.fixture
def host(machine: Machine) -> Iterator[Netns]:
    """Hold the host's namespace."""
    with closing(machine.namespaces.host()) as netns:
        yield netns


@pytest.fixture
def pod(machine: Machine) -> Iterator[Pod]:
    """Give a pod; a test may end it itself."""
    started = Pod(machine)
    yield started
    started.die()
