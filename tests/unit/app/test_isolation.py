"""The isolation mode that is demanded, and the one that is there."""

from __future__ import annotations

import pytest

from ibdra_adapters.netlink.fake import FakeRdmaDevices
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_app.isolation import ensure_isolation
from ibdra_domain.errors import IsolationRefused, KernelRefused
from ibdra_domain.hardware import IsolationDemand, RdmaIsolation

EXCLUSIVE, SHARED = RdmaIsolation.EXCLUSIVE, RdmaIsolation.SHARED


@pytest.mark.parametrize("there", list(RdmaIsolation))
def test_auto_takes_what_is_there(there: RdmaIsolation) -> None:
    """Without a demand nothing is switched."""
    kernel = FakeKernel(isolation=there)
    assert there is ensure_isolation(IsolationDemand.AUTO, FakeRdmaDevices(kernel))
    assert there is kernel.isolation


@pytest.mark.parametrize("mode", list(RdmaIsolation))
def test_the_mode_demanded_is_left_alone_also_while_pods_run(mode: RdmaIsolation) -> None:
    """Nothing is asked of the kernel that it would refuse."""
    kernel = FakeKernel(isolation=mode)
    kernel.start_process()
    assert mode is ensure_isolation(IsolationDemand(mode.value), FakeRdmaDevices(kernel))


@pytest.mark.parametrize(("there", "wanted"), [(SHARED, EXCLUSIVE), (EXCLUSIVE, SHARED)])
def test_another_mode_is_switched_to(there: RdmaIsolation, wanted: RdmaIsolation) -> None:
    """While there is no other namespace, the kernel obeys."""
    kernel = FakeKernel(isolation=there)
    assert wanted is ensure_isolation(IsolationDemand(wanted.value), FakeRdmaDevices(kernel))
    assert wanted is kernel.isolation


@pytest.mark.parametrize(
    ("there", "wanted", "number"), [(SHARED, EXCLUSIVE, 0), (EXCLUSIVE, SHARED, 1)]
)
def test_a_mode_that_cannot_be_had_is_refused_with_the_way_to_it(
    there: RdmaIsolation, wanted: RdmaIsolation, number: int
) -> None:
    """While pods run the kernel says EBUSY: the message names both modes and what to write."""
    kernel = FakeKernel(isolation=there)
    kernel.start_process()

    with pytest.raises(IsolationRefused) as refused:
        ensure_isolation(IsolationDemand(wanted.value), FakeRdmaDevices(kernel))

    assert f"RDMA isolation is {there}, {wanted} is demanded" in str(refused.value)
    assert "EBUSY" in str(refused.value)
    assert f"options ib_core netns_mode={number}" in refused.value.remedy
    assert "--rdma-isolation=auto" in refused.value.remedy
    assert isinstance(refused.value.__cause__, KernelRefused)
    assert there is kernel.isolation
