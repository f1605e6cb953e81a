"""The driver is killed while it moves a real kernel's device: nothing of it is lost.

Why: the simulation is killed at every step.  Here a sample of them, around each change that
an attach and an unprepare make, is taken on the kernel itself, with every adapter real but
the API server and the hook's marks.
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import pytest

from contract.netlink.kernel_machine import (
    IN_GUEST,
    Device,
    KernelMachine,
    devices,
    eventually,
    restore,
)
from contract.virtual_node import inside
from ibdra_adapters.cdi.files import CdiFolder
from ibdra_adapters.hook.fake import FakeMarks
from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_adapters.state.files import StateFolder
from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_app.container import Container
from ibdra_app.kube_sources import make_kube
from ibdra_app.ledger import Ledger
from ibdra_app.settings import Settings
from ibdra_app.sources import KernelPorts, make_kernel
from ibdra_domain.errors import AttachRefused, IbdraError, KernelRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.runtime import ContainerStart
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord
from unit.app.app_node import ib_config
from unit.app.kills.blade import CHANGING, Blade, Killed, Moment, Step, Watched

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not IN_GUEST or inside.MODE != "exclusive", reason=f"{inside.NEEDS} (exclusive mode)"
    ),
]
CONFIG = ib_config(pkey=0x8001, mtu=2048, trafficClass=128)
ALLOCATED = {"request": "hca", "driver": DRIVER_NAME, "pool": "node"}
OPAQUE = {"source": "FromClaim", "opaque": {"driver": DRIVER_NAME, "parameters": CONFIG}}


class Interface(NamedTuple):
    """An interface as a person would see it."""

    name: str
    mtu: int
    up: bool


class GuestSite:
    """The guest's second HCA, and drivers that come and go."""

    def __init__(self, folder: Path, known: Sequence[Device]) -> None:
        self.rdma, address, self.guid, self.netdev = known[1]
        self.other, self.pci = known[0].name, address
        self.machine = KernelMachine(RdmaIsolation.EXCLUSIVE, known)
        inside.write(inside.PCI / address / "stub_pkeys", "0xffff 0x8001")
        self.folder = folder
        self.api, self.marks = FakeKubeApi(), FakeMarks()
        self.claims = 0
        self.start_driver()
        self.device = next(
            d.name for d in self.driver.discovery().take().devices if d.pci == address
        )
        self.before = self.at_home()

    def start_driver(self) -> tuple[str, ...]:
        """Start a driver's process, which has only the machine and its files."""
        self.blade = blade = Blade()

        def watched(name: str, port: object) -> Watched:
            return Watched(name, port, blade)

        settings = Settings(
            node="node", cdi_folder=self.folder / "cdi", state_folder=self.folder / "state"
        )
        self.driver = fresh = Container(settings=settings)
        fresh.api.override(self.api)
        fresh.sysfs.override(watched("sysfs", SysfsTree()))
        fresh.verbs.override(watched("verbs", LibIbverbs()))
        fresh.marks.override(watched("marks", self.marks))
        kube = make_kube(settings, lambda: self.api)
        fresh.kube.override(kube._replace(claims=watched("claims", kube.claims)))
        cdi = CdiFolder(self.folder / "cdi", driver=DRIVER_NAME)
        fresh.cdi.override(watched("cdi", cdi))
        store = watched("state", StateFolder(self.folder / "state", ClaimRecord))
        fresh.ledger.override(Ledger(store, boot_id="this-boot"))
        real = make_kernel(settings, _no_machine)
        fresh.kernel.override(
            KernelPorts(
                watched("namespaces", real.namespaces),
                watched("rdma", real.rdma),
                watched("links", real.links),
                lambda: Watched("events", real.watch(), blade),
                time.monotonic,
            )
        )
        return self.driver.recovery().run()

    def prepared(self) -> ClaimRef:
        """Have a claim on the HCA allocated and prepared."""
        self.claims += 1
        devices = {"results": [{**ALLOCATED, "device": self.device}], "config": [OPAQUE]}
        body = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"namespace": "jobs", "name": f"claim-{self.claims}"},
            "status": {"allocation": {"devices": devices}},
        }
        metadata = self.api.create(body)["metadata"]
        claim = ClaimRef(namespace="jobs", name=metadata["name"], uid=metadata["uid"])
        self.prepare(claim)
        return claim

    def prepare(self, claim: ClaimRef) -> None:
        """Ask as the kubelet does."""
        answer = self.driver.preparing().prepare([claim])[claim.uid]
        if isinstance(answer, IbdraError):
            raise answer

    def attach(self, claim: ClaimRef, pid: int) -> None:
        """Start a container; the runtime tries again if the kernel gave other nodes."""
        start = ContainerStart(claim=claim.uid, pid=pid)
        try:
            self.driver.attaching().attach(start)
        except AttachRefused as refused:
            if "device nodes" not in str(refused):
                raise
            self.driver.attaching().attach(start)

    def unprepare(self, claim: ClaimRef) -> None:
        """Ask as the kubelet does."""
        assert {claim.uid: None} == dict(self.driver.preparing().unprepare([claim]))

    def interfaces(self, pid: int | None) -> set[Interface]:
        """List the HCA's interfaces in a process' namespace, or (None) in the host's."""
        namespaces = self.machine.namespaces
        netns = namespaces.host() if pid is None else namespaces.of_process(pid)
        with contextlib.closing(netns):
            links = self.machine.links.list(netns)
            return {Interface(x.name, x.mtu, x.up) for x in links if x.port_guid == self.guid}

    def at_home(self) -> tuple[set[Interface], int | None, bool]:
        """Tell how the HCA is on the host."""
        with contextlib.closing(self.machine.namespaces.host()) as host:
            here = self.rdma in self.machine.rdma.names(host)
        return self.interfaces(None), SysfsTree().traffic_class(self.rdma, 1), here

    def files(self) -> list[str]:
        """List what the driver has left on disk."""
        return [str(path) for path in self.folder.rglob("*") if path.is_file()]


