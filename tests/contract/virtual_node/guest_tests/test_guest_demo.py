"""``ibdra demo --real`` in the virtual node: all five examples on a real kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
PROGRAM = Path(sys.executable).with_name("ibdra")


@pytest.fixture(scope="module", params=["exclusive", "shared"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Switch the RDMA mode, which wants all other namespaces gone, and back at the end."""
    inside.eventually(lambda: inside.run(f"rdma system set netns {request.param}") == "")
    yield request.param
    inside.eventually(lambda: inside.run(f"rdma system set netns {inside.MODE}") == "")


@pytest.fixture(scope="module")
def vfs() -> Iterator[None]:
    """Give both HCAs two VFs each, for both modes: making and removing them takes a second."""
    with ExitStack() as stack:
        for function in inside.physical_functions():
            for vf in stack.enter_context(inside.virtual(function, 2)):
                inside.write(vf / "stub_pkeys", "0xffff 0x8001")
                inside.run(f"ip link set {inside.parent_netdev(vf)} up")
        yield


@pytest.fixture(scope="module")
def report(vfs: None, mode: str) -> dict[str, Any]:  # noqa: ARG001 -- for what it did before
    """Walk the demo, and read its report."""
    done = subprocess.run(
        [str(PROGRAM), "demo", "--real", "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    if done.stderr:
        pytest.fail(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    assert mode == found["isolation"]
    return found


def test_every_example_runs(report: dict[str, Any]) -> None:
    """The scheduler finds devices for all five, and nothing of any is wrong."""
    outcomes = {e["name"]: (e["outcome"], e.get("reason"), e["wrong"]) for e in report["examples"]}
    assert {f"ib-test{n}": ("ran", None, []) for n in range(1, 6)} == outcomes


def test_nothing_is_left(report: dict[str, Any]) -> None:
    """No file, no claim, no namespace; every device at home with its name, MTU and state."""
    assert [] == report["left_over"]
    assert report["passed"]


def test_a_container_sees_its_own_hca_only(report: dict[str, Any], mode: str) -> None:
    """In exclusive mode its RDMA devices are those of its claim; in shared mode all are there."""
    for example in report["examples"]:
        for container in example["containers"]:
            if any(key.endswith("_ADMIN") for key in container["env"]):
                continue
            told = {v for k, v in container["env"].items() if k.endswith("_IBDEV")}
            if mode == "exclusive":
                assert told == set(container["rdma_devices"])
            else:
                assert told < set(container["rdma_devices"])


def test_the_config_took_effect(report: dict[str, Any]) -> None:
    """ib-test2's container has the MTU asked for and its partition's interface, up."""
    example = next(e for e in report["examples"] if e["name"] == "ib-test2")
    (container,) = example["containers"]
    parent, child = sorted(container["interfaces"], key=lambda i: len(i["name"]))
    assert (True, 4092, None) == (parent["up"], parent["mtu"], parent["pkey"])
    assert (f"{parent['name']}.8001", True, 4092, "0x8001") == (
        *(child["name"], child["up"], child["mtu"], child["pkey"]),
    )
