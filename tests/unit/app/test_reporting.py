"""What claims and pods are told, and that telling is never in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ibdra_app.reporting import Reporting
from ibdra_domain.errors import DeviceRefused, KubeUnavailable
from ibdra_domain.ports.driver import ClaimRef
from unit.app.app_node import Node, ib_config, running_node

VF = "pci-0101-00-00-0-port1"
POD = {"resource": "pods", "name": "pod0", "uid": "u0"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a node of VFs whose pod has the claims."""
    with running_node(tmp_path, profile="azure-nd-h100-v5") as made:
        yield made


def reserve(node: Node, claim: ClaimRef) -> None:
    body = node.api.get("ResourceClaim", claim.namespace, claim.name)
    body["status"]["reservedFor"] = [POD]
    node.api.replace(body)


def status_of(node: Node, claim: ClaimRef) -> list[dict[str, Any]]:
    body = node.api.get("ResourceClaim", claim.namespace, claim.name)
    devices: list[dict[str, Any]] = body["status"].get("devices", [])
    return devices


def reasons(node: Node, claim: ClaimRef) -> list[tuple[str, str, str]]:
    return [
        (c["type"], c["status"], c["reason"])
        for device in status_of(node, claim)
        for c in device["conditions"]
    ]


def reporting_of(node: Node) -> Reporting:
    made: Reporting = node.container.reporting()
    return made


def test_an_attached_device_says_which_interface_it_is(node: Node) -> None:
    """Name, 20-byte hardware address and IPs are those in the pod; all conditions hold."""
    claim = node.prepared(VF)
    pid = node.kernel.start_process()
    node.attach(claim, pid)
    ports = node.container.kernel()
    with closing(ports.namespaces.of_process(pid)) as netns:
        (link,) = [link for link in ports.links.list(netns) if link.port_guid is not None]
        node.kernel.give_address(netns.id, link.index, "10.1.0.5/16")
    reporting_of(node).tell(claim)
    (device,) = status_of(node, claim)
    assert {
        "interfaceName": link.name,
        "hardwareAddress": link.address,
        "ips": ["10.1.0.5/16"],
    } == device["networkData"]
    assert 20 == len(link.address.split(":"))
    assert [
        ("Ready", "True", "Attached"),
        ("RDMADeviceReady", "True", "Shared"),
        ("NetworkReady", "True", "InterfaceUp"),
    ] == reasons(node, claim)


def test_a_pkey_child_is_the_interface(node: Node) -> None:
    """With a pkey, the interface people use is the child in that partition."""
    claim = node.prepared(VF, config=ib_config(pkey=0x8001))
    node.attach(claim, node.kernel.start_process())
    reporting_of(node).tell(claim)
    (device,) = status_of(node, claim)
    assert device["networkData"]["interfaceName"].endswith(".8001")


def test_what_was_detached_says_nothing_any_more(node: Node) -> None:
    """After unprepare no entry of ours is left."""
    claim = node.prepared(VF)
    pid = node.kernel.start_process()
    node.attach(claim, pid)
    reporting_of(node).tell(claim)
    node.kernel.end_process(pid)
    node.unprepare(claim)
    reporting_of(node).tell(claim)
    assert [] == status_of(node, claim)


def test_only_prepared_says_nothing_yet(node: Node) -> None:
    """No container has started: there is nothing to tell, and nothing is written."""
    claim = node.prepared(VF)
    node.api.calls.clear()
    reporting_of(node).tell(claim)
    assert not [call for call in node.api.calls if call.startswith("apply")]


def test_the_same_again_is_not_written_and_keeps_its_times(node: Node) -> None:
    """A condition's time is that of its turn, not of the last look."""
    claim = node.prepared(VF)
    node.attach(claim, node.kernel.start_process())
    reporting_of(node).tell(claim)
    body = node.api.get("ResourceClaim", claim.namespace, claim.name)
    for condition in body["status"]["devices"][0]["conditions"]:
        condition["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    node.api.replace(body)
    node.api.calls.clear()
    reporting_of(node).tell(claim)
    assert not [call for call in node.api.calls if call.startswith("apply")]


def test_a_refusal_is_an_event_on_the_pod(node: Node) -> None:
    """The pod's events say why it hangs, with the holder's name."""
    first, second = node.prepared(VF), node.claim(VF)
    reserve(node, second)
    (answer,) = node.prepare(second)
    assert isinstance(answer, DeviceRefused)
    reporting_of(node).tell(second, [("PrepareFailed", str(answer))])
    (event,) = node.api.list("Event")
    assert ("PrepareFailed", "pod0") == (event["reason"], event["involvedObject"]["name"])
    assert first.name in event["message"]


def test_a_claim_of_the_same_name_is_not_told(node: Node) -> None:
    """What was made anew under a name is another's."""
    claim = node.prepared(VF)
    node.attach(claim, node.kernel.start_process())
    node.api.delete("ResourceClaim", claim.namespace, claim.name)
    node.api.create(
        {
            "kind": "ResourceClaim",
            "metadata": {"namespace": claim.namespace, "name": claim.name},
            "status": {"allocation": {}},
        }
    )
    reporting_of(node).tell(claim)
    assert [] == status_of(node, claim)


def test_telling_goes_on_in_a_thread_and_outlives_an_outage(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the server is away nobody waits; when it is back the claim is told."""
    monkeypatch.setattr("ibdra_app.reporting.FIRST_PAUSE", 0.01)
    claim = node.prepared(VF)
    reporting = reporting_of(node)
    reporting.start()
    try:
        node.api.fail_next = 3
        node.attach(claim, node.kernel.start_process())
        deadline = time.monotonic() + 30
        while not status_of_or_none(node, claim):
            assert time.monotonic() < deadline, "never told"
            time.sleep(0.01)
    finally:
        reporting.stop()
    assert ("Ready", "True", "Attached") == reasons(node, claim)[0]


def status_of_or_none(node: Node, claim: ClaimRef) -> list[dict[str, Any]]:
    try:
        return status_of(node, claim)
    except KubeUnavailable:
        return []


def test_a_failed_start_is_in_the_status(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until an attach succeeds, Ready is False and says why."""
    claim = node.prepared(VF, config=ib_config(mtu=2048))
    reserve(node, claim)
    reporting = reporting_of(node)
    told: list[tuple[ClaimRef, Any]] = []
    monkeypatch.setattr(reporting, "_enqueue", lambda c, *w: told.append((c, w)))
    error = DeviceRefused("it is held", remedy="wait")
    reporting.refused(claim, action="attach", error=error)
    reporting.tell(claim, told[0][1])
    assert [("Ready", "False", "AttachFailed")] == reasons(node, claim)
    (event,) = node.api.list("Event")
    assert "AttachFailed" == event["reason"]
    node.attach(claim, node.kernel.start_process())
    reporting.tell(claim)
    assert ("Ready", "True", "Attached") == reasons(node, claim)[0]


def test_admin_access_is_ready_when_prepared(tmp_path: Path) -> None:
    """No container's start comes after it, so the status says it at once."""
    with running_node(tmp_path, profile="dgx-h100") as node:
        claim = node.prepared("pci-0000-18-00-0-port1", admin=True)
        reporting_of(node).tell(claim)
        assert [("Ready", "True", "AdminAccess")] == reasons(node, claim)
