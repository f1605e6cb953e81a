"""A node looked at from all sides: is it fit, and what is to be done.

Why: a node in trouble breaks the tools that look at it.  So each side is looked at by
itself, what fails there is a finding, and the others are looked at all the same.  Nothing
is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ibdra_app.settings import Settings
from ibdra_domain import fitness_cluster, fitness_hardware, fitness_places
from ibdra_domain.errors import KubeNotFound
from ibdra_domain.fitness import (
    RUNTIMES,
    Finding,
    Fitness,
    check_isolation,
    check_kernel,
    check_memory_limits,
    check_rights,
    good,
    kernel_parts,
    not_looked_at,
    warning,
)
from ibdra_domain.hardware import CharDevice, SysfsReading, VerbsReading
from ibdra_domain.inventory import Inventory, take_inventory
from ibdra_domain.kube_objects import RESOURCE_API_VERSION
from ibdra_domain.pf_views import pf_views
from ibdra_domain.ports.access import ServerAccess
from ibdra_domain.ports.host import HostFiles, HostProcesses, PathFacts, PathKind
from ibdra_domain.ports.kube import Nodes, Slices
from ibdra_domain.ports.state import Loaded
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.ports.verbs import Verbs
from ibdra_domain.provisioning import WantedVfs, plan_provisioning
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord

_SPEC_SUFFIXES = (".json", ".yaml", ".yml")


class Cluster(NamedTuple):
    """What is asked of an API server."""

    access: ServerAccess
    nodes: Nodes
    slices: Slices


class Host(NamedTuple):
    """The machine this process is on, where it is the one that is meant."""

    files: HostFiles
    processes: HostProcesses
    records: Callable[[], Loaded[ClaimRecord]]
    sockets: Callable[[], tuple[Path, Path]]


class Examining:
    """Looks at a node.

    Parameters
    ----------
    host:
        None for a captured tree or a simulation: then only hardware is looked at.
    cluster:
        Gives the API server to ask, None if there is no way to one.
    cdi_folders:
        All folders the runtime reads specs from.
    hook_source:
        The attach hook as it came with this driver.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wanted: WantedVfs,
        sysfs: Sysfs,
        verbs: Verbs,
        host: Host | None,
        cluster: Callable[[], Cluster | None],
        cdi_folders: Iterable[Path],
        hook_source: Path,
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._sysfs = sysfs
        self._verbs = verbs
        self._host = host
        self._cluster = cluster
        self._cdi_folders = tuple(dict.fromkeys((*cdi_folders, settings.cdi_folder)))
        self._hook_source = hook_source

    def run(self) -> Fitness:
        """Look at everything; never raises."""
        sides: list[tuple[str, Callable[[], Iterable[Finding]]]] = []
        host = self._host
        if host is None:
            sides.append(("host", self._no_host))
        else:
            sides += [
                ("kernel", lambda: self._kernel(host)),
                ("rights", lambda: self._rights(host)),
                (
                    "runtime",
                    lambda: check_memory_limits(host.processes.memory_limits(RUNTIMES)),
                ),
            ]
        sides += [
            ("isolation", self._isolation),
            ("verbs", self._libibverbs),
            ("hca", self._hcas),
            ("port", lambda: fitness_hardware.check_ports(self._inventory.devices)),
            ("sriov", self._sriov),
            ("node", self._nodes),
        ]
        if host is not None:
            sides += [
                ("iommu", lambda: self._iommu(host)),
                ("kubelet", lambda: self._kubelet(host)),
                ("cdi", lambda: self._cdi(host)),
                ("hook", lambda: self._hook(host)),
                ("state", lambda: self._state(host)),
                ("run folder", lambda: self._run_folder(host)),
            ]
        sides.append(("api", self._api))
        return Fitness(findings=_each_once(f for name, look in sides for f in _looked(name, look)))

    @cached_property
    def _reading(self) -> SysfsReading:
        return self._sysfs.read()

    @cached_property
    def _char_devices(self) -> tuple[CharDevice, ...]:
        return self._sysfs.char_devices()

    @cached_property
    def _verbs_reading(self) -> VerbsReading:
        return self._verbs.read()

    @cached_property
    def _records(self) -> Loaded[ClaimRecord]:
        return self._host.records() if self._host is not None else Loaded({})

    @cached_property
    def _inventory(self) -> Inventory:
        held = [record.prepared for record in self._records.records.values()]
        remembered = [p.device for claim in held for p in claim.moving]
        remembered += [device for claim in held for device in claim.companions]
        return take_inventory(
            self._reading,
            self._verbs_reading,
            remembered=remembered,
            include_ethernet=self._settings.include_ethernet,
        )

    @cached_property
    def _daemon_runs(self) -> bool:
        socket = str(self._settings.hook_socket)
        return self._host is not None and self._host.files.answers(socket)

    def _no_host(self) -> Iterator[Finding]:
        source = self._settings.simulate or self._settings.sysfs_root
        yield good("host", f"files and processes are not looked at: facts come from {source}")

    def _kernel(self, host: Host) -> Iterable[Finding]:
        parts = kernel_parts(with_umad=self._settings.with_umad)

        def there(path: str) -> bool:
            return host.files.look(f"/sys/{path}").kind is not PathKind.MISSING

        return check_kernel((part, any(map(there, part.shown_by))) for part in parts)

    def _rights(self, host: Host) -> Iterable[Finding]:
        return check_rights(host.processes.rights(), sys=host.files.look("/sys"))

    def _isolation(self) -> Iterator[Finding]:
        others = self._host.processes.other_namespaces() if self._host is not None else None
        yield check_isolation(
            self._reading.isolation, self._settings.isolation, other_namespaces=others
        )

    def _libibverbs(self) -> Iterator[Finding]:
        if self._settings.sysfs_root is not None:
            return
        if not self._verbs_reading.warnings:
            yield good("verbs", f"libibverbs opens {len(self._verbs_reading.hcas)} devices")
        for line in self._verbs_reading.warnings:
            problem, _, remedy = line.rpartition(": ")
            yield warning("verbs", "libibverbs", problem or line, remedy=remedy)

    def _hcas(self) -> Iterator[Finding]:
        claims = [record.prepared for record in self._records.records.values()]
        held = frozenset(port.device.pci for claim in claims for port in claim.moving)
        yield from fitness_hardware.check_hcas(self._reading, self._inventory, held=held)
        for line in self._reading.warnings:
            yield warning(
                "sysfs",
                line.partition(": ")[0],
                line,
                remedy="look whether a selector needs what is left out; then at the HCA's driver",
            )

    def _sriov(self) -> Iterable[Finding]:
        claims = [record.prepared for record in self._records.records.values()]
        holders = {p.device.pci: str(claim.claim) for claim in claims for p in claim.moving}
        views = pf_views(self._reading, nodes=self._char_devices, holders=holders)
        plan = plan_provisioning(views, self._wanted)
        return fitness_hardware.check_sriov(self._reading, views, plan, self._wanted)

    def _nodes(self) -> Iterable[Finding]:
        nodes = self._char_devices
        seen = None
        if self._host is not None:
            seen = {node.path: self._host.files.look(node.path) for node in nodes}
        return fitness_hardware.check_nodes(
            nodes, seen, devices=self._inventory.devices, with_umad=self._settings.with_umad
        )

    def _iommu(self, host: Host) -> Iterable[Finding]:
        kinds = {}
        for function in self._reading.functions:
            if function.physfn is None:
                path = f"/sys/bus/pci/devices/{function.address}/iommu_group/type"
                kind = host.files.read(path)
                kinds[function.address] = kind.decode("ascii", "replace").strip() if kind else None
        return fitness_hardware.check_iommu(kinds)

    def _kubelet(self, host: Host) -> Iterator[Finding]:
        root = self._settings.kubelet_folder
        why = "the kubelet does not find the driver"
        yield _folder(host, "kubelet", root, purpose=why, made=False)
        registration, plugin = host.sockets()
        for folder in (registration.parent, plugin.parent):
            yield _folder(host, "kubelet", folder, purpose=why)
        registry = str(registration.parent)
        others = {
            f"{registry}/{name}"
            for name in host.files.names(registry)
            if name.startswith(DRIVER_NAME)
        }
        for path in sorted({str(registration), str(plugin), *others}):
            yield fitness_places.check_socket(
                "kubelet", host.files.look(path), answers=host.files.answers(path),
                whose="the kubelet",
            )  # fmt: skip

    def _cdi(self, host: Host) -> Iterator[Finding]:
        folder = self._settings.cdi_folder
        yield _folder(host, "cdi", folder, purpose="no claim can be prepared")
        specs, ours = {}, set()
        for place in self._cdi_folders:
            for name in host.files.names(str(place)):
                if name.endswith(_SPEC_SUFFIXES):
                    path = f"{place}/{name}"
                    specs[path] = host.files.read(path)
                    if place == folder and name.startswith(f"{DRIVER_NAME}_"):
                        ours.add(path)
        yield from fitness_places.check_cdi_conflicts(specs, ours=ours)

    def _hook(self, host: Host) -> Iterator[Finding]:
        path, source = self._settings.hook.path, str(self._hook_source)
        yield fitness_places.check_hook(
            host.files.look(path), host.files.read(path), host.files.read(source), source=source
        )

    def _state(self, host: Host) -> Iterator[Finding]:
        folder = self._settings.state_folder
        yield _folder(host, "state", folder, purpose="no claim can be prepared")
        seen = fitness_places.RecordsSeen(
            good=len(self._records.records),
            bad=self._records.warnings,
            set_aside=tuple(sorted(self._records.set_aside)),
        )
        yield from fitness_places.check_records(str(folder), seen)

    def _run_folder(self, host: Host) -> Iterator[Finding]:
        folder, socket = self._settings.run_folder, str(self._settings.hook_socket)
        yield _folder(host, "run folder", folder, purpose="the hook cannot be answered")
        yield fitness_places.check_run_folder(host.files.look(str(folder)))
        yield fitness_places.check_socket(
            "run folder", host.files.look(socket), answers=self._daemon_runs, whose="the hook"
        )
        yield fitness_places.check_daemon(answers=self._daemon_runs, socket=socket)

    def _api(self) -> Iterator[Finding]:
        cluster = self._cluster()
        if cluster is None:
            if self._host is not None:
                yield fitness_cluster.not_asked()
            return
        version = cluster.access.version()
        yield fitness_cluster.check_version(version)
        served = cluster.access.serves(RESOURCE_API_VERSION)
        yield fitness_cluster.check_served(served=served)
        known = fitness_cluster.parsed(version) or fitness_cluster.OLDEST
        yield from fitness_cluster.check_rights_of(
            (right, needed, cluster.access.allowed(right))
            for right, needed in fitness_cluster.rights(known)
        )
        try:
            cluster.nodes.uid(self._settings.node)
        except KubeNotFound:
            yield fitness_cluster.check_node(self._settings.node, registered=False)
        else:
            yield fitness_cluster.check_node(self._settings.node, registered=True)
        if served:
            yield from fitness_cluster.check_slices(
                (d.name for one in cluster.slices.list() for d in one.spec.devices or ()),
                (device.name for device in self._inventory.devices),
                daemon_runs=self._daemon_runs,
            )


def _folder(host: Host, check: str, folder: Path, *, purpose: str, made: bool = True) -> Finding:
    facts = host.files.look(str(folder))
    return fitness_places.check_folder(
        check, facts, _nearest(host.files, facts), purpose=purpose, made=made
    )


def _nearest(files: HostFiles, facts: PathFacts) -> PathFacts:
    """Give the first folder above a path that is there, or what is there itself."""
    for parent in PurePosixPath(facts.path).parents:
        if facts.kind is not PathKind.MISSING:
            break
        facts = files.look(str(parent))
    return facts


def _each_once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Leave out what was said before: one broken thing may break several looks."""
    said = set()
    found = []
    for finding in findings:
        text = (finding.problem, finding.remedy)
        if not finding.problem or text not in said:
            found.append(finding)
        said.add(text)
    return tuple(found)


def _looked(name: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give a side's findings as far as it comes; what breaks it is one more."""
    try:
        yield from look()
    except Exception as error:  # noqa: BLE001 -- a broken node may break a look in any way
        yield not_looked_at(name, error)
