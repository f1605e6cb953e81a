"""Everything a driver needs of an API server, in one value.

Why: a driver is written against the ports, and whoever starts it says once which server is
behind them.  The official client costs 200 ms and 25 MiB to import, so that is done when a
cluster is asked for, and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ibdra_domain.ports.kube import Claims, ClaimStatus, Nodes, PodEvents, Slices

if TYPE_CHECKING:
    from ibdra_adapters.kube.fake_api import FakeKubeApi

Observe = Callable[[str, str], None]
"""Told of every call to the API server: verb, and status code or "unreachable"."""


class KubePorts(NamedTuple):
    """The ports of an API server, for one driver on one node."""

    claims: Claims
    slices: Slices
    nodes: Nodes
    status: ClaimStatus
    pod_events: PodEvents


def connect(
    *,
    driver: str,
    node: str,
    kubeconfig: Path | None = None,
    context: str | None = None,
    observe: Observe | None = None,
) -> KubePorts:
    """Give a cluster's: by a kubeconfig, or by the pod's own service account.

    Raises KubeFailed if there is no way to one; whether it answers shows at the first call.
    """
    from ibdra_adapters.kube.client import KubeClient
    from ibdra_adapters.kube.server import ServerClaims, ServerSlices
    from ibdra_adapters.kube.server_reports import ServerClaimStatus, ServerNodes, ServerPodEvents

    client = KubeClient(kubeconfig=kubeconfig, context=context, observe=observe or _nobody)
    return KubePorts(
        claims=ServerClaims(client),
        slices=ServerSlices(client, driver=driver, node=node),
        nodes=ServerNodes(client),
        status=ServerClaimStatus(client, driver=driver),
        pod_events=ServerPodEvents(client, driver=driver, node=node),
    )


def in_memory(api: FakeKubeApi, *, driver: str, node: str) -> KubePorts:
    """Give those of a server in memory, which tests and demos turn."""
    from ibdra_adapters.kube.fake import (
        FakeClaims,
        FakeClaimStatus,
        FakeNodes,
        FakePodEvents,
        FakeSlices,
    )

    return KubePorts(
        claims=FakeClaims(api),
        slices=FakeSlices(api, driver=driver, node=node),
        nodes=FakeNodes(api),
        status=FakeClaimStatus(api, driver=driver),
        pod_events=FakePodEvents(api, driver=driver),
    )


def _nobody(_verb: str, _status: str) -> None:
    """Take no notice."""
