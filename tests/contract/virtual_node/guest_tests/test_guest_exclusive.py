"""RDMA devices in namespaces, in exclusive mode: the costs of a move, and the way back."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(inside.MODE != "exclusive", reason=f"{inside.NEEDS} (exclusive mode)"),
]
_VERBS = Path("/sys/class/infiniband_verbs")


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


def move(device: str, namespace: str) -> None:
    inside.run(f"rdma dev set {device} netns {namespace}")


def netdevs_with(guid: str, namespace: str | None = None) -> list[str]:
    """Find IPoIB netdevs by what a move leaves alone: the GUID in their address."""
    # The PF's entry holds its VFs' GUIDs too, but its own address comes first.
    entries = re.findall(
        r"^\d+: ([^:@]+).*?link/infiniband (\S+)",
        inside.run("ip -o link", namespace=namespace),
        re.MULTILINE,
    )
    return [name for name, address in entries if address.endswith(guid)]


def guid_of(function: Path) -> str:
    address = inside.read(function / "net" / inside.parent_netdev(function) / "address")
    return address[-23:]


def test_mode() -> None:
    """Netlink and the module's parameter agree on the mode."""
    assert "netns exclusive" in inside.run("rdma system show")
    assert "N" == inside.read(Path("/sys/module/ib_core/parameters/netns_mode"))


def test_mode_is_fixed_while_a_namespace_exists() -> None:
    """Another namespace anywhere makes changing the mode EBUSY; the same mode is no change."""
    with inside.network_namespace("other"):
        inside.run("rdma system set netns exclusive")
        with pytest.raises(RuntimeError, match="Device or resource busy"):
            inside.run("rdma system set netns shared")


def test_move_costs_the_netdev_and_its_children(
    hca: Path, record_property: Callable[[str, object], None]
) -> None:
    """A move destroys the IPoIB netdev and children, and makes a new netdev, down."""
    with inside.virtual(hca, 1) as (function,):
        device, old = inside.rdma_device(function), inside.parent_netdev(function)
        guid, index = guid_of(function), inside.links()[old]
        inside.run(f"ip link add link {old} name {old}.8001 type ipoib pkey 0x8001")
        with inside.network_namespace("away"):
            move(device, "away")
            inside.eventually(lambda: netdevs_with(guid) or netdevs_with(guid, "away"))
            here, away = inside.links(), inside.links("away")
            assert f"{old}.8001" not in here | away
            assert index not in here.values()
            # Up to 6.12 the new netdev is in init_net, from 7.2 on in the device's namespace:
            # whoever needs it must look in both.
            found = netdevs_with(guid), netdevs_with(guid, "away")
            assert 1 == len(found[0]) + len(found[1])
            assert device not in inside.rdma_devices()
            assert {device} == inside.rdma_devices("away")
            record_property("netdev after a move", "in init_net" if found[0] else "moved along")
        assert inside.eventually(lambda: device in inside.rdma_devices())
        assert inside.eventually(lambda: netdevs_with(guid))


def test_from_outside(hca: Path) -> None:
    """From the wrong namespace the nodes are seen but not opened, and sysfs says whose they are."""
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        device = inside.rdma_device(function)
        move(device, "away")
        node = inside.eventually(lambda: inside.node_of(function, "uverbs"))
        assert [] == list((function / "infiniband").iterdir())
        assert not (inside.RDMA / device).exists()
        assert device == inside.read(_VERBS / node.name / "ibdev")
        for kind in ("uverbs", "umad", "issm"):
            opening = functools.partial(os.open, inside.node_of(function, kind), os.O_RDWR)
            assert errno.EPERM == inside.refused(opening)
        inside.run(f"dd if={node} of=/dev/null count=0 status=none", namespace="away")
        assert device in inside.run("ls /sys/class/infiniband", namespace="away")


def test_move_to_where_it_is(hca: Path) -> None:
    """A move to its own namespace succeeds, and costs the netdev all the same."""
    with inside.virtual(hca, 1) as (function,):
        device = inside.rdma_device(function)
        index = inside.links()[inside.parent_netdev(function)]
        inside.run("ip netns attach home 1")
        try:
            move(device, "home")
        finally:
            inside.run("ip netns del home")
        netdev = inside.eventually(lambda: inside.parent_netdev(function))
        assert index != inside.links()[netdev]


def test_names_are_global(hca: Path) -> None:
    """A name in use in another namespace cannot be taken."""
    other = inside.rdma_device(inside.physical_functions()[1])
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        device = inside.rdma_device(function)
        move(device, "away")
        with pytest.raises(RuntimeError, match="File exists"):
            inside.run(f"rdma dev set {other} name {device}")


def test_virtual_functions_go_while_away(hca: Path) -> None:
    """VFs can be taken away while one's RDMA device is in another namespace, and open."""
    with inside.virtual(hca, 2) as (function, _), inside.network_namespace("away"):
        device = inside.rdma_device(function)
        descriptor = os.open(inside.node_of(function, "uverbs"), os.O_RDWR)
        try:
            move(device, "away")
            inside.write(hca / "sriov_numvfs", "0")
            assert set() == inside.rdma_devices("away")
        finally:
            os.close(descriptor)


def test_children_elsewhere_die_too(hca: Path) -> None:
    """A move destroys pkey children also where they live in other namespaces."""
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("child"):
        device, netdev = inside.rdma_device(function), inside.parent_netdev(function)
        child = f"{netdev}.8001"
        inside.run(f"ip link add link {netdev} name {child} type ipoib pkey 0x8001")
        inside.run(f"ip link set {child} netns child")
        assert child in inside.links("child")
        with inside.network_namespace("away"):
            move(device, "away")
            assert inside.eventually(lambda: child not in inside.links("child"))


def test_a_process_keeps_the_device_away(hca: Path) -> None:
    """A namespace without a name lives, and keeps its device, while a process is in it."""
    with inside.virtual(hca, 1) as (function,):
        device = inside.rdma_device(function)
        with inside.network_namespace("held"):
            holder = subprocess.Popen(["ip", "netns", "exec", "held", "cat"], stdin=subprocess.PIPE)
            # Until the holder is inside, the namespace would die with its name.
            inside.eventually(lambda: inside.run("ip netns pids held"))
            move(device, "held")
        assert device not in inside.rdma_devices()
        holder.communicate()
        assert inside.eventually(lambda: device in inside.rdma_devices())


def test_minors_are_given_out_anew(hca: Path) -> None:
    """A move gives the device the lowest free uverbs and umad, not those it had."""
    with inside.virtual(hca, 2) as functions, inside.network_namespace("away"):
        first, second = (inside.node_of(function, "uverbs").name for function in functions)
        inside.write(functions[0] / "driver/unbind", functions[0].name)
        move(inside.rdma_device(functions[1]), "away")
        moved = inside.eventually(lambda: inside.node_of(functions[1], "uverbs").name)
        assert (first, True) == (moved, second != moved)


def test_open_contexts_end_with_a_move(hca: Path) -> None:
    """A descriptor from before a move is dead after it."""
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        descriptor = os.open(inside.node_of(function, "uverbs"), os.O_RDWR)
        try:
            move(inside.rdma_device(function), "away")
            answer = ctypes.create_string_buffer(8)
            get_context = struct.pack("=IHHQ", 0, 4, 2, ctypes.addressof(answer))
            assert errno.EIO == inside.refused(lambda: os.write(descriptor, get_context))
        finally:
            os.close(descriptor)
