"""A node looked at from all sides: is it fit, and what is to be done.

Why: a node in trouble breaks the tools that look at it.  So each side is looked at by
itself, what fails there is a finding, and the others are looked at all the same.  Nothing
is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ibdra_app.host_rounds import Host, HostRounds
from ibdra_app.settings import Settings
from ibdra_domain import fitness_cluster, fitness_hardware, fitness_sriov
from ibdra_domain.errors import KubeNotFound
from ibdra_domain.fitness import (
    Finding,
    Fitness,
    check_isolation,
    good,
    not_looked_at,
    warning,
)
from ibdra_domain.hardware import CharDevice, SysfsReading, VerbsReading
from ibdra_domain.inventory import Inventory, take_inventory
from ibdra_domain.kube_objects import RESOURCE_API_VERSION
from ibdra_domain.pf_views import pf_views
from ibdra_domain.ports.access import ServerAccess
from ibdra_domain.ports.kube import Nodes, Slices
from ibdra_domain.ports.state import Loaded
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.ports.verbs import Verbs
from ibdra_domain.provisioning import plan_provisioning
from ibdra_domain.records import ClaimRecord
from ibdra_domain.vf_wishes import WantedVfs


class Cluster(NamedTuple):
    """What is asked of an API server."""

    access: ServerAccess
    nodes: Nodes
    slices: Slices


class Examining:
    """Looks at a node.

    Parameters
    ----------
    host:
        None for a captured tree or a simulation: then only hardware is looked at.
    cluster:
        Gives the API server to ask, None if there is no way to one.
    cdi_folders, hook_source:
        As for :class:`HostRounds`.
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
        self._rounds = host and HostRounds(
            settings, host, cdi_folders=cdi_folders, hook_source=hook_source
        )

    def run(self) -> Fitness:
        """Look at everything; never raises."""
        sides: list[tuple[str, Callable[[], Iterable[Finding]]]] = []
        host, rounds = self._host, self._rounds
        if rounds is None:
            sides.append(("host", self._no_host))
        else:
            sides += [
                ("kernel", rounds.kernel),
                ("rights", rounds.rights),
                ("runtime", rounds.runtime),
            ]
        sides += [
            ("isolation", self._isolation),
            ("verbs", self._libibverbs),
            ("hca", self._hcas),
            ("port", lambda: fitness_hardware.check_ports(self._inventory.devices)),
            ("sriov", self._sriov),
            ("node", self._nodes),
        ]
        if host is not None and rounds is not None:
            sides += [
                ("iommu", lambda: self._iommu(host)),
                ("kubelet", rounds.kubelet),
                ("cdi", rounds.cdi),
                ("hook", rounds.hook),
                ("state", lambda: rounds.state(self._records)),
                ("run folder", lambda: rounds.run_folder(answers=self._daemon_runs)),
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
        names = {p.device.pci: p.device.rdma_device for claim in claims for p in claim.moving}
        views = pf_views(
            self._reading, nodes=self._char_devices, holders=holders, held_devices=names
        )
        plan = plan_provisioning(views, self._wanted)
        return fitness_sriov.check_sriov(self._reading, views, plan, self._wanted)

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
        return fitness_sriov.check_iommu(kinds)

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
