"""A machine that outlives its drivers: they are killed, the pods and the files are not.

Why: a crash is told by what the next process finds.  Everything a process has only in its
memory is made anew here with each driver; the machine, its files, the API server and the
kubelet's and the runtime's ways to ask again stay.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ibdra_adapters.cdi.files import CdiFolder
from ibdra_adapters.hook.fake import FakeMarks
from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_adapters.simulation.profile import Profile
from ibdra_adapters.state.files import StateFolder
from ibdra_app.container import Container
from ibdra_app.kube_sources import make_kube
from ibdra_app.ledger import Ledger
from ibdra_app.settings import Settings
from ibdra_app.sources import KernelPorts
from ibdra_domain.errors import AttachRefused, IbdraError
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord
from unit.app.app_node import NODE, Node
from unit.app.kills.blade import Blade, Watched
from unit.app.kills.memory_machine import MemoryMachine

MACHINE = """
description = "a spare HCA, one with two VFs, one with two ports"
isolation = "{isolation}"
ipoib_follows_device = {follows}
traffic_class_switch = true

[[hcas]]
model = "ConnectX-7"
rdma = "mlx5_9"
pci = "0000:19:00.0"
root = "pci0000:19"
node_guid = "0c42:a103:0021:1900"
ports = [{{ rate = "400 Gb/sec (4X NDR)", netdev = "ib9", pkeys = ["0xffff", "0x8001"] }}]

[[hcas]]
model = "ConnectX-7"
rdma = "mlx5_0"
pci = "0000:3b:00.0"
root = "pci0000:3b"
node_guid = "0c42:a103:0021:5a40"
total_vfs = 4
vfs = 2
ports = [{{ rate = "400 Gb/sec (4X NDR)", pkeys = ["0x7fff", "0x8001"], netdev = "ib0" }}]

