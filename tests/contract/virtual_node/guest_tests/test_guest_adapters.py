"""Our sysfs and verbs adapters where a kernel does what their contract suites cannot stage."""

from __future__ import annotations

import contextlib
import errno
import threading
from pathlib import Path

import pytest

from contract.virtual_node import inside
from contract.virtual_node.adapter_checks import descriptors, refusal, told
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.errors import HardwareUnreadable
from ibdra_domain.identifiers import ZERO_GUID, PciAddress
from ibdra_domain.inventory import take_inventory
from ibdra_domain.link import PortState

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
SYSFS = SysfsTree()
VERBS = LibIbverbs()
ZERO_GUIDS = Path("/sys/module/stub_hca/parameters/zero_guids")


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


def test_a_port_that_went_down_is_read_so(hca: Path) -> None:
    """At once, with its MTU; and up again."""
    name = inside.rdma_device(hca)
    for state in (PortState.DOWN, PortState.INIT, PortState.ARMED, PortState.ACTIVE):
        inside.write(hca / "stub_port_state", state.value.upper())
        port = VERBS.read_port(name, 1)
        assert port is not None
        assert (state, 4096) == (port.state, port.active_mtu)
        (seen,) = (h.ports[0] for h in SYSFS.read().hcas if h.name == name)
        assert (state, port.physical_state, port.lid) == (seen.state, seen.physical_state, seen.lid)


def test_the_traffic_class_is_set_refused_and_unset(hca: Path) -> None:
    """As the vendor's driver takes it: a number of eight bits, or -1."""
    name = inside.rdma_device(hca)
    assert SYSFS.traffic_class(name, 1) == -1
    for value in (0, 106, 255):
        SYSFS.set_traffic_class(name, 1, value)
        assert value == SYSFS.traffic_class(name, 1)
    for value in (256, -2):
        refused = refusal(lambda value=value: SYSFS.set_traffic_class(name, 1, value))  # type: ignore[misc]  # a default binds the loop's value
        assert errno.EINVAL == refused.errno
        assert f"{name}/tc/1/traffic_class" in refused.problem
    assert 255 == SYSFS.traffic_class(name, 1)
    SYSFS.set_traffic_class(name, 1, -1)
    assert SYSFS.traffic_class(name, 1) == -1


def test_a_device_that_goes_while_it_is_read(hca: Path) -> None:
    """Unbound and bound again without a pause: each reading is one, and nothing raises."""
    done = threading.Event()
    failed: list[BaseException] = []
    readings = 0

    def pull() -> None:
        try:
            for _ in range(8):
                inside.write(hca / "driver/unbind", hca.name)
                inside.write(Path("/sys/bus/pci/drivers/mlx5_core/bind"), hca.name)
        except BaseException as error:  # noqa: BLE001 -- told below, by the test's own thread
            failed.append(error)
        done.set()

    name = inside.rdma_device(hca)
    before = descriptors()
    thread = threading.Thread(target=pull)
    thread.start()
    while not done.is_set():
        inventory = take_inventory(SYSFS.read(), VERBS.read())
        assert len([d for d in inventory.devices if d.parent_pci is None]) <= 2
        VERBS.read_port(name, 1)
        SYSFS.char_devices()
        SYSFS.traffic_class(name, 1)
        with contextlib.suppress(HardwareUnreadable):
            assert SYSFS.pkey_table(name, 1) in ((0xFFFF,), ())
        readings += 1
    thread.join()
    assert [] == failed
    assert readings > 1
    assert before == descriptors()
    inside.eventually(lambda: inside.parent_netdev(hca))
    assert 2 == len(take_inventory(SYSFS.read(), VERBS.read()).devices)


def test_the_pf_switches_a_vfs_port_and_its_watch_hears_it(hca: Path) -> None:
    """A link state set from outside raises the event too."""
    with inside.virtual(hca, 1) as (function,):
        name = inside.rdma_device(function)
        events = VERBS.watch(name)
        try:
            for policy, word in (("disable", "port error"), ("enable", "port active")):
                inside.run(f"ip link set dev {inside.parent_netdev(hca)} vf 0 state {policy}")
                assert f"{name} port 1: {word}" in told(events)
        finally:
            events.close()


def test_sriov_is_refused_with_its_errno(hca: Path) -> None:
    """ERANGE, EBUSY and ENODEV each name the function and say what to do."""
    sriov, pf = SysfsSriov(), PciAddress(hca.name)
    too_many = refusal(lambda: sriov.set_num_vfs(pf, 9))
    assert (errno.ERANGE, True) == (too_many.errno, "sriov_totalvfs" in too_many.remedy)
    with inside.virtual(hca, 1) as (function,):
        vf = PciAddress(function.name)
        busy = refusal(lambda: sriov.set_num_vfs(pf, 2))
        assert (errno.EBUSY, True) == (busy.errno, hca.name in busy.problem)
        bound = refusal(lambda: sriov.bind(vf, "mlx5_core"))
        assert vf in bound.problem
    gone = refusal(lambda: sriov.unbind(vf))
    assert (errno.ENODEV, True) == (gone.errno, vf in gone.problem)


def test_the_mode_is_refused_while_a_namespace_exists() -> None:
    """EBUSY, and how to have it otherwise."""
    rdma = LinuxRdmaDevices(LinuxNamespaces())
    other = next(mode for mode in type(rdma.isolation()) if mode is not rdma.isolation())
    with inside.network_namespace("other"):
        refused = refusal(lambda: rdma.set_isolation(other))
    assert (errno.EBUSY, True) == (refused.errno, "netns_mode" in refused.remedy)


def test_vfs_without_guids_are_so_until_they_are_set(hca: Path) -> None:
    """All zero is what we read; set through the PF, they count when the VF is bound again."""
    inside.write(ZERO_GUIDS, "1")
    try:
        _bind_again(hca)
        with inside.virtual(hca, 2) as (function, _):
            name = inside.rdma_device(function)
            read = {h.pci: h for h in SYSFS.read().hcas}[PciAddress(function.name)]
            assert (ZERO_GUID, ZERO_GUID) == (read.node_guid, (read.ports[0].gid0 or "")[20:])
            opened = next(h for h in VERBS.read().hcas if h.name == name)
            assert (ZERO_GUID, read.ports[0].gid0) == (opened.node_guid, opened.ports[0].gid0)
            pf = inside.parent_netdev(hca)
            for kind, guid in (
                ("node", "00:11:22:33:44:55:66:77"),
                ("port", "00:11:22:33:44:55:66:88"),
            ):
                inside.run(f"ip link set dev {pf} vf 0 {kind}_guid {guid}")
            _bind_again(function)
            read = {h.pci: h for h in SYSFS.read().hcas}[PciAddress(function.name)]
            assert "0011:2233:4455:6677" == read.node_guid
            assert "fe80:0000:0000:0000:0011:2233:4455:6688" == read.ports[0].gid0
    finally:
        inside.write(ZERO_GUIDS, "0")
        _bind_again(hca)


def _bind_again(function: Path) -> None:
    inside.write(function / "driver/unbind", function.name)
    inside.write(Path("/sys/bus/pci/drivers/mlx5_core/bind"), function.name)
    inside.eventually(lambda: inside.parent_netdev(function))
