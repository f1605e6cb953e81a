"""Our sysfs and verbs adapters where a kernel does what their contract suites cannot stage."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contract.virtual_node import inside
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.errors import HardwareUnreadable, KernelRefused
from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.identifiers import ZERO_GUID, PciAddress
from ibdra_domain.inventory import take_inventory
from ibdra_domain.link import PortState
from ibdra_domain.ports.verbs import DeviceEvents

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
SYSFS = SysfsTree()
VERBS = LibIbverbs()
ZERO_GUIDS = Path("/sys/module/stub_hca/parameters/zero_guids")
needs_exclusive = pytest.mark.skipif(
    inside.MODE != "exclusive", reason="needs the exclusive RDMA mode"
)


@pytest.fixture(name="hca")
def _hca() -> Path:
    return inside.physical_functions()[0]


@contextmanager
def nothing_left() -> Iterator[None]:
    """See that no descriptor and no thread is left, and this thread is where it was."""
    ours = Path("/proc/thread-self/ns/net")
    before = set(_descriptors()), threading.active_count(), ours.stat().st_ino
    yield
    assert before == (set(_descriptors()), threading.active_count(), ours.stat().st_ino)


def _descriptors() -> list[str]:
    return [entry.name for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]


def refusal(call: Callable[[], object]) -> KernelRefused:
    """Give the refusal a call ends in, which must not leave anything behind."""
    with nothing_left(), pytest.raises(KernelRefused) as refused:
        call()
    assert errno.errorcode[refused.value.errno] in refused.value.problem
    assert refused.value.remedy
    return refused.value


def told(events: DeviceEvents) -> list[str]:
    """Take what comes until the watch ends, or for half a second."""
    seen: list[str] = []
    until = time.monotonic() + 0.5
    while time.monotonic() < until and not events.ended:
        seen += [change.detail for change in events.wait(0.1)]
    return seen


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
    before = set(_descriptors())
    thread = threading.Thread(target=pull)
    thread.start()
    while not done.is_set():
        inventory = take_inventory(SYSFS.read(), VERBS.read())
        assert len(inventory.devices) <= 2
        VERBS.read_port(name, 1)
        SYSFS.char_devices()
        SYSFS.traffic_class(name, 1)
        with contextlib.suppress(HardwareUnreadable):
            assert SYSFS.pkey_table(name, 1) in ((0xFFFF,), ())
        readings += 1
    thread.join()
    assert [] == failed
    assert readings > 1
    assert before == set(_descriptors())
    inside.eventually(lambda: inside.parent_netdev(hca))
    assert 2 == len(take_inventory(SYSFS.read(), VERBS.read()).devices)


@needs_exclusive
def test_a_device_in_another_namespace(hca: Path) -> None:
    """Its nodes are listed with its name and function; all else says that it is not here."""
    namespaces = LinuxNamespaces()
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        name = inside.rdma_device(function)
        status = Path("/run/netns/away").stat()
        host, away = namespaces.host(), LinuxNamespaces(host=Path("/run/netns/away")).host()
        assert (status.st_dev, status.st_ino) == (away.id.device, away.id.inode)
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


@needs_exclusive
def test_a_device_is_moved_back_out_of_a_living_namespace(hca: Path) -> None:
    """The kernel wants the mover inside the device's namespace; nobody of us stays there."""
    namespaces = LinuxNamespaces()
    rdma = LinuxRdmaDevices(namespaces)
    with inside.virtual(hca, 1) as (function,), inside.network_namespace("away"):
        name = inside.rdma_device(function)
        host, away = namespaces.host(), LinuxNamespaces(host=Path("/run/netns/away")).host()
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


@needs_exclusive
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
