"""What of a claim's allocation is ours, and which configuration applies."""

from __future__ import annotations

from typing import Any

import pytest

from ibdra_domain.allocation import AllocatedDevice, Allocation, read_allocation
from ibdra_domain.errors import ClaimRefused, ConfigRefused, InvalidConfig
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.kube_objects import AllocationConfig, ResourceClaim
from unit.domain.domain_facts import (
    NODE,
    a_claim,
    a_claim_ref,
    a_config,
    a_result,
    an_allocated_device,
    an_allocation,
    opaque,
    parameters,
)


def read(claim: ResourceClaim, **changes: Any) -> Allocation:
    """Read a claim on our node, for the kubelet."""
    options: dict[str, Any] = {"wanted": a_claim_ref(), "pool": NODE} | changes
    return read_allocation(claim, **options)


def devices_of(*config: AllocationConfig, **changes: Any) -> tuple[AllocatedDevice, ...]:
    """Read a claim of one device with these configs."""
    return read(a_claim(config=config, results=(a_result(**changes),))).devices


def config_of(*config: AllocationConfig, **changes: Any) -> IbConfig:
    """Give that device's effective config."""
    return devices_of(*config, **changes)[0].config


def test_a_plain_claim_is_its_device() -> None:
    """One result, no config."""
    assert an_allocation() == read(a_claim())


def test_results_keep_their_order() -> None:
    """The answer to the kubelet and the numbering of variables depend on it."""
    results = tuple(a_result(request=r, device=d) for r, d in (("b", "x"), ("a", "y"), ("b", "z")))
    found = read(a_claim(results=results)).devices
    assert [("b", "x"), ("a", "y"), ("b", "z")] == [(d.request, d.device) for d in found]


def test_a_share_is_kept() -> None:
    """The kubelet wants its id back."""
    assert "share-1" == devices_of(share_id="share-1")[0].share_id


def test_other_drivers_devices_are_passed_over() -> None:
    """A GPU in the same claim is its own driver's business, whatever its pool."""
    gpu = a_result(request="gpu", driver="gpu.example.com", pool="elsewhere", device="gpu-0")
    assert (an_allocated_device(),) == read(a_claim(results=(gpu, a_result()))).devices


def test_another_driver_reads_with_the_same_rules() -> None:
    """The driver's name is a parameter, for drivers built on the library."""
    claim = a_claim(results=(a_result(driver="roce.example.com"),))
    assert an_allocation() == read(claim, driver="roce.example.com")


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        (a_claim(uid="uid-2"), "claim team/fabric has UID uid-2, the kubelet asks for uid-1"),
        (a_claim(allocated=False), r"claim team/fabric \(uid-1\) is not allocated"),
        (a_claim(results=()), "holds no device of driver ib.sigs.k8s.io"),
        (a_claim(results=(a_result(driver="other"),)), "holds no device of driver"),
        (
            a_claim(results=(a_result(pool="b"), a_result(pool="a"), a_result(pool="b"))),
            "is allocated from pool a, b, this node's is node-1",
        ),
        (a_claim(results=(a_result(), a_result(pool="a"))), "is allocated from pool a, this"),
    ],
    ids=["other UID", "unallocated", "nothing", "foreign only", "other pools", "one other pool"],
)
def test_a_claim_that_is_not_the_one_meant_is_refused(claim: ResourceClaim, reason: str) -> None:
    """Before anything is touched, and with what to do about it."""
    with pytest.raises(ClaimRefused, match=reason) as caught:
        read(claim)
    assert caught.value.remedy


def test_the_wrong_claim_is_not_looked_into() -> None:
    """Another UID is told before anything else that may be wrong with that claim."""
    with pytest.raises(ClaimRefused, match="UID"):
        read(a_claim(uid="uid-2", allocated=False))


@pytest.mark.parametrize("source", ["FromClass", "FromClaim"])
def test_a_config_applies_whole(source: str) -> None:
    """From the class or from the claim."""
    config = a_config(source=source, pkey=0x8001, trafficClass=106, mtu=2048)
    assert IbConfig(pkey=0x8001, traffic_class=106, mtu=2048) == config_of(config)


def test_the_claim_beats_the_class_wherever_it_stands() -> None:
    """The list's order does not matter between sources."""
    of_claim, of_class = a_config(mtu=4096), a_config(source="FromClass", mtu=256)
    assert IbConfig(mtu=4096) == config_of(of_claim, of_class)
    assert IbConfig(mtu=4096) == config_of(of_class, of_claim)


