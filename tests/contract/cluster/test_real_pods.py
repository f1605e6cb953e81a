"""Pods that run, on a node of a real cluster: nothing is simulated but the HCAs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.real_driver import RealDriver

EXAMPLES = Path(__file__).parents[3] / "examples"
Json = dict[str, Any]
pytestmark = pytest.mark.real

ADMIN = {"Ready": "AdminAccess"}
ATTACHED = {"Ready": "Attached", "RDMADeviceReady": "Moved", "NetworkReady": "InterfaceUp"}
# What the container says of itself: its variables, but for addresses and names, and its nodes.
EXPECTED: dict[str, tuple[list[str], set[str], list[dict[str, str]]]] = {
    "ib-test1": (["IB_DEVICE_VF_PORT=1"], {"uverbs", "rdma_cm"}, [ATTACHED]),
    "ib-test2": (
        ["IB_DEVICE_VF_PKEY=0x8001", "IB_DEVICE_VF_MTU=4096", "NCCL_IB_PKEY=1", "NCCL_IB_TC=128"],
        {"uverbs", "rdma_cm"},
        [ATTACHED],
    ),
    "ib-test3": (["IB_DEVICE_PF_ADMIN=true"], {"uverbs", "umad", "issm", "rdma_cm"}, [ADMIN]),
    "ib-test4": (
        ["IB_DEVICE_VFS_0_PORT=1", "IB_DEVICE_VFS_1_PORT=1"],
        {"uverbs", "rdma_cm"},
        [ATTACHED, ATTACHED],
    ),
    "ib-test5": (["IB_DEVICE_PORT_PORT=1"], {"uverbs", "rdma_cm"}, [ATTACHED]),
}


def is_running(pod: Json) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def reasons_of(claim: Json) -> list[dict[str, str]]:
    devices = claim["status"].get("devices", ())
    return [{c["type"]: c["reason"] for c in device["conditions"]} for device in devices]


def log_of(kubelet: RealKubelet, example: str) -> list[str]:
    """Wait until the example's container has said everything; give its lines."""

    def look() -> list[str]:
        lines = kubelet.logs_of("pod0", namespace=example, container="ctr0").splitlines()
        return lines if any(line.endswith(" uverbs0") or "uverbs" in line for line in lines) else []

    return wait_until(look, what="the container's word")


@pytest.mark.parametrize("example", EXPECTED)
def test_an_example_runs_and_is_gone_without_trace(
    admin: Admin, kubelet: RealKubelet, ibdra: RealDriver, example: str
) -> None:
    """It starts with its devices, its claim's status says so, and nothing stays behind it."""
    words, nodes, conditions = EXPECTED[example]
    before, published = ibdra.at_home(), ibdra.devices()
    admin.apply_manifests(EXAMPLES / f"{example}.yaml")
    try:
        admin.wait_for("Pod", "pod0", is_running, namespace=example)
        lines = log_of(kubelet, example)
        assert set(words) <= set(lines)
        given = [line.split()[-1] for line in lines if line.startswith("c")]
        assert nodes == {name.rstrip("0123456789") for name in given}
        assert len(conditions) == len([name for name in given if name.startswith("uverbs")])
        name = admin.claim_of("pod0", namespace=example, entry="ib")["metadata"]["name"]
        admin.wait_for(
            "ResourceClaim", name, lambda c: conditions == reasons_of(c), namespace=example
        )
        # A device and its interface, and the child that a pkey has.
        moved = 0 if conditions == [ADMIN] else 2 * len(conditions) + (example == "ib-test2")
        assert moved == len(ibdra.away())
        assert published == ibdra.devices()
    finally:
        admin.delete("Pod", "pod0", namespace=example)
        admin.wait_gone("Pod", "pod0", namespace=example, seconds=20.0)  # less than its grace
        admin.delete("Namespace", example)
    admin.wait_gone("ResourceClaim", name, namespace=example)
    assert [] == ibdra.left()
    assert before == ibdra.at_home()
    assert published == ibdra.devices()
