"""Which API server the driver talks to: a cluster's, or one in memory.

Why: apart from the other sources because the official client costs 200 ms and 25 MiB to
import: nothing that only looks at the machine comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ibdra_app.kube_ports import KubePorts, Observe, connect, in_memory
from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.publication import DRIVER_NAME

if TYPE_CHECKING:
    from ibdra_adapters.kube.fake_api import FakeKubeApi


def make_kube(
    settings: Settings, api: Callable[[], FakeKubeApi], observe: Observe | None = None
) -> KubePorts:
    """Choose the API server.  Raises KubeFailed if there is no way to a cluster's."""
    if settings.kube is KubeSource.MEMORY:
        return _in_memory(settings, api())
    return connect(
        driver=DRIVER_NAME,
        node=settings.node,
        kubeconfig=settings.kubeconfig,
        context=settings.kube_context,
        observe=observe,
    )


def make_api(settings: Settings) -> FakeKubeApi:
    """Make the server in memory, of a cluster with this node."""
    from ibdra_adapters.kube.fake_api import FakeKubeApi

    api = FakeKubeApi()
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": settings.node}})
    return api


def _in_memory(settings: Settings, api: FakeKubeApi) -> KubePorts:
    ports = in_memory(api, driver=DRIVER_NAME, node=settings.node)
    if settings.claims_folder is None:
        return ports
    from ibdra_adapters.kube.folder import FolderClaims

    return ports._replace(claims=FolderClaims(settings.claims_folder))
