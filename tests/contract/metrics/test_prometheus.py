"""What Prometheus is shown: names, labels, and a server that starts and stops."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from pathlib import Path

import prometheus_client
import pytest

from contract.metrics.metrics_seen import fetch, scrape, served
from ibdra_adapters.metrics.prometheus import Exposition, PrometheusNode, PrometheusWebhook
from ibdra_domain.errors import MetricsFailed, NotSettled
from ibdra_domain.inventory import Inventory, Platform
from ibdra_domain.pool import PoolChanges
from unit.domain.domain_facts import a_device, a_vf

PAGE = Path(__file__).parents[3] / "docs/user/monitoring.md"
# Dashboards and alerts are made of these: a change breaks somebody's.
NODE = {
    "ibdra_build_info": ("gauge", {"version", "python"}),
    "ibdra_actions_total": ("counter", {"action", "result", "reason"}),
    "ibdra_kubelet_request_duration_seconds": ("histogram", {"method", "result"}),
    "ibdra_devices": ("gauge", {"type", "state", "isolation"}),
    "ibdra_devices_held": ("gauge", set()),
    "ibdra_vfs": ("gauge", {"pf"}),
    "ibdra_platform_info": ("gauge", {"platform"}),
    "ibdra_last_publish_timestamp_seconds": ("gauge", set()),
    "ibdra_slice_writes_total": ("counter", {"verb"}),
    "ibdra_api_requests_total": ("counter", {"verb", "result"}),
}
WEBHOOK = {
    "ibdra_build_info": ("gauge", {"version", "python"}),
    "ibdra_webhook_review_duration_seconds": ("histogram", {"kind", "verdict"}),
}
_TYPE = re.compile(r"^# TYPE (ibdra_\w+) (\w+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `(ibdra_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)


def busy_node() -> PrometheusNode:
    """Make one that has counted everything once."""
    node = PrometheusNode(version="1.2.3")
    node.action("attach", NotSettled("p", remedy="r"))
    node.kubelet_request("NodePrepareResources", seconds=0.1)
    node.inventory(Inventory(platform=Platform.BARE_METAL, devices=(a_device(), a_vf())))
    node.held(1)
    node.published(PoolChanges())
    node.api_request("get")
    return node


def shown(exposition: Exposition) -> dict[str, tuple[str, set[str]]]:
    """Give what is shown: name, type and labels."""
    with served(exposition) as port:
        types = dict(_TYPE.findall(fetch(port)))
        samples = scrape(port)
    found: dict[str, tuple[str, set[str]]] = {}
    for name, labels, _ in samples:
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        if family in types:
            found[family] = (
                types[family],
                set(labels) - {"le"} | found.get(family, ("", set()))[1],
            )
    return found


def test_the_names_and_labels_of_a_node() -> None:
    """As they are written down here, and no others."""
    assert shown(busy_node()) == NODE


def test_the_names_and_labels_of_the_webhook() -> None:
    """From the start, with zeros: a series that begins with its first event shows no increase."""
    assert shown(PrometheusWebhook(version="1.2.3")) == WEBHOOK


def test_the_page_lists_every_metric() -> None:
    """With its type and labels, and no other."""
    rows = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }
    assert NODE | WEBHOOK == rows


def test_the_build_is_told_and_the_process() -> None:
    """What runs, and what it takes of the machine; nothing of when a series began."""
    with served(PrometheusNode(version="1.2.3")) as port:
        samples = scrape(port)
    names = {name for name, _, _ in samples}
    assert "1.2.3" in {labels["version"] for name, labels, _ in samples if "build" in name}
    assert {"process_resident_memory_bytes", "process_open_fds"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_a_message_never_becomes_a_label() -> None:
    """However many errors there are, their classes are few."""
    node = PrometheusNode(version="1")
    for number in range(100):
        node.action("attach", NotSettled(f"claim {number}", remedy="r"))
        node.api_request("get", ValueError(number))
    with served(node) as port:
        text = fetch(port)
    assert 1 == text.count('reason="NotSettled"')
    assert 1 == text.count('result="ValueError"')
    assert "claim 7" not in text


def test_two_in_one_process_count_apart() -> None:
    """And neither into the library's global registry."""
    one, other = PrometheusNode(version="1"), PrometheusNode(version="1")
    one.held(1)
    other.held(2)
    for node, held in ((one, 1.0), (other, 2.0)):
        with served(node) as port:
            assert held in {v for name, _, v in scrape(port) if name == "ibdra_devices_held"}
    assert b"ibdra_" not in prometheus_client.generate_latest()


def test_it_serves_and_stops_and_serves_again() -> None:
    """A port that it has left is free."""
    metrics = PrometheusWebhook(version="1")
    port = metrics.serve(0, "127.0.0.1")
    with pytest.raises(MetricsFailed, match="served already"):
        metrics.serve(0, "127.0.0.1")
    assert "ibdra_build_info" in fetch(port)
    metrics.stop()
    metrics.stop()
    with pytest.raises(urllib.error.URLError):
        fetch(port)
    assert port == metrics.serve(port, "127.0.0.1")
    metrics.stop()


def test_it_serves_at_every_address_unless_told_otherwise() -> None:
    """Of both families, where there are both."""
    metrics = PrometheusWebhook(version="1")
    port = metrics.serve(0)
    try:
        assert "ibdra_build_info" in fetch(port)
        if socket.has_ipv6:
            with urllib.request.urlopen(f"http://[::1]:{port}/metrics", timeout=10) as answer:
                assert 200 == answer.status
    finally:
        metrics.stop()


def test_a_machine_without_ipv6_serves_at_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose kernel was started without it."""
    real = socket.socket

    def no_ipv6(family: int = socket.AF_INET, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *rest)

    monkeypatch.setattr("ibdra_adapters.metrics.prometheus.socket.socket", no_ipv6)
    metrics = PrometheusWebhook(version="1")
    port = metrics.serve(0)
    monkeypatch.undo()
    try:
        assert "ibdra_build_info" in fetch(port)
    finally:
        metrics.stop()


@pytest.mark.parametrize("bind", ["127.0.0.1", None, "192.0.2.1", "no such name"])
def test_a_port_that_cannot_be_had_is_told(bind: str | None) -> None:
    """With what to do about it."""
    with served(PrometheusWebhook(version="1")) as port:
        other = PrometheusWebhook(version="1")
        with pytest.raises(MetricsFailed, match=f"cannot be served at port {port}") as caught:
            other.serve(port, bind)
    assert "--metrics-port" in caught.value.remedy
