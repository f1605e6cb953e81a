"""The composition root: which adapter fulfils which port.

Why: the only place that knows all the rooms of the house, and the only importer of
dependency-injector.  Adapters are imported when something first needs them, so that
``ibdra devices`` never pays for gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dependency_injector import containers, providers

from ibdra_app.attaching import Attaching
from ibdra_app.checks import Checks
from ibdra_app.cleaning import Cleaning
from ibdra_app.daemon import Daemon
from ibdra_app.detaching import Detaching
from ibdra_app.device_watches import DeviceWatches
from ibdra_app.discovery import Discovery
from ibdra_app.kube_sources import make_api, make_kube
from ibdra_app.ledger import Ledger
from ibdra_app.measuring import ApiCalls, make_counts, make_metrics
from ibdra_app.monitoring import Monitoring
from ibdra_app.moving import Mover
from ibdra_app.preparing import Preparing
from ibdra_app.provisioning import Provisioning
from ibdra_app.publishing import Publishing
from ibdra_app.recovery import Recovery
from ibdra_app.reporting import Reporting
from ibdra_app.settings import Settings
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_app.slice_watching import SliceWatching
from ibdra_app.sources import (
    make_kernel,
    make_machine,
    make_selectors,
    make_sriov,
    make_stage,
    make_sysfs,
    make_verbs,
    scratched,
    wanted_vfs,
)
from ibdra_app.upkeep_sources import (
    hook_answers,
    make_leftovers,
    node_to_check,
    records_of,
    slices_to_delete,
)
from ibdra_app.watching import Watching
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.health import TaintEffect
from ibdra_domain.ports.instances import Arrivals, Succession
from ibdra_domain.ports.metrics import NodeMetrics
from ibdra_domain.ports.runtime import AttachedMarks
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord

if TYPE_CHECKING:
    from ibdra_adapters.cdi.files import CdiFolder
    from ibdra_adapters.hook.server import HookServer
    from ibdra_adapters.kubelet import HealthServer, KubeletPlugin


def _ledger(settings: Settings) -> Ledger:
    from ibdra_adapters.state.boot import read_boot_id
    from ibdra_adapters.state.files import StateFolder
    from ibdra_adapters.state.instances import FileTurn

    return Ledger(
        StateFolder(settings.state_folder, ClaimRecord),
        boot_id=read_boot_id(),
        turn=FileTurn(settings.run_folder / "turn"),
    )


def _succession(settings: Settings) -> Succession:
    from ibdra_adapters.state.instances import FileSuccession

    return FileSuccession(settings.run_folder / "instances")


def _arrivals(settings: Settings) -> Arrivals:
    from ibdra_adapters.state.instances import FileArrivals

    return FileArrivals(settings.run_folder / "arriving")


def _held(settings: Settings) -> tuple[PreparedClaim, ...]:
    """Read what is prepared here from the records, which may be another process'."""
    from ibdra_adapters.state.files import StateFolder

    if settings.simulate is not None:
        return ()
    records = StateFolder(settings.state_folder, ClaimRecord).peek()
    return tuple(record.prepared for record in records.values())


def _cdi(settings: Settings) -> CdiFolder:
    from ibdra_adapters.cdi.files import CdiFolder

    return CdiFolder(settings.cdi_folder, driver=DRIVER_NAME)


def _marks(settings: Settings) -> AttachedMarks:
    from ibdra_adapters.hook.marks import MarkFolder
    from ibdra_adapters.state.boot import read_boot_id

    return MarkFolder(settings.marks_folder, boot_id=read_boot_id())


def _hook_server(settings: Settings, attaching: Attaching) -> HookServer:
    from ibdra_adapters.hook.server import HookServer

    return HookServer(settings.hook_socket, hook=attaching)


def _provision(settings: Settings, provisioning: Provisioning) -> None:
    provisioning.provision_at_start(wanted_vfs(settings))


def _plugin(
    settings: Settings, driver: Preparing, health: Monitoring, metrics: NodeMetrics
) -> KubeletPlugin:
    from ibdra_adapters.kubelet import KubeletPlugin

    def observe(method: str, seconds: float, failed: int) -> None:
        error = KubeletFailed(f"{failed} claims failed", remedy="see the log") if failed else None
        metrics.kubelet_request(method, seconds=seconds, error=error)

    return KubeletPlugin(
        DRIVER_NAME,
        driver,
        kubelet_dir=settings.kubelet_folder,
        instance=settings.instance,
        health=health,
        observe=observe,
    )


def _probes(settings: Settings, checks: Checks) -> HealthServer | None:
    from ibdra_adapters.kubelet import HealthServer

    if not settings.health_port:
        return None
    return HealthServer(settings.health_address, settings.health_port, checks=checks.by_service())


def _may_taint(settings: Settings) -> bool:
    return settings.unhealthy_taint is not TaintEffect.NONE


