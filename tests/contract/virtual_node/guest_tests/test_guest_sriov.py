"""Virtual functions come, go and are administered as the kernel's PCI code and IPoIB have it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


def test_virtual_functions_have_rdma_devices(hca: Path) -> None:
    """Four VFs are four more RDMA devices with netdevs, nodes and links to their PF."""
    before = inside.rdma_devices()
    with inside.virtual(hca, 4) as functions:
        assert 4 == len(functions)
        names = {inside.rdma_device(function) for function in functions}
        assert before | names == inside.rdma_devices()
        assert not before & names
        for function in functions:
            ids = [inside.read(function / name) for name in ("vendor", "device", "class")]
            assert ["0x15b3", "0x101c", "0x020700"] == ids
            assert hca.resolve() == (function / "physfn").resolve()
            assert inside.read(hca / "numa_node") == inside.read(function / "numa_node")
            for kind in ("uverbs", "umad", "issm"):
                assert inside.node_of(function, kind).is_char_device()
        guids = {inside.read(inside.RDMA / name / "node_guid") for name in names}
        assert 4 == len(guids)
    assert before == inside.rdma_devices()


def test_all_eight(hca: Path) -> None:
    """As many VFs as sriov_totalvfs says can be had at once."""
    assert "8" == inside.read(hca / "sriov_totalvfs")
    with inside.virtual(hca, 8) as functions:
        assert 8 == len({inside.rdma_device(function) for function in functions})


def test_numvfs_refusals(hca: Path) -> None:
    """More than the total, another non-zero number and garbage are refused, each in its way."""
    numvfs = hca / "sriov_numvfs"
    assert errno.ERANGE == inside.refused(lambda: inside.write(numvfs, "9"))
    assert errno.EINVAL == inside.refused(lambda: inside.write(numvfs, "many"))
    with inside.virtual(hca, 2):
        assert errno.EBUSY == inside.refused(lambda: inside.write(numvfs, "3"))
        assert 0 == inside.refused(lambda: inside.write(numvfs, "2"))


def test_guids_take_effect_at_the_next_binding(hca: Path) -> None:
    """GUIDs given through the PF's netdev are the VF's once it is bound again."""
    with inside.virtual(hca, 1) as (function,):
        node, port = "00:11:22:33:44:55:66:77", "00:11:22:33:44:55:66:88"
        pf = inside.parent_netdev(hca)
        before = inside.read(inside.RDMA / inside.rdma_device(function) / "node_guid")
        inside.run(f"ip link set dev {pf} vf 0 node_guid {node}")
        inside.run(f"ip link set dev {pf} vf 0 port_guid {port}")
        shown = inside.run(f"ip link show {pf}")
        assert f"NODE_GUID {node}, PORT_GUID {port}" in shown
        assert before == inside.read(inside.RDMA / inside.rdma_device(function) / "node_guid")
        driver = function / "driver"
        inside.write(driver / "unbind", function.name)
        inside.write(Path("/sys/bus/pci/drivers/mlx5_core/bind"), function.name)
        inside.eventually(lambda: inside.parent_netdev(function))
        device = inside.RDMA / inside.rdma_device(function)
        assert "0011:2233:4455:6677" == inside.read(device / "node_guid")
        assert "fe80:0000:0000:0000:0011:2233:4455:6688" == inside.read(device / "ports/1/gids/0")
        address = inside.read(function / "net" / inside.parent_netdev(function) / "address")
        assert address.endswith(port)


def test_unbound_until_asked(hca: Path) -> None:
    """Without autoprobe a VF has no driver, so its GUIDs can be set before it is bound."""
    inside.write(hca / "sriov_drivers_autoprobe", "0")
    inside.write(hca / "sriov_numvfs", "1")
    try:
        (function,) = inside.virtual_functions(hca)
        assert "0x101c" == inside.read(function / "device")
        assert not (function / "driver").exists()
        assert not (function / "infiniband").exists()
    finally:
        inside.write(hca / "sriov_numvfs", "0")
        inside.write(hca / "sriov_drivers_autoprobe", "1")


def test_link_state_of_a_virtual_function(hca: Path) -> None:
    """The PF's netdev switches a VF's port, at once."""
    with inside.virtual(hca, 1) as (function,):
        state = inside.RDMA / inside.rdma_device(function) / "ports/1/state"
        pf = inside.parent_netdev(hca)
        for policy, expected in (("disable", "1: DOWN"), ("enable", "4: ACTIVE")):
            inside.run(f"ip link set dev {pf} vf 0 state {policy}")
            assert expected == inside.read(state)
