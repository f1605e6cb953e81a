"""What is counted, and when: the agent's parts tied to its metrics.

Why: apart from the composition root, because each of these ties is a decision of its own
(which answer of the API server is which error, what a kubelet's call that half failed is),
and none of it may be in the way of what is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

from ibdra_app.counts import Counts
from ibdra_app.ledger import Ledger
from ibdra_app.settings import Settings
from ibdra_domain.errors import (
    KubeConflict,
    KubeFailed,
    KubeNotFound,
    KubeUnavailable,
    PortTaken,
)
from ibdra_domain.ports.metrics import NodeMetrics

_log = logging.getLogger(__name__)

TRY_AGAIN = 5.0
"""Seconds until a port that another process has may be free."""


def make_metrics(settings: Settings) -> NodeMetrics:
    """Choose who counts: Prometheus' library where metrics are served, else nobody."""
    if settings.metrics_port is None:
        from ibdra_adapters.metrics.nothing import NoMetrics

        return NoMetrics()
    from ibdra_adapters.metrics.prometheus import PrometheusNode

    return PrometheusNode(version=version("ibdra"))


def make_counts(metrics: NodeMetrics, ledger: Ledger) -> Counts:
    """Count actions; each may have changed how many devices are held."""

    def held(_action: str, _error: Exception | None) -> None:
        metrics.held(sum(len(claim.moving) for claim in ledger.held()))

    return Counts(metrics.action, held)


@contextlib.asynccontextmanager
async def metrics_served(
    serve: Callable[[], int], *, stop: Callable[[], None]
) -> AsyncIterator[None]:
    """Have metrics served meanwhile: at once, or as soon as the port is free.

    In a rolling update two agents are on the host's network, and the one that goes has the
    port: the other must get ready without it, or the first would never go.  Any other
    MetricsFailed is raised.
    """

    async def served() -> bool:
        try:
            at = await asyncio.to_thread(serve)
        except PortTaken as error:
            _log.debug("%s", error)
            return False
        _log.info("metrics at port %d", at)
        return True

    ending = asyncio.Event()

    async def try_again() -> None:
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRY_AGAIN):
                    await ending.wait()
                    return
            if await served():
                return

    trying = None
    if not await served():
        _log.warning("no metrics yet: the port is taken; trying again until it is free")
        trying = asyncio.create_task(try_again(), name="ibdra-metrics-port")
    try:
        yield
    finally:
        ending.set()
        if trying is not None:  # not cancelled: its thread may be starting what is to be stopped
            await trying
        await asyncio.to_thread(stop)


class ApiCalls:
    """Tells metrics of each call to the API server, as the client reports it."""

    def __init__(self, metrics: NodeMetrics) -> None:
        self._metrics = metrics

    def __call__(self, verb: str, status: str) -> None:
        """Count one: ``status`` is its code, or "unreachable"."""
        self._metrics.api_request(verb.lower(), error_of(status))


def error_of(status: str) -> KubeFailed | None:
    """Give the error that an answer is for whoever asked; None for a good one."""
    if status.startswith("2"):
        return None
    kinds: dict[str, type[KubeFailed]] = {
        "404": KubeNotFound,
        "409": KubeConflict,
        "408": KubeUnavailable,
        "410": KubeUnavailable,
        "429": KubeUnavailable,
        "unreachable": KubeUnavailable,
    }
    kind = KubeUnavailable if status.startswith("5") else kinds.get(status, KubeFailed)
    return kind(f"the API server answered {status}", remedy="see the log")
