"""What `ibdra doctor` and `ibdra cleanup` work on: this machine's files, and an API server.

Why: apart from the composition root because a doctor that imports all of the driver breaks
with it.  Which file belongs to which part is known to the adapters; here it is put together.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ibdra_app.examining import Cluster, Examining
from ibdra_app.host_rounds import Host
from ibdra_app.settings import KubeSource, Settings
from ibdra_app.sources import make_machine, make_sysfs, make_verbs, scratched, wanted_vfs
from ibdra_domain.errors import KubeletFailed, KubeNotFound
from ibdra_domain.ports.host import HostFiles
from ibdra_domain.ports.kube import Nodes, Slices
from ibdra_domain.ports.leftovers import Leftovers
from ibdra_domain.ports.state import Loaded
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord

if TYPE_CHECKING:
    from ibdra_adapters.simulation.machine import SimulatedMachine

CDI_FOLDERS = (Path("/etc/cdi"), Path("/var/run/cdi"))
"""Where container runtimes look by default."""

_OWN_FOLDER = "ibdra"


def has_cluster(kubeconfig: Path | None) -> bool:
    """Tell whether there is any way to an API server: a kubeconfig, or a pod's own."""
    return kubeconfig is not None or "KUBERNETES_SERVICE_HOST" in os.environ


@contextmanager
def examining(settings: Settings, *, hook_source: Path) -> Iterator[Examining]:
    """Give what `ibdra doctor` needs."""
    wanted = wanted_vfs(settings)
    with scratched(settings) as complete:
        made = make_machine(complete) if complete.simulate is not None else None

        def machine() -> SimulatedMachine:
            return made or make_machine(complete)

        is_this_machine = complete.simulate is None and complete.sysfs_root is None
        yield Examining(
            complete,
            wanted=wanted,
            sysfs=make_sysfs(complete, machine),
            verbs=make_verbs(complete, machine),
            host=_this_host(complete) if is_this_machine else None,
            cluster=lambda: _cluster(complete),
            cdi_folders=CDI_FOLDERS,
            hook_source=hook_source,
        )


def make_files() -> HostFiles:
    """Choose whose files are looked at."""
    from ibdra_adapters.host.files import LinuxFiles

    return LinuxFiles()


def records_of(settings: Settings) -> Callable[[], Loaded[ClaimRecord]]:
    """Give what reads the records and touches none."""
    from ibdra_adapters.state.files import StateFolder

    return StateFolder(settings.state_folder, ClaimRecord).inspect


def hook_answers(settings: Settings) -> Callable[[], bool]:
    """Give what tells whether a daemon answers at the hook's socket."""
    files = make_files()
    return lambda: files.answers(str(settings.hook_socket))


def slices_to_delete(settings: Settings, slices: Slices) -> Slices | None:
    """Give the node's slices if there is a cluster they are in."""
    return slices if settings.kube is KubeSource.CLUSTER else None


def node_to_check(settings: Settings, nodes: Nodes) -> Callable[[], object] | None:
    """Give what raises if there is a cluster and it has no such node."""
    if settings.kube is not KubeSource.CLUSTER:
        return None

    def check() -> None:
        try:
            nodes.uid(settings.node)
        except KubeNotFound as error:
            raise KubeNotFound(
                f"the cluster has no node {settings.node}, and no slices of it",
                remedy="give the node's name with --node, or --no-slices if it was deleted",
            ) from error

    return check


def _this_host(settings: Settings) -> Host:
    from ibdra_adapters.host.processes import LinuxProcesses

    return Host(
        make_files(), LinuxProcesses(), records_of(settings), lambda: _kubelet_sockets(settings)
    )


def _kubelet_sockets(settings: Settings) -> tuple[Path, Path]:
    """Give registration and plugin socket.  Raises KubeletFailed if no path fits."""
    from ibdra_adapters.kubelet import SocketPaths

    paths = SocketPaths.of(
        DRIVER_NAME, kubelet_dir=settings.kubelet_folder, instance=settings.instance
    )
    return paths.registration, paths.plugin


def _cluster(settings: Settings) -> Cluster | None:
    if settings.kube is not KubeSource.CLUSTER:
        return None
    from ibdra_adapters.kube.client import KubeClient
    from ibdra_adapters.kube.server import ServerSlices
    from ibdra_adapters.kube.server_access import ServerAccessReviews
    from ibdra_adapters.kube.server_reports import ServerNodes

    client = KubeClient(
        kubeconfig=settings.kubeconfig, context=settings.kube_context, observe=lambda *_: None
    )
    return Cluster(
        access=ServerAccessReviews(client),
        nodes=ServerNodes(client),
        slices=ServerSlices(client, driver=DRIVER_NAME, node=settings.node),
    )


def make_leftovers(settings: Settings) -> Leftovers:
    """List the rooms of the driver on a node, in the order in which they are emptied."""
    from ibdra_adapters.host.leftovers import LeftFiles, Room

    name = re.escape(DRIVER_NAME)
    hook = Path(settings.hook.path)
    plugin = settings.kubelet_folder / "plugins" / DRIVER_NAME
    run, state = settings.run_folder, settings.state_folder
    registration = rf"{name}(-.+)?-reg\.sock"
    with suppress(KubeletFailed):  # then none was ever made
        registration += f"|{re.escape(_kubelet_sockets(settings)[0].name)}"
    return LeftFiles(
        (
            Room(
                folder=settings.kubelet_folder / "plugins_registry",
                names=re.compile(registration),
            ),
            Room(folder=plugin, names=re.compile(r".*"), folders=(plugin,)),
            Room(folder=settings.cdi_folder, names=re.compile(rf"\.{name}_.+\.tmp")),
            Room(
                folder=hook.parent,
                names=re.compile(
                    rf"{re.escape(hook.name)}(-[0-9a-f]{{12}})?|\.{re.escape(hook.name)}.*\.tmp"
                ),
                folders=_up_to_own(hook.parent),
            ),
            Room(
                folder=state,
                names=re.compile(r"\..+\.tmp"),
                folders=_up_to_own(state) or (state,),
            ),
            Room(folder=settings.marks_folder, names=re.compile(r"\..+\.tmp"),
                 folders=(settings.marks_folder,)),
            Room(folder=run / "instances", names=re.compile(r".*"), folders=(run / "instances",)),
            Room(folder=run / "arriving", names=re.compile(r".*"), folders=(run / "arriving",)),
            Room(
                folder=run,
                # The turn goes last: until then nobody else may change the node.
                names=re.compile(r"hook\.sock|\.[0-9a-f]{7}|\.?simulation\.json.*|turn"),
                trees=("simulation",),
                folders=(run,),
            ),
        )
    )  # fmt: skip


def _up_to_own(folder: Path) -> tuple[Path, ...]:
    """Give a folder and those above it, up to the one with the driver's name; none if none has."""
    chain = (folder, *folder.parents)
    for index, path in enumerate(chain):
        if path.name == _OWN_FOLDER:
            return chain[: index + 1]
    return ()
