"""Metrics for Prometheus, at a port of their own.

Why a registry of our own: the library's global one is shared by whatever else is in the
process, and a second agent in one process (as tests have) would count into the first one's.
What the machine is like now is one value that is replaced whole, so that no scrape sees half
of it, and a device that is gone leaves no series behind.
"""

from __future__ import annotations

import errno
import platform
import socket
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily, Metric

from ibdra_domain.admission import OTHER, Outcome
from ibdra_domain.errors import MetricsFailed, PortTaken
from ibdra_domain.inventory import Inventory
from ibdra_domain.manifest_rules import KINDS
from ibdra_domain.pool import PoolChanges
from ibdra_domain.tallies import devices_by_group, kind_of, vfs_by_pf

DONE, FAILED = "done", "failed"
ACTIONS = ("prepare", "unprepare", "attach", "detach")
KUBELET_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 45)
"""Seconds; the kubelet gives up after 45."""

REVIEW_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 1, 5)


class Exposition:
    """A registry with what every process tells, and a server for it.

    Parameters
    ----------
    version:
        This program's.
    """

    def __init__(self, *, version: str) -> None:
        self.registry = _Registry(auto_describe=True)
        self._stop: Callable[[], None] | None = None
        ProcessCollector(registry=self.registry)
        build = Gauge(
            "ibdra_build_info",
            "Always 1; the labels say what runs.",
            ["version", "python"],
            registry=self.registry,
        )
        build.labels(version, platform.python_version()).set(1)

    def serve(self, port: int, bind: str | None = None) -> int:
        """Serve at ``/metrics`` in a thread; gives the port, which 0 leaves open.

        Without ``bind`` at all addresses, also where there is no IPv6.  Blocks for as long as
        the machine takes to know its own name.  Raises MetricsFailed, PortTaken if another
        process has the port.
        """
        if self._stop is not None:
            raise MetricsFailed("metrics are served already", remedy="stop that first")
        try:
            server, thread = start_http_server(port, bind or _every(), registry=self.registry)
        except OSError as error:
            kind = PortTaken if error.errno == errno.EADDRINUSE else MetricsFailed
            raise kind(
                f"metrics cannot be served at port {port} of {bind or 'any address'} "
                f"({(error.strerror or str(error)).lower()})",
                remedy="choose another with --metrics-port or --metrics-bind",
            ) from error

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._stop = stop
        return server.server_port

    def stop(self) -> None:
        """End serving.  Not serving is no error."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()


class PrometheusNode(Exposition):
    """Fulfils :class:`ibdra_domain.ports.metrics.NodeMetrics`."""

    def __init__(self, *, version: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(version=version)
        self._clock = clock
        self._state = _NodeState()
        self.registry.register(self._state)
        self._actions = Counter(
            "ibdra_actions",
            "What was done for claims; reason is an error's class, empty where it went well.",
            ["action", "result", "reason"],
            registry=self.registry,
        )
        self._kubelet = Histogram(
            "ibdra_kubelet_request_duration_seconds",
            "Calls of the kubelet's, by gRPC method; result is done or an error's class.",
            ["method", "result"],
            buckets=KUBELET_BUCKETS,
            registry=self.registry,
        )
        self._writes = Counter(
            "ibdra_slice_writes",
            "ResourceSlices written.",
            ["verb"],
            registry=self.registry,
        )
        self._api = Counter(
            "ibdra_api_requests",
            "Calls of the API server; result is done or an error's class.",
            ["verb", "result"],
            registry=self.registry,
        )
        for action in ACTIONS:  # a counter that begins with its first event shows no increase
            self._actions.labels(action, DONE, "")
        for verb in ("create", "replace", "delete"):
            self._writes.labels(verb)

    def action(self, action: str, error: Exception | None = None) -> None:
        """Fulfil the port."""
        labels = (DONE, "") if error is None else (FAILED, kind_of(error))
        self._actions.labels(action, *labels).inc()

    def kubelet_request(
        self, method: str, *, seconds: float, error: Exception | None = None
    ) -> None:
        """Fulfil the port."""
        self._kubelet.labels(method, _result(error)).observe(seconds)

    def inventory(self, inventory: Inventory) -> None:
        """Fulfil the port."""
        self._state.inventory = inventory

    def held(self, devices: int) -> None:
        """Fulfil the port."""
        self._state.held = devices

    def published(self, changes: PoolChanges) -> None:
        """Fulfil the port."""
        self._state.published_at = self._clock()
        self._writes.labels("create").inc(len(changes.create))
        self._writes.labels("replace").inc(len(changes.replace))
        self._writes.labels("delete").inc(len(changes.delete))

    def api_request(self, verb: str, error: Exception | None = None) -> None:
        """Fulfil the port."""
        self._api.labels(verb, _result(error)).inc()


class PrometheusWebhook(Exposition):
    """Fulfils :class:`ibdra_domain.ports.metrics.WebhookMetrics`."""

    def __init__(self, *, version: str) -> None:
        super().__init__(version=version)
        self._reviews = Histogram(
            "ibdra_webhook_review_duration_seconds",
            "Reviews answered, by kind of object and verdict, from the first byte of the body.",
            ["kind", "verdict"],
            buckets=REVIEW_BUCKETS,
            registry=self.registry,
        )
        for kind in (*KINDS, OTHER):
            for verdict in (Outcome.ALLOWED, Outcome.REFUSED, Outcome.FAILED):
                self._reviews.labels(kind, verdict.value)
        self._reviews.labels(OTHER, Outcome.UNREADABLE.value)

    def review(self, kind: str, verdict: str, seconds: float) -> None:
        """Fulfil the port."""
        self._reviews.labels(kind, verdict).observe(seconds)


class _Registry(CollectorRegistry):
    """The library's, without the ``_created`` series: a third more series that nobody reads."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric


class _NodeState:
    """What the machine is like now, made into series when it is asked for."""

    def __init__(self) -> None:
        self.inventory: Inventory | None = None
        self.held: int | None = None
        self.published_at: float | None = None

    def collect(self) -> Iterable[Metric]:
        """Fulfil the library's protocol; what was never told is left out."""
        if (inventory := self.inventory) is not None:
            yield from _of_inventory(inventory)
        if (held := self.held) is not None:
            yield GaugeMetricFamily("ibdra_devices_held", "Devices that claims hold.", held)
        if (at := self.published_at) is not None:
            yield GaugeMetricFamily(
                "ibdra_last_publish_timestamp_seconds",
                "When the slices were last known to be as the machine is.",
                at,
            )


def _of_inventory(inventory: Inventory) -> Iterator[Metric]:
    devices = GaugeMetricFamily(
        "ibdra_devices",
        "InfiniBand devices of this node, those in pods included.",
        labels=["type", "state", "isolation"],
    )
    for group, count in devices_by_group(inventory).items():
        devices.add_metric([group.type, group.state, group.isolation], count)
    vfs = GaugeMetricFamily("ibdra_vfs", "VFs that a PF has.", labels=["pf"])
    for pf, count in vfs_by_pf(inventory).items():
        vfs.add_metric([pf], count)
    machine = GaugeMetricFamily(
        "ibdra_platform_info", "Always 1; what kind of machine this is.", labels=["platform"]
    )
    machine.add_metric([inventory.platform.value], 1)
    yield from (devices, vfs, machine)


def _every() -> str:
    """Give the address that stands for all of this machine's: of IPv6, which takes IPv4 along."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"  # noqa: S104 -- whom metrics are for is the operator's choice
    return "::"


def _result(error: Exception | None) -> str:
    return DONE if error is None else kind_of(error)
