"""A node looked at from all sides: what is put together, and that nothing stops the look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from msgspec.structs import replace

from ibdra_adapters.host.fake import FakeFiles, FakeProcesses
from ibdra_adapters.kube.fake import FakeNodes, FakeSlices
from ibdra_adapters.kube.fake_access import FakeAccess
from ibdra_adapters.state.files import StateFolder
from ibdra_app.examining import Cluster, Examining
from ibdra_app.host_rounds import Host
from ibdra_domain.errors import HardwareUnreadable, KubeletFailed
from ibdra_domain.fitness import Fitness, Grade
from ibdra_domain.fitness_cluster import rights
from ibdra_domain.ports.host import MemoryLimit, PathFacts, PathKind, ProcessRights
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord
from ibdra_domain.vf_wishes import WantedVfs
from unit.app.app_node import NODE, PF, VF, Node

SOURCE = Path("/usr/libexec/ibdra/ibdra-hook")
REGISTRATION = Path("/var/lib/kubelet/plugins_registry/ib.sigs.k8s.io-reg.sock")
PLUGIN = Path("/var/lib/kubelet/plugins/ib.sigs.k8s.io/dra.sock")


class Ward:
    """A fit machine in memory beside the simulated node, and a cluster."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.settings = replace(
            node.container.settings(),
            simulate=None,
            run_folder=Path("/run/ibdra"),
            kubelet_folder=Path("/var/lib/kubelet"),
            cdi_folder=Path("/var/run/cdi"),
        )
        self.files, self.processes = FakeFiles(), FakeProcesses()
        self.access = FakeAccess()
        self.sysfs: Sysfs = node.container.sysfs()
        self.sockets: Callable[[], tuple[Path, Path]] = lambda: (REGISTRATION, PLUGIN)
        modules = ("ib_core", "ib_uverbs", "rdma_cm", "rdma_ucm", "ib_ipoib", "ib_umad")
        folders = [f"/sys/module/{module}" for module in modules]
        folders += ["/sys", str(REGISTRATION.parent), str(PLUGIN.parent)]
        folders += ["/var/run/cdi", "/run/ibdra", str(node.folder / "state")]
        for folder in folders:
            self.put(folder, PathKind.FOLDER)
        for device in self.sysfs.char_devices():
            self.put(device.path, PathKind.CHAR_DEVICE, numbers=(device.major, device.minor))
        for program in (self.settings.hook.path, str(SOURCE)):
            self.put(program, PathKind.FILE, b"\x7fELF")
        self.put("/run/ibdra/hook.sock", PathKind.SOCKET)
        self.files.listening.add("/run/ibdra/hook.sock")

    def put(
        self,
        path: str,
        kind: PathKind,
        content: bytes = b"",
        *,
        numbers: tuple[int, int] | None = None,
    ) -> None:
        """Put something there that is as it should be."""
        facts = PathFacts(path=path, kind=kind, writable=True, executable=True, mode=0o755,
                          numbers=numbers)  # fmt: skip
        self.files.put(facts, content)

    def plant(self, path: str, **changes: object) -> None:
        """Change something about what lies at a path."""
        content = self.files.read(path) or b""
        self.files.put(replace(self.files.look(path), **changes), content)

    def examined(self, **changes: object) -> Fitness:
        """Look at it."""
        settings = replace(self.settings, **changes)
        node = self.node
        return Examining(
            settings,
            wanted=WantedVfs(count=settings.num_vfs),
            sysfs=self.sysfs,
            verbs=node.container.verbs(),
            host=Host(
                self.files,
                self.processes,
                StateFolder(settings.state_folder, ClaimRecord).inspect,
                self.sockets,
            ),
            cluster=lambda: Cluster(
                self.access,
                FakeNodes(node.api),
                FakeSlices(node.api, driver=DRIVER_NAME, node=NODE),
            ),
            cdi_folders=(Path("/etc/cdi"),),
            hook_source=SOURCE,
        ).run()


@pytest.fixture(name="ward")
def _ward(node: Node) -> Ward:
    publishing = node.container.publishing()
    publishing.write(publishing.look())
    return Ward(node)


def errors(fitness: Fitness) -> list[str]:
    """Give what makes it unfit."""
    return [f.problem for f in fitness.findings if f.grade is Grade.ERROR]


def warnings(fitness: Fitness) -> list[str]:
    """Give what is not as one might think."""
    return [f.problem for f in fitness.findings if f.grade is Grade.WARNING]


def test_a_fit_node_is_fit(ward: Ward) -> None:
    """All sides are looked at; the profile has two ports that are down, and no more is said."""
    found = ward.examined()
    assert [] == errors(found)
    assert {"port"} == {f.check for f in found.findings if f.grade is Grade.WARNING}
    assert {"kernel", "rights", "runtime", "isolation", "verbs", "hca", "port", "sriov", "node",
            "iommu", "kubelet", "cdi", "hook", "state", "run folder", "daemon", "api",
            "slices"} == {f.check for f in found.findings}  # fmt: skip


