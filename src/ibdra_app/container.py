"""The composition root: which adapter fulfils which port.

Why: the only place that knows all the rooms of the house, and the only importer of
dependency-injector.  Adapters are imported when something first needs them, so that
``ibdra devices`` never pays for gRPC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dependency_injector import containers, providers

from ibdra_app.attaching import Attaching
from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_app.moving import Mover
from ibdra_app.preparing import Preparing
from ibdra_app.publishing import Publishing
from ibdra_app.recovery import Recovery
from ibdra_app.settings import Settings
from ibdra_app.sources import (
    make_machine,
    make_provisioning,
    make_selectors,
    make_sysfs,
    make_verbs,
    scratched,
)
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord

if TYPE_CHECKING:
    from ibdra_adapters.cdi.files import CdiFolder
    from ibdra_adapters.kube.fake import FakeClaims, FakeSlices
    from ibdra_adapters.kube.fake_api import FakeKubeApi
    from ibdra_adapters.kubelet import KubeletPlugin


def _ledger(settings: Settings) -> Ledger:
    from ibdra_adapters.state.boot import read_boot_id
    from ibdra_adapters.state.files import StateFolder

    return Ledger(StateFolder(settings.state_folder, ClaimRecord), boot_id=read_boot_id())


def _cdi(settings: Settings) -> CdiFolder:
    from ibdra_adapters.cdi.files import CdiFolder

    return CdiFolder(settings.cdi_folder, driver=DRIVER_NAME)


def _api() -> FakeKubeApi:
    from ibdra_adapters.kube.fake_api import FakeKubeApi

    return FakeKubeApi()


def _claims(api: FakeKubeApi) -> FakeClaims:
    from ibdra_adapters.kube.fake import FakeClaims

    return FakeClaims(api)


def _slices(api: FakeKubeApi, settings: Settings) -> FakeSlices:
    from ibdra_adapters.kube.fake import FakeSlices

    return FakeSlices(api, driver=DRIVER_NAME, node=settings.node)


def _plugin(settings: Settings, driver: Preparing) -> KubeletPlugin:
    from ibdra_adapters.kubelet import KubeletPlugin

    return KubeletPlugin(DRIVER_NAME, driver, kubelet_dir=settings.kubelet_folder)


class Container(containers.DeclarativeContainer):
    """Providers of everything; give ``settings`` first."""

    settings: providers.Provider[Settings] = providers.Dependency(instance_of=Settings)

    machine = providers.Singleton(make_machine, settings)
    sysfs = providers.Singleton(make_sysfs, settings, machine.provider)
    verbs = providers.Singleton(make_verbs, settings, machine.provider)
    ledger = providers.Singleton(_ledger, settings)
    cdi = providers.Singleton(_cdi, settings)
    selectors = providers.Singleton(make_selectors)
    api = providers.Singleton(_api)
    claims = providers.Singleton(_claims, api)
    slices = providers.Singleton(_slices, api, settings)

    discovery = providers.Singleton(
        Discovery, sysfs=sysfs, verbs=verbs, include_ethernet=settings.provided.include_ethernet
    )
    mover = providers.Singleton(
        Mover, rdma=machine.provided.rdma, links=machine.provided.links, sysfs=sysfs
    )
    attaching = providers.Singleton(
        Attaching,
        ledger=ledger,
        mover=mover,
        namespaces=machine.provided.namespaces,
        sysfs=sysfs,
        cdi=cdi,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
    )
    preparing = providers.Singleton(
        Preparing,
        claims=claims,
        discovery=discovery,
        sysfs=sysfs,
        cdi=cdi,
        ledger=ledger,
        attaching=attaching,
        pool=settings.provided.node,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
    )
    recovery = providers.Singleton(
        Recovery,
        ledger=ledger,
        attaching=attaching,
        cdi=cdi,
        sysfs=sysfs,
        hook=settings.provided.hook,
        with_umad=settings.provided.with_umad,
    )
    publishing = providers.Singleton(
        Publishing,
        discovery=discovery,
        ledger=ledger,
        slices=slices,
        node=settings.provided.node,
    )
    plugin = providers.Singleton(_plugin, settings, preparing)
    provisioning = providers.Singleton(make_provisioning, settings, machine.provider)


@contextmanager
def wired(settings: Settings) -> Iterator[Container]:
    """Wire everything for one command; a simulated machine's files go when it ends."""
    with scratched(settings) as complete:
        yield Container(settings=complete)