def _no_machine() -> NoReturn:
    raise AssertionError("nothing is simulated here")


def open_namespaces() -> int:
    """Count the namespaces that this process holds."""
    targets = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            targets.append(str(entry.readlink()))
    return sum(target.startswith("net:[") for target in targets)


@pytest.fixture(scope="module", name="known")
def _known() -> Iterator[list[Device]]:
    yield devices()
    restore(RdmaIsolation.EXCLUSIVE)


@pytest.fixture(name="site")
def _site(tmp_path: Path, known: list[Device]) -> Iterator[GuestSite]:
    site = GuestSite(tmp_path, known)
    yield site
    assert 0 == site.machine.open_handles()


def changes(calls: list[str]) -> list[Step]:
    """Choose the steps: after a change of the kernel, and in the last record's write."""
    steps = [
        Step(number, call, Moment.AFTER)
        for number, call in enumerate(calls)
        if call in CHANGING and call.startswith(("rdma.", "links.", "sysfs."))
    ]
    saves = [number for number, call in enumerate(calls) if call == "state.save"]
    return [*steps, *(Step(number, "state.save", Moment.DURING) for number in saves[-1:])]


def die(site: GuestSite, act: Callable[[], None], step: Step) -> None:
    """Do something, and die at a step of it; then the next driver starts."""
    site.blade.arm(step)
    with pytest.raises(Killed):
        act()
    assert 0 == open_namespaces()
    notes = site.start_driver()
    assert not [note for note in notes if "is not recovered" in note]


def go_on(site: GuestSite, claim: ClaimRef, pid: int) -> None:
    """Have the runtime try again, see that the pod has all, and end it."""
    site.prepare(claim)
    site.attach(claim, pid)
    child = Interface(f"{site.netdev}.8001", 2044, True)
    assert {Interface(site.netdev, 2044, True), child} == site.interfaces(pid)
    site.unprepare(claim)
    see_it_over(site)


def see_it_over(site: GuestSite) -> None:
    """See that all is as it was, and that no trace is left."""
    assert site.before == eventually(site.at_home)
    assert [] == site.files()
    assert {} == site.marks.marks
    assert 0 == open_namespaces()


def test_a_kill_while_attaching_loses_nothing(
    site: GuestSite, record_property: Callable[[str, object], None]
) -> None:
    """After changes of an attach, the next driver brings the HCA home or keeps it whole."""
    claim, pid = site.prepared(), site.machine.start_process()
    site.blade.arm()
    site.attach(claim, pid)
    steps = changes(site.blade.calls)[1::2]
    site.blade.disarm()
    site.unprepare(claim)
    see_it_over(site)

    for step in steps:
        claim = site.prepared()
        die(site, lambda c=claim: site.attach(c, pid), step)  # type: ignore[misc]  # a default binds the loop's value
        go_on(site, claim, pid)

    record_property("killed while attaching", ", ".join(map(str, steps)))
    assert len(steps) >= 3


def test_a_pod_that_dies_unseen_loses_nothing(site: GuestSite) -> None:
    """No driver runs when the namespace dies: the next finds the HCA at home or on its way."""
    claim, pid = site.prepared(), site.machine.start_process()
    site.attach(claim, pid)
    site.machine.end_process_unseen(pid)
    (note,) = site.start_driver()
    assert "namespace that has died: its devices are home" in note
    assert site.before == site.at_home()
    site.unprepare(claim)
    see_it_over(site)


def test_another_device_of_its_name_is_left_alone(site: GuestSite) -> None:
    """Where names are a namespace's own: the way home waits, and the other is not touched."""
    claim, pid = site.prepared(), site.machine.start_process()
    site.attach(claim, pid)
    take_its_name = f"rdma dev set {site.other} name {site.rdma}"
    if inside.NAMES_ARE_GLOBAL:
        with pytest.raises(RuntimeError, match="File exists"):
            inside.run(take_its_name)
    else:
        inside.run(take_its_name)
        answer = site.driver.preparing().unprepare([claim])[claim.uid]
        assert isinstance(answer, KernelRefused)
        assert "EEXIST" == errno.errorcode[answer.errno]
    site.machine.end_process_unseen(pid)
    site.unprepare(claim)
    if not inside.NAMES_ARE_GLOBAL:
        inside.run(f"rdma dev set {site.rdma} name {site.other}")
        (function,) = (x for x in inside.physical_functions() if x.name == site.pci)
        inside.run(f"rdma dev set {inside.rdma_device(function)} name {site.rdma}")
    see_it_over(site)


def test_a_kill_while_unpreparing_loses_nothing(
    site: GuestSite, record_property: Callable[[str, object], None]
) -> None:
    """After changes of the way home, the kubelet's next call ends it."""
    claim, pid = site.prepared(), site.machine.start_process()
    site.attach(claim, pid)
    site.blade.arm()
    site.unprepare(claim)
    steps = changes(site.blade.calls)[::2]
    site.blade.disarm()

    for step in steps:
        claim = site.prepared()
        site.attach(claim, pid)
        die(site, lambda c=claim: site.unprepare(c), step)  # type: ignore[misc]  # a default binds the loop's value
        site.unprepare(claim)
        see_it_over(site)

    record_property("killed while unpreparing", ", ".join(map(str, steps)))
    assert len(steps) >= 2
