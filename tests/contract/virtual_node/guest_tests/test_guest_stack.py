"""The node is what its README says: a stock kernel's InfiniBand stack over two HCAs."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
IPOIB = "32"  # ARPHRD_INFINIBAND


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


@contextmanager
def up(netdev: str) -> Iterator[None]:
    inside.run(f"ip link set {netdev} up")
    try:
        yield
    finally:
        inside.run(f"ip link set {netdev} down")


def test_two_hcas_on_two_numa_nodes() -> None:
    """There are two physical functions, dressed as ConnectX-6, on NUMA nodes 0 and 1."""
    functions = inside.physical_functions()
    assert ["0", "1"] == [inside.read(function / "numa_node") for function in functions]
    assert ["mlx5_0", "mlx5_1"] == [inside.rdma_device(function) for function in functions]
    for function in functions:
        ids = [inside.read(function / name) for name in ("vendor", "device", "class")]
        assert ["0x15b3", "0x101b", "0x020700"] == ids
        assert "mlx5_core" == (function / "driver").resolve().name


def test_identity_in_sysfs(hca: Path) -> None:
    """The RDMA device shows firmware, type, board and GUIDs as mlx5 does."""
    device = inside.RDMA / inside.rdma_device(hca)
    assert hca.resolve() == (device / "device").resolve()
    assert "20.35.1012" == inside.read(device / "fw_ver")
    assert "MT4123" == inside.read(device / "hca_type")
    assert "MT_0000000223" == inside.read(device / "board_id")
    guid = inside.read(device / "node_guid")
    assert f"fe80:0000:0000:0000:{guid}" == inside.read(device / "ports/1/gids/0")
    assert "InfiniBand" == inside.read(device / "ports/1/link_layer")
    assert "200 Gb/sec (4X HDR)" == inside.read(device / "ports/1/rate")
    assert "0" == inside.read(device / "ports/1/counters/link_downed")


def test_ipoib_netdev(hca: Path) -> None:
    """The HCA has an IPoIB netdev, whose address ends in the port's GUID."""
    netdev = hca / "net" / inside.parent_netdev(hca)
    guid = inside.read(inside.RDMA / inside.rdma_device(hca) / "node_guid")
    assert IPOIB == inside.read(netdev / "type")
    assert "4092" == inside.read(netdev / "mtu")
    assert guid.replace(":", "") == inside.read(netdev / "address").replace(":", "")[-16:]


def test_carrier(hca: Path) -> None:
    """A netdev that is set up gets its carrier: somebody answers for the subnet manager."""
    netdev = inside.parent_netdev(hca)
    with up(netdev):
        assert inside.eventually(lambda: inside.carrier(netdev))


@pytest.mark.parametrize("kind", ["uverbs", "umad", "issm"])
def test_device_nodes_open(hca: Path, kind: str) -> None:
    """Each HCA has nodes for verbs, management datagrams and a subnet manager."""
    node = inside.node_of(hca, kind)
    assert stat.S_ISCHR(node.stat().st_mode)
    os.close(os.open(node, os.O_RDWR))


def test_port_state_switch(hca: Path) -> None:
    """What stub_port_state is given is the port's state, and the netdev's carrier follows."""
    state = inside.RDMA / inside.rdma_device(hca) / "ports/1/state"
    netdev = inside.parent_netdev(hca)
    with up(netdev):
        inside.eventually(lambda: inside.carrier(netdev))
        inside.write(hca / "stub_port_state", "DOWN")
        try:
            assert "1: DOWN" == inside.read(state)
            assert inside.eventually(lambda: not inside.carrier(netdev))
        finally:
            inside.write(hca / "stub_port_state", "ACTIVE")
        assert "4: ACTIVE" == inside.read(state)
        assert inside.eventually(lambda: inside.carrier(netdev))
    assert errno.EINVAL == inside.refused(lambda: inside.write(hca / "stub_port_state", "WARM"))


