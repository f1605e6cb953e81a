"""What each kind of metrics has counted, told in one form.

Why: the fake is asked for its attributes, Prometheus' adapter over HTTP, as the server that
scrapes it would; the contract is the same for both.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from prometheus_client.parser import text_string_to_metric_families

from ibdra_adapters.metrics.fake import FakeMetrics
from ibdra_adapters.metrics.prometheus import Exposition, PrometheusNode, PrometheusWebhook
from ibdra_domain.ports.metrics import NodeMetrics, WebhookMetrics

Counted = Mapping[tuple[str, ...], float]
NOW = 1_800_000_000.25
ZERO_COUNTS = ("VFs", "held")


class Seen(Protocol):
    """A harness: metrics, and what they have counted; zeros only where they say something."""

    @property
    def node(self) -> NodeMetrics:
        """What the node agent would be given."""

    @property
    def webhook(self) -> WebhookMetrics:
        """What the webhook would be given."""

    def counted(self, what: str) -> Counted:
        """Give the numbers of one thing by their labels."""


class OfFake:
    """Looks at the fake."""

    def __init__(self) -> None:
        self.node = self.webhook = self._fake = FakeMetrics(clock=lambda: NOW)

    def counted(self, what: str) -> Counted:
        """Fulfil the harness."""
        fake = self._fake
        found: dict[str, Mapping[Any, float]] = {
            "actions": fake.actions,
            "kubelet requests": fake.kubelet_requests,
            "API requests": fake.api_requests,
            "slice writes": {(verb,): n for verb, n in fake.slice_writes.items()},
            "reviews": fake.reviews,
            "seconds": fake.seconds,
            "devices": {(g.type, g.state, g.isolation): n for g, n in fake.devices.items()},
            "VFs": {(pf,): n for pf, n in fake.vfs.items()},
            "platform": {(fake.platform,): 1} if fake.platform else {},
            "held": {(): fake.devices_held} if fake.devices_held is not None else {},
            "published": {(): fake.published_at} if fake.published_at is not None else {},
        }
        return {k: n for k, n in found[what].items() if n or what in ZERO_COUNTS}


# What the contract calls it: the samples that tell it, and their labels in order.
SAMPLES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "kubelet requests": [("ibdra_kubelet_request_duration_seconds_count", ("method", "result"))],
    "API requests": [("ibdra_api_requests_total", ("verb", "result"))],
    "slice writes": [("ibdra_slice_writes_total", ("verb",))],
    "reviews": [("ibdra_webhook_review_duration_seconds_count", ("kind", "verdict"))],
    "seconds": [
        ("ibdra_kubelet_request_duration_seconds_sum", ("method", "result")),
        ("ibdra_webhook_review_duration_seconds_sum", ("kind", "verdict")),
    ],
    "devices": [("ibdra_devices", ("type", "state", "isolation"))],
    "VFs": [("ibdra_vfs", ("pf",))],
    "platform": [("ibdra_platform_info", ("platform",))],
    "held": [("ibdra_devices_held", ())],
    "published": [("ibdra_last_publish_timestamp_seconds", ())],
}


class OfPrometheus:
    """Scrapes both adapters."""

    def __init__(self) -> None:
        self.node = PrometheusNode(version="1.2.3", clock=lambda: NOW)
        self.webhook = PrometheusWebhook(version="1.2.3")
        self._ports = [each.serve(0, "127.0.0.1") for each in (self.node, self.webhook)]

    def counted(self, what: str) -> Counted:
        """Fulfil the harness."""
        samples = [found for port in self._ports for found in scrape(port)]
        if what == "actions":  # the fake has one word for result and reason
            return {
                (labels["action"], labels["reason"] or labels["result"]): value
                for name, labels, value in samples
                if name == "ibdra_actions_total" and value
            }
        return {
            tuple(labels[key] for key in keys): value
            for wanted, keys in SAMPLES[what]
            for name, labels, value in samples
            if name == wanted and (value or what in ZERO_COUNTS)
        }

    def stop(self) -> None:
        """End serving."""
        for each in (self.node, self.webhook):
            each.stop()


@contextmanager
def harness(kind: str) -> Iterator[Seen]:
    """Make one of them."""
    if kind == "fake":
        yield OfFake()
        return
    real = OfPrometheus()
    try:
        yield real
    finally:
        real.stop()


def fetch(port: int, path: str = "/metrics") -> str:
    """Scrape as Prometheus does."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        return str(answer.read().decode())


def scrape(port: int) -> list[tuple[str, dict[str, str], float]]:
    """Give every sample: name, labels, value."""
    return [
        (sample.name, dict(sample.labels), float(sample.value))
        for family in text_string_to_metric_families(fetch(port))
        for sample in family.samples
    ]


@contextmanager
def served(exposition: Exposition) -> Iterator[int]:
    """Serve for a while; gives the port."""
    port = exposition.serve(0, "127.0.0.1")
    try:
        yield port
    finally:
        exposition.stop()
