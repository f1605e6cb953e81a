"""RDMA devices in namespaces, in shared mode: they are everywhere, only netdevs move."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(inside.MODE != "shared", reason=f"{inside.NEEDS} (shared mode)"),
]


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


def test_mode() -> None:
    """Netlink and the module's parameter agree on the mode."""
    assert "netns shared" in inside.run("rdma system show")
    assert "Y" == inside.read(Path("/sys/module/ib_core/parameters/netns_mode"))


def test_devices_do_not_move(hca: Path) -> None:
    """An RDMA device is in every namespace, so it cannot be moved to one."""
    device = inside.rdma_device(hca)
    with inside.network_namespace("other"):
        with pytest.raises(RuntimeError, match="Operation not supported"):
            inside.run(f"rdma dev set {device} netns other")
        assert inside.rdma_devices() == inside.rdma_devices("other")
        assert device in inside.run("ls /sys/class/infiniband", namespace="other")
        node = inside.node_of(hca, "uverbs")
        inside.run(f"dd if={node} of=/dev/null count=0 status=none", namespace="other")


def test_a_netdev_comes_back_with_its_children(hca: Path) -> None:
    """A netdev keeps its index when moved, and returns when its namespace dies."""
    with inside.virtual(hca, 1) as (function,):
        netdev = inside.parent_netdev(function)
        index = inside.links()[netdev]
        with inside.network_namespace("other"):
            inside.run(f"ip link set {netdev} netns other")
            assert index == inside.links("other")[netdev]
            child = f"ip link add link {netdev} name {netdev}.8001 type ipoib pkey 0x8001"
            inside.run(child, namespace="other")
        assert inside.eventually(lambda: f"{netdev}.8001" in inside.links())
        assert index == inside.links()[netdev]
