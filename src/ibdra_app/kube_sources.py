"""Which API server the driver talks to: a cluster's, or one in memory.

Why: apart from the other sources because the official client costs 200 ms and 25 MiB to
import: nothing that only looks at the machine comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.ports.kube import Claims, ClaimStatus, Nodes, PodEvents, Slices
from ibdra_domain.publication import DRIVER_NAME

if TYPE_CHECKING:
    from ibdra_adapters.kube.fake_api import FakeKubeApi

Observe = Callable[[str, str], None]
"""Told of every call to the API server: verb, and status code or "unreachable"."""


class KubePorts(NamedTuple):
    """The ports of an API server."""

    claims: Claims
    slices: Slices
    nodes: Nodes
    status: ClaimStatus
    pod_events: PodEvents


def make_kube(
    settings: Settings, api: Callable[[], FakeKubeApi], observe: Observe | None = None
) -> KubePorts:
    """Choose the API server.  Raises KubeFailed if there is no way to a cluster's."""
    if settings.kube is KubeSource.MEMORY:
        return _in_memory(settings, api())
    from ibdra_adapters.kube.client import KubeClient
    from ibdra_adapters.kube.server import ServerClaims, ServerSlices
    from ibdra_adapters.kube.server_reports import ServerClaimStatus, ServerNodes, ServerPodEvents

    client = KubeClient(
        kubeconfig=settings.kubeconfig, context=settings.kube_context, observe=observe or _nobody
    )
    return KubePorts(
        claims=ServerClaims(client),
        slices=ServerSlices(client, driver=DRIVER_NAME, node=settings.node),
        nodes=ServerNodes(client),
        status=ServerClaimStatus(client, driver=DRIVER_NAME),
        pod_events=ServerPodEvents(client, driver=DRIVER_NAME, node=settings.node),
    )


def make_api(settings: Settings) -> FakeKubeApi:
    """Make the server in memory, of a cluster with this node."""
    from ibdra_adapters.kube.fake_api import FakeKubeApi

    api = FakeKubeApi()
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": settings.node}})
    return api


def _in_memory(settings: Settings, api: FakeKubeApi) -> KubePorts:
    from ibdra_adapters.kube.fake import (
        FakeClaims,
        FakeClaimStatus,
        FakeNodes,
        FakePodEvents,
        FakeSlices,
    )
    from ibdra_adapters.kube.folder import FolderClaims

    folder = settings.claims_folder
    return KubePorts(
        claims=FakeClaims(api) if folder is None else FolderClaims(folder),
        slices=FakeSlices(api, driver=DRIVER_NAME, node=settings.node),
        nodes=FakeNodes(api),
        status=FakeClaimStatus(api, driver=DRIVER_NAME),
        pod_events=FakePodEvents(api, driver=DRIVER_NAME),
    )


def _nobody(_verb: str, _status: str) -> None:
    """Take no notice."""
