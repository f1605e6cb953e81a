"""Everything an operator can choose, with its default.

Why: one value that every provider of the composition root is made from; command line
options are only ways to fill it.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec

from ibdra_domain.container_edits import HookSettings
from ibdra_domain.hardware import IsolationDemand
from ibdra_domain.health import TaintEffect
from ibdra_domain.vf_wishes import PfOverride


class KubeSource(StrEnum):
    """Which API server: a real one, or one in memory that nobody else sees."""

    CLUSTER = "cluster"
    MEMORY = "memory"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the driver is told.

    ``sysfs_root`` set means: this directory stands for ``/sys`` and is all there is to
    know, libibverbs would answer for another machine.  ``simulate`` names a machine
    profile; everything that is not sysfs then comes from the simulation too, and
    ``scratch`` is where its tree is written.  With ``real_processes`` the pods on it are
    this machine's, and it is remembered while the driver is down.  ``run_folder`` must not
    outlive a boot; ``instance`` tells this process' sockets from another's in a rolling update.
    ``metrics_port`` None: no metrics.
    ``kubeconfig`` None means the pod's own service account; with the server in memory,
    ``claims_folder`` is where claims come from, one JSON file each.
    ``counters``: publish what excludes what, where the server keeps it.
    ``unhealthy_taint``: what the taint of an unhealthy device does.  ``health_port``: where
    gRPC health checks are answered, on ``health_address``; 0 is nowhere.
    ``num_vfs``, ``pf_vfs`` and ``guid_file`` say which VFs each PF is to have, and who they are.
    """

    node: str = "localhost"
    sysfs_root: Path | None = None
    simulate: str | None = None
    scratch: Path | None = None
    real_processes: bool = False
    include_ethernet: bool = False
    with_umad: bool = False
    kubelet_folder: Path = Path("/var/lib/kubelet")
    cdi_folder: Path = Path("/var/run/cdi")
    state_folder: Path = Path("/var/lib/ibdra/claims")
    run_folder: Path = Path("/run/ibdra")
    hook: HookSettings = HookSettings()
    counters: bool = True
    unhealthy_taint: TaintEffect = TaintEffect.NO_SCHEDULE
    health_address: str = "[::]"
    health_port: int = 0
    num_vfs: int = 0
    pf_vfs: tuple[PfOverride, ...] = ()
    guid_file: Path | None = None
    isolation: IsolationDemand = IsolationDemand.AUTO
    instance: str | None = None
    metrics_port: int | None = None
    metrics_bind: str | None = None
    kube: KubeSource = KubeSource.MEMORY
    kubeconfig: Path | None = None
    kube_context: str | None = None
    claims_folder: Path | None = None

    @property
    def hook_socket(self) -> Path:
        """Where the hook's helper asks."""
        return self.run_folder / "hook.sock"

    @property
    def marks_folder(self) -> Path:
        """Where the hook's helper looks while nobody answers."""
        return self.run_folder / "attached"

    @property
    def simulation_file(self) -> Path:
        """Where a simulated machine is remembered."""
        return self.run_folder / "simulation.json"