@pytest.mark.parametrize("source", ["FromClass", "FromClaim"])
def test_the_later_beats_the_earlier_of_one_source(source: str) -> None:
    """As the API documents it."""
    first, second = (a_config(source=source, mtu=mtu) for mtu in (256, 4096))
    assert IbConfig(mtu=4096) == config_of(first, second)
    assert IbConfig(mtu=256) == config_of(second, first)


def test_fields_are_merged_one_by_one() -> None:
    """A class sets the partition, a claim the MTU: both hold."""
    of_class = a_config(source="FromClass", pkey=0x8001, mtu=256)
    assert IbConfig(pkey=0x8001, mtu=4096) == config_of(of_class, a_config(mtu=4096))


def test_a_config_is_scoped_by_request() -> None:
    """Without requests it is for all, else for the named ones only."""
    results = tuple(a_result(request=r, device=r) for r in ("a", "b"))
    config = (a_config(mtu=256), a_config(requests=("b", "c"), mtu=4096))
    found = read(a_claim(results=results, config=config)).devices
    assert [("a", 256), ("b", 4096)] == [(d.request, d.config.mtu) for d in found]


@pytest.mark.parametrize(
    ("named", "applies"),
    [("hca/fast", True), ("hca", True), ("hca/slow", False), ("fast", False), ("hc", False)],
)
def test_an_alternative_is_configured_by_its_own_or_its_requests_name(
    named: str, *, applies: bool
) -> None:
    """Never by another alternative's (KEP-4816)."""
    config = config_of(a_config(requests=(named,), mtu=256), request="hca/fast")
    assert applies == (config == IbConfig(mtu=256))


def test_the_kubelet_knows_requests_not_alternatives() -> None:
    """The name before the slash."""
    assert "hca" == devices_of(request="hca/fast")[0].request


@pytest.mark.parametrize(
    "foreign",
    [
        AllocationConfig(source="FromClaim", opaque=opaque(b'"not ours"', driver="gpu")),
        AllocationConfig(source="FromSpace", opaque=opaque(b'"not ours"', driver="gpu")),
        AllocationConfig(source="FromClaim"),
    ],
    ids=["other driver", "other driver, unknown source", "not opaque"],
)
def test_other_drivers_configs_are_not_read(foreign: AllocationConfig) -> None:
    """Not even looked at."""
    assert IbConfig(mtu=256) == config_of(foreign, a_config(mtu=256))


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b'{"mtu": 256, "mtu": 512}', "'mtu' is given twice"),
        (b"null", "the parameters are null, not an object"),
        (b"{", "the IbConfig is not JSON"),
        (b"{}", "apiVersion is missing; kind is missing"),
    ],
    ids=["duplicate key", "null", "not JSON", "empty"],
)
def test_a_config_of_ours_must_decode(raw: bytes, problem: str) -> None:
    """The reason says which of the allocation's configs it is."""
    config = AllocationConfig(source="FromClass", opaque=opaque(raw))
    with pytest.raises(InvalidConfig) as caught:
        config_of(a_config(mtu=256), config)
    where = "claim team/fabric (uid-1), allocation config[1] (FromClass): "
    assert caught.value.problem.startswith(where + problem)
    assert isinstance(caught.value.__cause__, InvalidConfig)
    assert caught.value.__cause__.field == caught.value.field


def test_a_source_from_the_future_is_refused() -> None:
    """Its precedence is unknown, so what it says cannot be placed."""
    config = AllocationConfig(source="FromSpace", opaque=opaque(parameters()))
    with pytest.raises(InvalidConfig, match="its source is not one of FromClass, FromClaim"):
        config_of(config)


def test_admin_access_takes_no_configuration() -> None:
    """What is said to all requests, or by the class, is for others."""
    config = (a_config(mtu=256), a_config(source="FromClass", requests=("hca",), mtu=512))
    assert (an_allocated_device(admin=True),) == devices_of(*config, admin_access=True)


@pytest.mark.parametrize("named", ["hca", "hca/fast"])
def test_admin_access_refuses_a_config_that_names_it(named: str) -> None:
    """A wish that could only be ignored is a mistake to tell."""
    with pytest.raises(ConfigRefused, match="admin access changes nothing"):
        devices_of(a_config(requests=(named,), mtu=256), request="hca/fast", admin_access=True)