[[hcas]]
model = "ConnectX-3"
rdma = "mlx4_0"
pci = "0000:af:00.0"
root = "pci0000:af"
node_guid = "e41d:2d03:0045:9710"
ports = [
  {{ rate = "56 Gb/sec (4X FDR)", netdev = "ib2", pkeys = ["0xffff", "0x8001"] }},
  {{ rate = "56 Gb/sec (4X FDR)", netdev = "ib3", pkeys = ["0xffff", "0x8001"] }},
]
"""
SPARE = "mlx5_9"


class Kind(NamedTuple):
    """A kernel, and what is asked of it: one claim for each device, with one config."""

    isolation: str
    follows: bool
    devices: tuple[str, ...]
    config: dict[str, object] | None


class Snapshot(NamedTuple):
    """Where everything is: devices by name, interfaces by device, port and pkey."""

    devices: dict[str, NetnsId]
    links: dict[tuple[str, int, int | None], tuple[NetnsId, str, int, bool]]
    classes: dict[str, dict[int, int]]


class Site:
    """One machine; ``node`` is the driver that runs on it at the moment."""

    def __init__(self, folder: Path, kind: Kind, profile: Profile | None = None) -> None:
        self.folder = folder
        self.kind = kind
        self.machine = MemoryMachine(profile or profile_of(kind))
        self.kernel = self.machine.kernel
        self.api = FakeKubeApi()
        self.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})
        self.fake_marks = FakeMarks()
        self.boot_id = "first-boot"
        self.claims: list[ClaimRef] = []
        self.pods: dict[str, int] = {}
        self.lost: list[str] = []
        self._node: Node | None = None
        self.start_driver()
        self.original = self.snapshot()
        self.reset_to: dict[str, object] = {}

    @property
    def node(self) -> Node:
        """The driver that runs now."""
        assert self._node is not None
        return self._node

    def start_driver(self) -> None:
        """Start a driver's process; it has not looked at anything yet."""
        self.blade = blade = Blade()
        fresh = Container(
            settings=Settings(
                node=NODE,
                simulate="memory",
                cdi_folder=self.folder / "cdi",
                state_folder=self.folder / "state",
            )
        )
        machine = self.machine
        fresh.machine.override(machine)
        fresh.api.override(self.api)
        ports = {
            "sysfs": machine.sysfs,
            "verbs": machine.verbs,
            "cdi": CdiFolder(self.folder / "cdi", driver=DRIVER_NAME),
            "marks": self.fake_marks,
        }
        for name, port in ports.items():
            getattr(fresh, name).override(self._watched(name, port))
        kube = make_kube(fresh.settings(), lambda: self.api)
        fresh.kube.override(kube._replace(claims=self._watched("claims", kube.claims)))
        store = self._watched("state", StateFolder(self.folder / "state", ClaimRecord))
        fresh.ledger.override(Ledger(store, boot_id=self.boot_id))
        fresh.kernel.override(
            KernelPorts(
                self._watched("namespaces", machine.namespaces),
                self._watched("rdma", machine.rdma),
                self._watched("links", machine.links),
                lambda: Watched("events", machine.watch(), blade),
                machine.kernel.clock,
            )
        )
        claims = self._node._claims if self._node is not None else 0
        self._node = Node(fresh, self.folder)
        self._node._claims = claims  # names go on where they were

    def _watched(self, name: str, port: object) -> Watched:
        return Watched(name, port, self.blade)

    def recover(self) -> None:
        """Do what a driver does at its start."""
        notes = self.node.container.recovery().run()
        assert not [note for note in notes if "is not recovered" in note]

    def create_claims(self) -> None:
        """Have the scheduler allocate the claims."""
        self.claims = [self.node.claim(d, config=self.kind.config) for d in self.kind.devices]

    def prepare(self) -> None:
        """Ask as the kubelet does."""
        for answer in self.node.prepare(*self.claims):
            if isinstance(answer, IbdraError):
                raise answer

    def start_pods(self) -> None:
        """Start a sandbox for every claim that has none alive."""
        for claim in self.claims:
            if self.pods.get(claim.uid) not in self.kernel.processes:
                self.pods[claim.uid] = self.kernel.start_process()

    def end_pods(self) -> None:
        """End every sandbox and what runs in it."""
        for pid in self.pods.values():
            for each in self._processes_beside(pid):
                self.kernel.end_process(each)

    def attach(self, *, tries: int = 2) -> None:
        """Start a container in each sandbox; the runtime tries again for changed nodes."""
        for claim in self.claims:
            netns = self.kernel.processes[self.pods[claim.uid]]
            for left in reversed(range(tries)):
                pid = self.kernel.start_process(netns)
                try:
                    self.node.attach(claim, pid, nodes=self.told_nodes(claim), pod="jobs/trainer")
                    break
                except AttachRefused as refused:
                    self.kernel.end_process(pid)
                    if not left or "device nodes" not in str(refused):
                        raise

    def told_nodes(self, claim: ClaimRef) -> str:
        """Give the node numbers that stand in the hook's arguments of a claim's spec."""
        return str(self.node.spec(claim)["containerEdits"]["hooks"][0]["args"][-1])

    def unprepare(self) -> None:
        """Ask as the kubelet does when the pods have ended."""
        answers = self.node.unprepare(*self.claims)
        assert [None] * len(self.claims) == answers

    def reset(self, rdma_device: str) -> None:
        """Reset a device's driver: whatever was above it is made anew, at home."""
        self.machine.pull_out(rdma_device)
        self.machine.plug_in(rdma_device)

    def find_lost(self) -> None:
        """Plug in again what was pulled out."""
        while self.lost:
            self.machine.plug_in(self.lost.pop())

    def above(self, rdma_device: str) -> object:
        """Describe where a device and its interfaces are."""
        links = [(x.netns, x.link) for x in self.kernel.links.values() if x.rdma == rdma_device]
        return self.kernel.devices[rdma_device].netns, links

    def snapshot(self) -> Snapshot:
        """Describe how everything is that must be so again at the end; minors may differ."""
        links = {
            (x.rdma, x.port, x.link.pkey): (x.netns, x.link.name, x.link.mtu, x.link.up)
            for x in self.kernel.links.values()
        }
        assert len(links) == len(self.kernel.links), "a port has two interfaces"
        return Snapshot(
            devices={d.name: d.netns for d in self.kernel.devices.values()},
            links=links,
            classes={name: dict(ports) for name, ports in self.machine.traffic_classes.items()},
        )

    def marks(self) -> dict[str, tuple[NetnsId, str]]:
        """Give the marks there are."""
        return self.fake_marks.marks

    def _processes_beside(self, pid: int) -> Sequence[int]:
        netns = self.kernel.processes.get(pid)
        return [p for p, n in self.kernel.processes.items() if n == netns]


def profile_of(kind: Kind) -> Profile:
    """Describe a kind's machine."""
    text = MACHINE.format(isolation=kind.isolation, follows=str(kind.follows).lower())
    return msgspec.convert(tomllib.loads(text), Profile)


@contextmanager
def running_site(folder: Path, kind: Kind, profile: Profile | None = None) -> Iterator[Site]:
    """Set a machine up, with a driver on it that has done its start; its files go at the end."""
    folder.mkdir(parents=True)
    site = Site(folder, kind, profile)
    site.recover()
    yield site
    shutil.rmtree(folder)