@contextmanager
def pkeys(function: Path, table: str) -> Iterator[Path]:
    inside.write(function / "stub_pkeys", table)
    try:
        yield inside.RDMA / inside.rdma_device(function) / "ports/1/pkeys"
    finally:
        inside.write(function / "stub_pkeys", "0xffff")


def test_pkey_table_switch(hca: Path) -> None:
    """What stub_pkeys is given is the port's pkey table, the rest of it empty."""
    with pkeys(hca, "0xffff 0x8001 0x0002") as table:
        shown = [inside.read(table / str(index)) for index in range(128)]
    assert ["0xffff", "0x8001", "0x0002"] == shown[:3]
    assert {"0x0000"} == set(shown[3:])


def test_pkey_children(hca: Path, record_property: Callable[[str, object], None]) -> None:
    """A child of a listed pkey gets its carrier; one of an unlisted pkey exists without."""
    parent = inside.parent_netdev(hca)
    with pkeys(hca, "0xffff 0x8001"), up(parent):
        for pkey in ("8001", "8002"):
            inside.run(f"ip link add link {parent} name {parent}.{pkey} type ipoib pkey 0x{pkey}")
            inside.run(f"ip link set {parent}.{pkey} up")
        try:
            assert inside.eventually(lambda: inside.carrier(f"{parent}.8001"))
            unlisted = Path("/sys/class/net", f"{parent}.8002", "operstate")
            # 6.1 lays it at the parent's door; 6.12 sees that the parent is up.
            expected = {"lowerlayerdown", "down"}
            assert inside.eventually(lambda: inside.read(unlisted) in expected)
            assert not inside.carrier(f"{parent}.8002")
            record_property("a child of an unlisted pkey is", inside.read(unlisted))
            # Children made through rtnetlink have no pkey file in sysfs, nor a parent file.
            assert "pkey 0x8001" in inside.run(f"ip -d link show {parent}.8001")
            assert not Path("/sys/class/net", f"{parent}.8001", "pkey").exists()
            with pytest.raises(RuntimeError, match="Invalid argument"):
                inside.run(f"ip link add link {parent}.8001 name x type ipoib pkey 0x8003")
        finally:
            for pkey in ("8001", "8002"):
                inside.run(f"ip link del {parent}.{pkey}")


def test_duplicate_pkeys(hca: Path) -> None:
    """Only sysfs refuses a second child of a pkey, and only if sysfs made the first."""
    parent = inside.parent_netdev(hca)
    folder = Path("/sys/class/net", parent)
    create = functools.partial(inside.write, folder / "create_child", "0x8001")
    delete = functools.partial(inside.write, folder / "delete_child", "0x8001")
    for name in ("one", "two"):
        inside.run(f"ip link add link {parent} name {name} type ipoib pkey 0x8001")
    try:
        assert errno.ENODEV == inside.refused(delete)
        assert 0 == inside.refused(create)
        assert errno.ENOTUNIQ == inside.refused(create)
        assert 0 == inside.refused(delete)
    finally:
        inside.run("ip link del one")
        inside.run("ip link del two")


def test_binding_again(hca: Path) -> None:
    """A PF that is unbound takes its RDMA device along; bound again it has a new one."""
    before = inside.rdma_devices()
    device = inside.rdma_device(hca)
    inside.write(hca / "driver/unbind", hca.name)
    assert before - {device} == inside.rdma_devices()
    inside.write(Path("/sys/bus/pci/drivers/mlx5_core/bind"), hca.name)
    inside.eventually(lambda: inside.parent_netdev(hca))
    assert before == inside.rdma_devices()


def test_traffic_class(hca: Path) -> None:
    """The vendor's traffic class file is empty until set, and again when unset."""
    file = inside.RDMA / inside.rdma_device(hca) / "tc/1/traffic_class"
    assert "" == file.read_text()
    inside.write(file, "106")
    assert "Global tclass=106\n" == file.read_text()
    inside.write(file, "-1")
    assert "" == file.read_text()
