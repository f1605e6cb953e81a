"""The composition root: which adapter fulfils which port.

Why: the only place that knows all the rooms of the house, and the only importer of
dependency-injector.  Adapters are imported when something first needs them, so that
``ibdra devices`` never pays for gRPC.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from dependency_injector import containers, providers

from ibdra_app.agent_sources import (
    held_claims,
    make_arrivals,
    make_cdi,
    make_hook_server,
    make_ledger,
    make_marks,
    make_plugin,
    make_probes,
    make_succession,
    may_taint,
    provision_at_start,
    provisioning_turn,
)
from ibdra_app.attaching import Attaching
from ibdra_app.checks import Checks
from ibdra_app.cleaning import Cleaning
from ibdra_app.daemon import Daemon
from ibdra_app.detaching import Detaching
from ibdra_app.device_watches import DeviceWatches
from ibdra_app.discovery import Discovery
from ibdra_app.forgetting import Forgetting
from ibdra_app.kube_sources import make_api, make_kube
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
)
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_app.upkeep_sources import (
    hook_answers,
    make_leftovers,
    node_to_check,
    records_of,
    slices_to_delete,
)
from ibdra_app.watching import Watching
from ibdra_domain.publication import DRIVER_NAME


class Container(containers.DeclarativeContainer):
    """Providers of everything; give ``settings`` first."""

    settings: providers.Provider[Settings] = providers.Dependency(instance_of=Settings)

    machine = providers.Singleton(make_machine, settings)
    sysfs = providers.Singleton(make_sysfs, settings, machine.provider)
    verbs = providers.Singleton(make_verbs, settings, machine.provider)
    ledger = providers.Singleton(make_ledger, settings)
    cdi = providers.Singleton(make_cdi, settings)
    selectors = providers.Singleton(make_selectors)
    api = providers.Singleton(make_api, settings)
    metrics = providers.Singleton(make_metrics, settings)
    kube = providers.Singleton(
        make_kube, settings, api.provider, providers.Factory(ApiCalls, metrics)
    )

    kernel = providers.Singleton(make_kernel, settings, machine.provider)
    sriov = providers.Singleton(make_sriov, settings, machine.provider)
    stage = providers.Singleton(make_stage, settings, machine.provider)
    marks = providers.Singleton(make_marks, settings)
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
    specs = providers.Singleton(
        SpecUpkeep,
        ledger=ledger,
        cdi=cdi,
        sysfs=sysfs,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
    )
    attaching = providers.Singleton(
        Attaching,
        ledger=ledger,
        mover=mover,
        detaching=detaching,
        namespaces=kernel.provided.namespaces,
        sysfs=sysfs,
        specs=specs,
        marks=marks,
        counts=counts,
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
        specs=specs,
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
        specs=specs,
    )
    forgetting = providers.Singleton(Forgetting, ledger=ledger, recovery=recovery)
    publisher = providers.Singleton(
        SlicePublisher,
        slices=kube.provided.slices,
        nodes=kube.provided.nodes,
        driver=DRIVER_NAME,
        node=settings.provided.node,
        may_taint=providers.Callable(may_taint, settings),
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
    plugin = providers.Singleton(make_plugin, settings, preparing, monitoring, metrics)
    arrivals = providers.Singleton(make_arrivals, settings)
    checks = providers.Singleton(Checks, plugin=plugin, publishing=publishing, arrivals=arrivals)
    probes = providers.Singleton(make_probes, settings, checks)
    provisioning = providers.Singleton(
        Provisioning,
        sysfs=sysfs,
        sriov=sriov.provided.control,
        vf_attributes=sriov.provided.vf_attributes,
        namespaces=kernel.provided.namespaces,
        links=kernel.provided.links,
        watch=kernel.provided.watch,
        clock=kernel.provided.clock,
        held=providers.Callable(held_claims, settings).provider,
        turn=providers.Callable(provisioning_turn, settings, ledger.provider).provider,
    )
    hook_server = providers.Singleton(make_hook_server, settings, attaching)
    succession = providers.Singleton(make_succession, settings)
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
        specs=specs,
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
        forgetting=forgetting,
        provision=providers.Callable(provision_at_start, settings, provisioning).provider,
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