def test_each_planted_fault_is_told_once(ward: Ward) -> None:
    """On the host and in the cluster, all at the same time."""
    ward.files.take("/sys/module/ib_uverbs")
    ward.processes.own = ProcessRights(root=True)
    ward.processes.limits = (MemoryLimit(program="crio", pid=7, locked=64),)
    ward.plant("/sys", read_only=True)
    ward.plant("/run/ibdra", mode=0o777)
    ward.plant(ward.settings.hook.path, executable=False)
    ward.put("/etc/cdi/x.json", PathKind.FILE, b'{"kind": "ib.sigs.k8s.io/claim"}')
    ward.put(str(REGISTRATION.with_name(f"{DRIVER_NAME}-old-reg.sock")), PathKind.SOCKET)
    (right, _), *_ = rights()
    ward.access.denied.add(right)
    found = ward.examined(node="elsewhere", num_vfs=9)
    said = errors(found)
    for fault in (
        "ib_uverbs is not loaded",
        "lacks CAP_NET_ADMIN",
        "lacks CAP_SYS_ADMIN",
        "lacks CAP_SYS_PTRACE",
        "/sys is read-only",
        "others than its owner may write to /run/ibdra",
        "cannot be run",
        "/etc/cdi/x.json is a CDI spec",
        "this identity may not get nodes",
        "no node elsewhere",
        "it has 4 VFs, 8 are wanted",
    ):
        assert 1 == sum(fault in line for line in said), (fault, said)
    assert any("crio lets containers lock 64 bytes" in line for line in warnings(found))
    assert any("old-reg.sock: a daemon that was killed" in line for line in warnings(found))


def test_a_containers_own_folders_above_the_hosts_are_no_fault(ward: Ward) -> None:
    """The chart mounts only what is written to: /var/lib/kubelet itself is the container's."""
    ward.plant("/sys", writable=False)
    ward.plant("/var/lib/kubelet", writable=False)
    assert [] == errors(ward.examined())


def test_specs_in_a_folder_with_two_names_are_the_drivers_own(ward: Ward) -> None:
    """/var/run is a link to /run nearly everywhere."""
    ward.files.links["/var/run"] = "/run"
    ward.put(f"/run/cdi/{DRIVER_NAME}_uid.json", PathKind.FILE, b'{"kind": "ib.sigs.k8s.io/claim"}')
    for folder in ("/var/run/cdi", "/run/cdi"):
        found = ward.examined(cdi_folder=Path(folder))
        assert [] == [f.problem for f in found.findings if f.check == "cdi" and f.problem]


def test_a_pf_that_a_pod_has_does_not_lack_its_vfs(ward: Ward) -> None:
    """They were made before; nobody can look at them meanwhile."""
    node = ward.node
    node.attach(node.prepared(PF), node.kernel.start_process())
    found = ward.examined(state_folder=node.folder / "state", num_vfs=4)
    assert [] == errors(found)
    assert any("0000:3b:00.0: 4 VFs, 4 wanted" in f.subject for f in found.findings)


def test_devices_in_pods_are_not_missed(ward: Ward) -> None:
    """What a claim has may be away: no warning of its function, and it counts as published."""
    node = ward.node
    node.attach(node.prepared(VF), node.kernel.start_process())
    found = ward.examined(state_folder=node.folder / "state")
    assert not any("0000:3b:00.1" in line and "claim" in line for line in warnings(found))
    assert [] == [f.problem for f in found.findings if f.check == "slices" and f.problem]
    assert [] == errors(found)


def test_slices_that_do_not_fit_are_told(ward: Ward) -> None:
    """Published and not here: another machine's, or an old one's."""
    (first, *_) = FakeSlices(ward.node.api, driver=DRIVER_NAME, node=NODE).list()
    without = [device for device in first.spec.devices if device.name != PF]
    fewer = replace(first, spec=replace(first.spec, devices=tuple(without)))
    ward.node.api.replace(fewer.to_builtins())
    assert any("here that are not published: " + PF in line for line in warnings(ward.examined()))


def test_what_breaks_a_look_is_one_finding(ward: Ward) -> None:
    """No sysfs, no room for a socket, no API server: told once each, the rest is looked at."""

    def no_room() -> tuple[Path, Path]:
        raise KubeletFailed("the path is too long", remedy="shorten it")

    ward.sysfs = mock.Mock(
        read=mock.Mock(side_effect=HardwareUnreadable("/sys cannot be read", remedy="mount it")),
        char_devices=mock.Mock(side_effect=ValueError("odd")),
    )
    ward.sockets = no_room
    ward.access.down = True
    found = ward.examined()
    assert ["/sys cannot be read", "it could not be looked at (ValueError: odd)",
            "the path is too long", "the API server does not answer"] == errors(found)  # fmt: skip
    assert {"kernel", "cdi", "hook", "state"} <= {f.check for f in found.findings}


def test_looking_changes_nothing(ward: Ward) -> None:
    """Not on the server either: what is asked is read."""
    before, calls = ward.node.snapshot(), len(ward.node.api.calls)
    ward.examined()
    assert before == ward.node.snapshot()
    asked = {call.partition(" ")[0] for call in ward.node.api.calls[calls:]}
    assert asked <= {"get", "list"}


def test_a_server_without_dra_is_told(ward: Ward) -> None:
    """And its slices are not asked for."""
    ward.access.served.clear()
    assert ["the API server does not serve resource.k8s.io/v1"] == errors(ward.examined())
