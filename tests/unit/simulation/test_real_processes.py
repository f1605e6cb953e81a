"""Real processes on the simulated machine; a second fake kernel stands for the real one."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from ibdra_adapters.netlink.fake import FakeNamespaces
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_adapters.simulation.kept import keep
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import load_profile
from ibdra_adapters.simulation.real_processes import RealProcesses, check_no_hcas
from ibdra_domain.errors import InvalidProfile, KernelRefused
from ibdra_domain.ports.netlink import NetnsId

VF = "mlx5_0v0"
SWITCHED = "dgx-h100"  # it can be told a port's traffic class
HOST = NetnsId(4, 4026532008, 3)
FILE = "run/simulation.json"


class Site:
    """A real kernel and a driver's simulated one; the real one outlives the other."""

    def __init__(self, folder: Path) -> None:
        self.real = FakeKernel()
        self.real.init_netns = HOST  # another than the simulation's: they are mixed up by nobody
        self.folder = folder
        self._starts = count()
        self.start_driver()

    def start_driver(self, profile: str = "hpc-hdr100-dual-port") -> None:
        """Make the simulated machine, as at the start of a driver."""
        tree = self.folder / f"sys-{next(self._starts)}"
        self.machine = SimulatedMachine(load_profile(profile), tree)
        self.kernel = self.machine.kernel
        real = FakeNamespaces(self.real)
        self.namespaces = RealProcesses(self.kernel, real=real)
        keep(self.machine, self.folder / FILE, namespaces=self.namespaces)

    def give(self, pid: int, device: str = VF) -> NetnsId:
        """Move a device and its interface into a process' namespace."""
        with (
            closing(self.namespaces.host()) as host,
            closing(self.namespaces.of_process(pid)) as pod,
        ):
            self.machine.rdma.move(device, source=host, target=pod)
            for link in self.kernel.links_of(host.id):
                if link.rdma == device:
                    self.machine.links.move(link.link.index, source=host, target=pod)
                    break
            return pod.id

    def where(self, device: str = VF) -> set[NetnsId]:
        """Tell where a device and its interfaces are."""
        links = {x.netns for x in self.kernel.links.values() if x.rdma == device}
        return links | {self.kernel.devices[device].netns}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a machine on which everything is closed at the end."""
    made = Site(tmp_path)
    yield made
    assert {} == made.real.handles
    assert {} == made.kernel.handles


def test_a_process_has_its_real_namespace(site: Site) -> None:
    """It is called what the real kernel calls it, and the real one is open as long as ours."""
    pid = site.real.start_process()
    with closing(site.namespaces.of_process(pid)) as netns:
        assert site.real.processes[pid] == netns.id
        site.real.end_process(pid)
        assert site.real.alive(netns.id)
    assert not site.real.alive(netns.id)


def test_the_hosts_namespace_is_the_simulations_first(site: Site) -> None:
    """A process on the host's network is seen where the simulated devices are at home."""
    pid = site.real.start_process(HOST)
    with (
        closing(site.namespaces.of_process(pid)) as netns,
        closing(site.namespaces.host()) as host,
        closing(site.namespaces.find(host.id) or site.namespaces.host()) as found,
    ):
        assert site.kernel.init_netns == netns.id == host.id == found.id


def test_no_process_no_namespace(site: Site) -> None:
    """A process that is not there is refused as by the real kernel."""
    with pytest.raises(KernelRefused) as caught:
        site.namespaces.of_process(4711)
    assert errno.ESRCH == caught.value.errno


def test_devices_come_home_from_a_namespace_that_died(site: Site) -> None:
    """They stay while a process has it, with nothing of ours open; then they are at home."""
    pid = site.real.start_process()
    netns = site.give(pid)
    assert {netns} == site.where()
    found = site.namespaces.find(netns)
    assert found is not None
    found.close()
    assert {netns} == site.where()
    site.real.end_process(pid)
    assert site.namespaces.find(netns) is None
    assert {site.kernel.init_netns} == site.where()
    assert {} == site.kernel.processes


def test_a_dead_namespace_that_nobody_looks_for_is_forgotten(site: Site) -> None:
    """When the next one comes, it is known that the one before has died."""
    pid = site.real.start_process()
    site.give(pid)
    site.real.end_process(pid)
    site.namespaces.of_process(site.real.start_process()).close()
    assert {site.kernel.init_netns} == site.where()
    assert 1 == len(site.kernel.processes)


def test_the_machine_is_as_it_was_left(site: Site) -> None:
    """A driver that is started again finds devices, interfaces and nodes where they were."""
    site.start_driver(SWITCHED)
    netns = site.give(site.real.start_process())
    with closing(site.namespaces.find(netns) or site.namespaces.host()) as pod:
        (link,) = site.machine.links.list(pod)
        site.machine.links.add_pkey_child(link.index, name="ib.8001", pkey=0x8001, netns=pod)
        before = site.machine.links.list(pod)
    site.machine.set_traffic_class("mlx5_0v1", 1, 96)
    site.give(site.real.start_process(), "mlx5_0v1")
    minors = {name: device.minors for name, device in site.kernel.devices.items()}
    site.start_driver(SWITCHED)
    assert {netns} == site.where()
    assert minors == {name: device.minors for name, device in site.kernel.devices.items()}
    assert {1: 96} == site.machine.traffic_classes["mlx5_0v1"]
    assert () == site.machine.sysfs.rdma_devices(site.kernel.devices[VF].pci)
    with closing(site.namespaces.find(netns) or site.namespaces.host()) as pod:
        assert before == site.machine.links.list(pod)


def test_what_died_while_the_driver_was_down_is_at_home(site: Site) -> None:
    """A namespace that is gone at the start has given everything back."""
    pid = site.real.start_process()
    site.give(pid)
    site.real.end_process(pid)
    site.start_driver()
    assert {site.kernel.init_netns} == site.where()
    assert {} == site.kernel.processes


@pytest.mark.parametrize("content", [b"", b"{}", b'{"devices":{},"links":[]}', b"\xff"])
def test_a_file_of_no_use_is_a_machine_that_starts_anew(site: Site, content: bytes) -> None:
    """Unreadable, or another machine's: the profile says how things are."""
    site.give(site.real.start_process())
    (site.folder / FILE).write_bytes(content)
    site.start_driver()
    assert {site.kernel.init_netns} == site.where()


def test_where_nothing_can_be_written_the_machine_runs_on(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so; only a restart would forget."""
    (site.folder / FILE).unlink()
    (site.folder / FILE).mkdir()
    netns = site.give(site.real.start_process())
    assert {netns} == site.where()
    assert "a restart forgets all moves" in caplog.text


def test_not_on_a_machine_with_hcas_of_its_own(site: Site) -> None:
    """Pods would be given the real ones' nodes."""
    check_no_hcas(site.folder / "none")
    (tree,) = site.folder.glob("sys-*")
    with pytest.raises(InvalidProfile, match=r"has RDMA devices .*mlx5_0"):
        check_no_hcas(tree)
