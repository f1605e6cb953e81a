"""What only the agent has: its records, its turn, its sockets, and what stands behind them.

Why: apart from the composition root, which says what goes into what; here is how each is made
of the settings.  Adapters are imported when one of them is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from ibdra_app.attaching import Attaching
from ibdra_app.checks import Checks
from ibdra_app.ledger import Ledger
from ibdra_app.monitoring import Monitoring
from ibdra_app.preparing import Preparing
from ibdra_app.provisioning import Provisioning
from ibdra_app.settings import Settings
from ibdra_app.sources import wanted_vfs
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


def make_ledger(settings: Settings) -> Ledger:
    """Give what knows all claims of this node, kept in the state folder."""
    from ibdra_adapters.state.boot import read_boot_id
    from ibdra_adapters.state.files import StateFolder
    from ibdra_adapters.state.instances import FileTurn

    return Ledger(
        StateFolder(settings.state_folder, ClaimRecord),
        boot_id=read_boot_id(),
        turn=FileTurn(settings.run_folder / "turn"),
    )


def make_succession(settings: Settings) -> Succession:
    """Give who serves this node, where agents follow one another."""
    from ibdra_adapters.state.instances import FileSuccession

    return FileSuccession(settings.run_folder / "instances")


def make_arrivals(settings: Settings) -> Arrivals:
    """Give how a new agent tells the old one that it has come."""
    from ibdra_adapters.state.instances import FileArrivals

    return FileArrivals(settings.run_folder / "arriving")


def held_claims(settings: Settings) -> tuple[PreparedClaim, ...]:
    """Read what is prepared here from the records, which may be another process'."""
    from ibdra_adapters.state.files import StateFolder

    if settings.simulate is not None:
        return ()
    records = StateFolder(settings.state_folder, ClaimRecord).peek()
    return tuple(record.prepared for record in records.values())


def provisioning_turn(
    settings: Settings, ledger: Callable[[], Ledger]
) -> AbstractContextManager[object]:
    """Give the turn to make VFs: the agents' where there are any, which share their folder."""
    simulated = settings.simulate is not None and not settings.real_processes
    if simulated or not settings.run_folder.is_dir():
        return nullcontext()
    return ledger().lock


def make_cdi(settings: Settings) -> CdiFolder:
    """Give the folder that the container runtime reads."""
    from ibdra_adapters.cdi.files import CdiFolder

    return CdiFolder(settings.cdi_folder, driver=DRIVER_NAME)


def make_marks(settings: Settings) -> AttachedMarks:
    """Give the marks that the hook goes by while no agent answers."""
    from ibdra_adapters.hook.marks import MarkFolder
    from ibdra_adapters.state.boot import read_boot_id

    return MarkFolder(settings.marks_folder, boot_id=read_boot_id())


def make_hook_server(settings: Settings, attaching: Attaching) -> HookServer:
    """Give the socket that the hook asks at."""
    from ibdra_adapters.hook.server import HookServer

    return HookServer(settings.hook_socket, hook=attaching)


def provision_at_start(settings: Settings, provisioning: Provisioning) -> None:
    """Make the VFs that the options ask for."""
    provisioning.provision_at_start(wanted_vfs(settings))


def make_plugin(
    settings: Settings, driver: Preparing, health: Monitoring, metrics: NodeMetrics
) -> KubeletPlugin:
    """Give the kubelet's sockets; each request is counted, with the claims that failed."""
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


def make_probes(settings: Settings, checks: Checks) -> HealthServer | None:
    """Give the pod's probes their server, if they have a port."""
    from ibdra_adapters.kubelet import HealthServer

    if not settings.health_port:
        return None
    return HealthServer(settings.health_address, settings.health_port, checks=checks.by_service())


def may_taint(settings: Settings) -> bool:
    """Tell whether unhealthy devices are to be tainted."""
    return settings.unhealthy_taint is not TaintEffect.NONE
