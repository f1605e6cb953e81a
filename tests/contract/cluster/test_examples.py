"""The examples, unchanged: scheduled by a real scheduler, prepared over sockets, then gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.driver_node import DriverNode, RunningPod

EXAMPLES = Path(__file__).parents[3] / "examples"
Json = dict[str, Any]
OnNode = Callable[..., DriverNode]


def applied(admin: Admin, example: str) -> Json:
    """Apply an example's file; give its pod."""
    objects = admin.apply_manifests(EXAMPLES / f"{example}.yaml")
    return next(each for each in objects if each["kind"] == "Pod")


def conditions_of(claim: Json) -> list[dict[str, str]]:
    return [
        {c["type"]: c["reason"] for c in device["conditions"]}
        for device in claim["status"].get("devices", ())
    ]


def told(admin: Admin, running: RunningPod) -> list[Json]:
    """Wait until each claim's status speaks of every device it has; give the claims."""

    def complete(claim: Json) -> bool:
        results = claim["status"]["allocation"]["devices"]["results"]
        return len(claim["status"].get("devices", ())) == len(results)

    return [
        admin.wait_for(
            "ResourceClaim",
            claim["metadata"]["name"],
            complete,
            namespace=claim["metadata"]["namespace"],
        )
        for claim in running.claims.values()
    ]


@pytest.mark.parametrize("example", [f"ib-test{n}" for n in range(1, 6)])
def test_an_example_runs_and_is_gone_without_trace(
    admin: Admin, on_node: OnNode, example: str
) -> None:
    """Allocated from our slices, prepared, attached, told in the status, and nothing left."""
    node = on_node(num_vfs=8)
    running = node.start(applied(admin, example))
    try:
        for container in running.containers:
            assert container.device_nodes
            assert [key for key in container.env if key.startswith("IB_DEVICE_")]
        for claim in told(admin, running):
            for reasons in conditions_of(claim):
                if example == "ib-test3":
                    assert {"Ready": "AdminAccess"} == reasons
                else:
                    assert {
                        "Ready": "Attached",
                        "RDMADeviceReady": "Moved",
                        "NetworkReady": "InterfaceUp",
                    } == reasons
            for device in claim["status"]["devices"] if example != "ib-test3" else ():
                assert 20 == len(device["networkData"]["hardwareAddress"].split(":"))
    finally:
        node.end(running)
        admin.delete("Namespace", example)
        admin.wait_gone("Namespace", example, seconds=60)
    assert [] == node.left()
    assert running.pid not in node.machine.kernel.processes
    assert [] == list(admin.list("ResourceClaim", namespace=example))


def test_a_refusal_is_told_to_the_pod(admin: Admin, on_node: OnNode, namespace: str) -> None:
    """A pkey that the port does not have: the pod's events say so, and what it does have."""
    node = on_node(num_vfs=8)
    text = (EXAMPLES / "ib-test2.yaml").read_text()
    path = node.folder / "wrong.yaml"
    path.write_text(
        text.replace("pkey: 32769 # 0x8001", "pkey: 35516").replace("ib-test2", namespace)
    )
    pod = next(each for each in admin.apply_manifests(path) if each["kind"] == "Pod")
    claims = node.claims_of(pod)
    (answer,) = node.prepare(*claims.values()).values()
    assert isinstance(answer, str)
    assert "pkey 0x8abc" in answer

    def is_ours(event: Json) -> bool:
        return bool(event["reason"] == "PrepareFailed")

    found = wait_until(
        lambda: [e for e in admin.list("Event", namespace=namespace) if is_ours(e)],
        what="the event",
    )
    assert pod["metadata"]["uid"] == found[0]["involvedObject"]["uid"]
    assert "0x8abc is not in the partition table" in found[0]["message"]
    assert [] == node.left()
