"""What of the namespace modes and of moves is seen in sysfs and in device nodes.

What netlink shows of them is the netlink ports' contract, which runs here as well.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
_VERBS = Path("/sys/class/infiniband_verbs")


@pytest.fixture(name="hca")
def _hca() -> Path:
    inside.run("rdma system set netns exclusive")
    return inside.physical_functions()[0]


def move(device: str, namespace: str) -> None:
    inside.run(f"rdma dev set {device} netns {namespace}")


def test_the_modules_parameter_shows_the_live_mode() -> None:
    """Both ways, whatever it was when the module was loaded."""
    parameter = Path("/sys/module/ib_core/parameters/netns_mode")
    for mode, shown in (("shared", "Y"), ("exclusive", "N")):
        inside.eventually(lambda m=mode: not inside.run(f"rdma system set netns {m}"))  # type: ignore[misc]  # binds the loop's
        assert shown == inside.read(parameter)


def test_the_mode_given_at_boot_holds_whoever_is_there() -> None:
    """ib_core was loaded while there was another namespace, which makes switching EBUSY."""
    boot = json.loads(Path("/run/virtual-node/boot.json").read_text())
    expected = {"exclusive": "N", "shared": "Y"}[inside.MODE]
    assert {"namespaces": 2, "netns_mode": expected} == boot


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


def test_names_are_global_on_older_kernels(
    hca: Path, record_property: Callable[[str, object], None]
) -> None:
    """A name in use in another namespace cannot be taken there; newer ones have it twice."""
    other = inside.rdma_device(inside.physical_functions()[1])
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        device = inside.rdma_device(function)
        move(device, "away")
        if inside.NAMES_ARE_GLOBAL:
            with pytest.raises(RuntimeError, match="File exists"):
                inside.run(f"rdma dev set {other} name {device}")
        else:
            inside.run(f"rdma dev set {other} name {device}")
            assert device in inside.rdma_devices() & inside.rdma_devices("away")
            inside.run(f"rdma dev set {device} name {other}")
    record_property("RDMA names are global", inside.NAMES_ARE_GLOBAL)


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
