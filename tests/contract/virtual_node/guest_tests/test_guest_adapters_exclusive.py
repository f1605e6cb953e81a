"""Our adapters with RDMA devices that are, or go, in another namespace."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from contract.virtual_node import inside
from contract.virtual_node.adapter_checks import nothing_left, refusal, told
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.errors import HardwareUnreadable
from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.inventory import take_inventory

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(inside.MODE != "exclusive", reason=f"{inside.NEEDS} (exclusive mode)"),
]
SYSFS = SysfsTree()
VERBS = LibIbverbs()
AWAY = Path("/run/netns/away")


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


def test_a_device_in_another_namespace(hca: Path) -> None:
    """Its nodes are listed with its name and function; all else says that it is not here."""
    namespaces = LinuxNamespaces()
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        name = inside.rdma_device(function)
        host, away = namespaces.host(), LinuxNamespaces(host=AWAY).host()
        try:
            LinuxRdmaDevices(namespaces).move(name, source=host, target=away)
            inside.eventually(lambda: inside.node_of(function, "uverbs").exists())
            kinds = {CharDeviceKind.UVERBS, CharDeviceKind.UMAD, CharDeviceKind.ISSM}
            nodes = [n for n in SYSFS.char_devices() if n.pci == function.name]
            assert (kinds, {name}) == ({n.kind for n in nodes}, {n.rdma_device for n in nodes})
            with pytest.raises(HardwareUnreadable, match=f"{name} port 1"):
                SYSFS.pkey_table(name, 1)
            assert SYSFS.traffic_class(name, 1) is None
            assert VERBS.read_port(name, 1) is None
            assert errno.ENODEV == refusal(lambda: VERBS.watch(name)).errno
            reading = SYSFS.read()
            assert name not in [h.name for h in reading.hcas]
            assert function.name in [f.address for f in reading.functions]
            notes = take_inventory(reading, VERBS.read()).warnings
            assert any(function.name in n and "another network namespace" in n for n in notes)
        finally:
            host.close()
            away.close()


def test_a_device_is_moved_back_out_of_a_living_namespace(hca: Path) -> None:
    """The kernel wants the mover inside the device's namespace; nobody of us stays there."""
    namespaces = LinuxNamespaces()
    rdma = LinuxRdmaDevices(namespaces)
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        name = inside.rdma_device(function)
        host, away = namespaces.host(), LinuxNamespaces(host=AWAY).host()
        with nothing_left():
            for source, target in ((host, away), (away, host)) * 2:
                rdma.move(name, source=source, target=target)
                assert name in rdma.names(target)
                assert name not in rdma.names(source)
        refused = refusal(lambda: rdma.move(name, source=away, target=host))
        assert (errno.ENODEV, True) == (refused.errno, name in refused.problem)
        host.close()
        away.close()
        inside.eventually(lambda: inside.parent_netdev(function))


def test_a_move_ends_a_watch_and_a_dropped_one_hears_nothing(hca: Path) -> None:
    """The device fails for who still has it open; who closed first has nothing to clean up."""
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        name = inside.rdma_device(function)
        with nothing_left():
            kept, dropped = VERBS.watch(name), VERBS.watch(name)
            dropped.close()
            inside.run(f"rdma dev set {name} netns away")
            assert f"{name}: device fatal" == told(kept)[-1]
            assert kept.ended
            assert () == dropped.wait(0)
            kept.close()