class Container(containers.DeclarativeContainer):
    """Providers of everything; give ``settings`` first."""

    settings: providers.Provider[Settings] = providers.Dependency(instance_of=Settings)

    machine = providers.Singleton(make_machine, settings)
    sysfs = providers.Singleton(make_sysfs, settings, machine.provider)
    verbs = providers.Singleton(make_verbs, settings, machine.provider)
    ledger = providers.Singleton(_ledger, settings)
    cdi = providers.Singleton(_cdi, settings)
    selectors = providers.Singleton(make_selectors)
    api = providers.Singleton(make_api, settings)
    metrics = providers.Singleton(make_metrics, settings)
    kube = providers.Singleton(
        make_kube, settings, api.provider, providers.Factory(ApiCalls, metrics)
    )

    kernel = providers.Singleton(make_kernel, settings, machine.provider)
    sriov = providers.Singleton(make_sriov, settings, machine.provider)
    stage = providers.Singleton(make_stage, settings, machine.provider)
    marks = providers.Singleton(_marks, settings)
    counts = providers.Singleton(make_counts, metrics, ledger)

    monitoring_clock = providers.Object(time.monotonic)
    monitoring = providers.Singleton(
        Monitoring,
        counters=sysfs,
        pool=settings.provided.node,
        clock=monitoring_clock,
        wall=providers.Object(time.time),
    )
    device_watches = providers.Singleton(
        DeviceWatches, verbs=verbs, sysfs=sysfs, still=ledger.provided.lock
    )
    discovery = providers.Singleton(
        Discovery, sysfs=sysfs, verbs=verbs, include_ethernet=settings.provided.include_ethernet
    )
    reporting = providers.Singleton(
        Reporting,
        ledger=ledger,
        claims=kube.provided.claims,
        status=kube.provided.status,
        pod_events=kube.provided.pod_events,
        namespaces=kernel.provided.namespaces,
        links=kernel.provided.links,
        addresses=kernel.provided.links,
    )
    mover = providers.Singleton(
        Mover,
        rdma=kernel.provided.rdma,
        links=kernel.provided.links,
        sysfs=sysfs,
        watch=kernel.provided.watch,
        clock=kernel.provided.clock,
        leaving=device_watches.provided.drop,
    )
    detaching = providers.Singleton(
        Detaching,
        ledger=ledger,
        mover=mover,
        namespaces=kernel.provided.namespaces,
        marks=marks,
        counts=counts,
        reports=reporting,
    )
    attaching = providers.Singleton(
        Attaching,
        ledger=ledger,
        mover=mover,
        detaching=detaching,
        namespaces=kernel.provided.namespaces,
        sysfs=sysfs,
        cdi=cdi,
        marks=marks,
        counts=counts,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
        reports=reporting,
    )
    preparing = providers.Singleton(
        Preparing,
        claims=kube.provided.claims,
        discovery=discovery,
        sysfs=sysfs,
        cdi=cdi,
        ledger=ledger,
        detaching=detaching,
        counts=counts,
        pool=settings.provided.node,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
        reports=reporting,
    )
    recovery = providers.Singleton(
        Recovery,
        ledger=ledger,
        attaching=attaching,
        detaching=detaching,
        claims=kube.provided.claims,
        cdi=cdi,
        marks=marks,
        sysfs=sysfs,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
    )
    publisher = providers.Singleton(
        SlicePublisher,
        slices=kube.provided.slices,
        nodes=kube.provided.nodes,
        driver=DRIVER_NAME,
        node=settings.provided.node,
        may_taint=providers.Callable(_may_taint, settings),
    )
    slice_watching = providers.Singleton(
        SliceWatching, slices=kube.provided.slices, publisher=publisher
    )
    publishing = providers.Singleton(
        Publishing,
        discovery=discovery,
        ledger=ledger,
        publisher=publisher,
        monitoring=monitoring,
        counters=settings.provided.counters,
        taint=settings.provided.unhealthy_taint,
    )
    plugin = providers.Singleton(_plugin, settings, preparing, monitoring, metrics)
    arrivals = providers.Singleton(_arrivals, settings)
    checks = providers.Singleton(Checks, plugin=plugin, publishing=publishing, arrivals=arrivals)
    probes = providers.Singleton(_probes, settings, checks)
    provisioning = providers.Singleton(
        Provisioning,
        sysfs=sysfs,
        sriov=sriov.provided.control,
        vf_attributes=sriov.provided.vf_attributes,
        namespaces=kernel.provided.namespaces,
        links=kernel.provided.links,
        watch=kernel.provided.watch,
        clock=kernel.provided.clock,
        held=providers.Callable(_held, settings).provider,
    )
    hook_server = providers.Singleton(_hook_server, settings, attaching)
    succession = providers.Singleton(_succession, settings)
    cleaning = providers.Singleton(
        Cleaning,
        ledger=ledger,
        driver=preparing,
        records=providers.Callable(records_of, settings),
        namespaces=kernel.provided.namespaces,
        cdi=cdi,
        marks=marks,
        succession=succession,
        arrivals=arrivals,
        answers=providers.Callable(hook_answers, settings),
        leftovers=providers.Callable(make_leftovers, settings),
        slices=providers.Callable(slices_to_delete, settings, kube.provided.slices),
        check_node=providers.Callable(node_to_check, settings, kube.provided.nodes),
    )
    watching = providers.Singleton(
        Watching,
        detaching=detaching,
        publishing=publishing,
        monitoring=monitoring,
        watch=kernel.provided.watch,
        devices=device_watches,
        slices=slice_watching,
        succession=succession,
        metrics=metrics,
    )
    daemon = providers.Singleton(
        Daemon,
        recovery=recovery,
        watching=watching,
        provision=providers.Callable(_provision, settings, provisioning).provider,
        rdma=kernel.provided.rdma,
        demand=settings.provided.isolation,
        reporting=reporting,
        succession=succession,
        arrivals=arrivals,
        serves=checks.provided.serves,
        hook=hook_server,
        plugin=plugin,
        probes=probes,
    )


@contextmanager
def wired(settings: Settings) -> Iterator[Container]:
    """Wire everything for one command; a simulated machine's files go when it ends."""
    with scratched(settings) as complete:
        yield Container(settings=complete)
