"""Metrics, fake and for Prometheus: the same is counted of the same."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.metrics.metrics_seen import NOW, Seen, harness
from ibdra_app.counts import Counts
from ibdra_domain.errors import AttachRefused, KubeConflict, NotSettled
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.inventory import Inventory, Platform, Presence
from ibdra_domain.link import PortState
from ibdra_domain.pool import PoolChanges, plan_pool
from ibdra_domain.publication import DRIVER_NAME, to_dra_device
from unit.domain.domain_facts import OTHER_VF, PF, a_device, a_vf, an_hca_port

REFUSED = AttachRefused("claim team-a/job of alice is attached elsewhere", remedy="wait")


@pytest.fixture(params=["fake", "prometheus"])
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Metrics of each kind."""
    with harness(request.param) as made:
        yield made


def test_nothing_is_told_before_it_is_known(seen: Seen) -> None:
    """A number that nobody gave is no number: not even zero."""
    for what in ("devices", "VFs", "platform", "held", "published", "actions", "reviews"):
        assert {} == seen.counted(what), what


def test_actions_are_counted_by_result_and_kind_of_error(seen: Seen) -> None:
    """The error's class is the reason, its text is for the log."""
    seen.node.action("attach")
    seen.node.action("attach")
    seen.node.action("attach", REFUSED)
    seen.node.action("detach", NotSettled("p", remedy="r"))
    assert {
        ("attach", "done"): 2,
        ("attach", "AttachRefused"): 1,
        ("detach", "NotSettled"): 1,
    } == seen.counted("actions")


def test_the_use_cases_counts_come_along(seen: Seen) -> None:
    """Metrics observe them, and no use case has to know."""
    counts = Counts(seen.node.action)
    counts.done("prepare")
    counts.failed("prepare", REFUSED)
    assert {("prepare", "done"): 1, ("prepare", "AttachRefused"): 1} == seen.counted("actions")
    assert counts.all() == seen.counted("actions")


def test_kubelet_requests_are_counted_and_timed(seen: Seen) -> None:
    """By method and result."""
    seen.node.kubelet_request("NodePrepareResources", seconds=0.5)
    seen.node.kubelet_request("NodePrepareResources", seconds=0.25)
    seen.node.kubelet_request("NodeUnprepareResources", seconds=2, error=ValueError("x"))
    assert {
        ("NodePrepareResources", "done"): 2,
        ("NodeUnprepareResources", "ValueError"): 1,
    } == seen.counted("kubelet requests")
    assert {
        ("NodePrepareResources", "done"): 0.75,
        ("NodeUnprepareResources", "ValueError"): 2,
    } == seen.counted("seconds")


def test_devices_are_counted_by_what_they_are(seen: Seen) -> None:
    """Those in pods as well; one that has left the machine is no device of it."""
    inventory = Inventory(
        platform=Platform.BARE_METAL,
        isolation=RdmaIsolation.EXCLUSIVE,
        devices=(
            a_device(),
            a_device(port=2, link=an_hca_port(number=2, state=PortState.DOWN)),
            a_vf(),
            a_vf(pci=OTHER_VF, presence=Presence.AWAY, vf_index=1),
            a_vf(pci="0000:3b:00.4", presence=Presence.GONE, vf_index=2),
            a_vf(pci="0000:af:00.2", parent_pci="0000:af:00.0", isolation=None,
                 link=an_hca_port(state=None)),
        ),
    )  # fmt: skip
    seen.node.inventory(inventory)
    assert {
        ("PF", "Active", "exclusive"): 1,
        ("PF", "Down", "exclusive"): 1,
        ("VF", "Active", "exclusive"): 2,
        ("VF", "unknown", "unknown"): 1,
    } == seen.counted("devices")
    assert {(PF,): 2, ("0000:af:00.0",): 1} == seen.counted("VFs")
    assert {("bare metal",): 1} == seen.counted("platform")


def test_an_inventory_replaces_the_one_before(seen: Seen) -> None:
    """What is gone leaves no number behind."""
    seen.node.inventory(Inventory(platform=Platform.BARE_METAL, devices=(a_device(), a_vf())))
    seen.node.inventory(Inventory(platform=Platform.VIRTUAL_MACHINE, devices=(a_device(),)))
    assert {("PF", "Active", "exclusive"): 1} == seen.counted("devices")
    assert {(PF,): 0} == seen.counted("VFs")
    assert {("virtual machine",): 1} == seen.counted("platform")
    seen.node.inventory(Inventory())
    assert {} == seen.counted("devices")


def test_held_devices_are_what_was_said_last(seen: Seen) -> None:
    """None is a number too."""
    for number in (3, 0):
        seen.node.held(number)
        assert {(): number} == seen.counted("held")


def test_publications_are_dated_and_their_writes_counted(seen: Seen) -> None:
    """One without a write says as well that all is as it should be."""
    changes = plan_pool((), [to_dra_device(a_device())], node="node-1", driver=DRIVER_NAME)
    assert 1 == len(changes.create)
    seen.node.published(changes)
    seen.node.published(PoolChanges(replace=changes.create, delete=changes.create * 2))
    seen.node.published(PoolChanges())
    assert {(): NOW} == seen.counted("published")
    assert {("create",): 1, ("replace",): 1, ("delete",): 2} == seen.counted("slice writes")


def test_api_requests_are_counted_by_verb_and_result(seen: Seen) -> None:
    """A conflict is another thing than no answer."""
    seen.node.api_request("get")
    seen.node.api_request("replace", KubeConflict("p", remedy="r"))
    assert {("get", "done"): 1, ("replace", "KubeConflict"): 1} == seen.counted("API requests")


def test_reviews_are_counted_and_timed(seen: Seen) -> None:
    """By kind of object and verdict."""
    seen.webhook.review("ResourceClaim", "allowed", 0.5)
    seen.webhook.review("ResourceClaim", "allowed", 0.5)
    seen.webhook.review("other", "unreadable", 0.125)
    assert {("ResourceClaim", "allowed"): 2, ("other", "unreadable"): 1} == seen.counted("reviews")
    assert {
        ("ResourceClaim", "allowed"): 1.0,
        ("other", "unreadable"): 0.125,
    } == seen.counted("seconds")


def test_any_thread_may_count(seen: Seen) -> None:
    """Workers do, while a scrape looks."""
    with ThreadPoolExecutor(8) as pool:
        for number in range(500):
            pool.submit(seen.node.action, "attach")
            pool.submit(seen.node.held, number)
        for _ in range(5):
            seen.counted("actions")
    assert {("attach", "done"): 500} == seen.counted("actions")
