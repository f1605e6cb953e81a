"""The metrics' port in a rolling update: the new agent takes it when the old one has gone."""

from __future__ import annotations

import pytest

from ibdra_adapters.metrics.prometheus import PrometheusNode
from ibdra_app import measuring
from ibdra_app.measuring import metrics_served
from ibdra_domain.errors import MetricsFailed
from unit.app.test_daemon import eventually


async def test_a_port_that_is_taken_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on without it, and serves as soon as it is free."""
    monkeypatch.setattr(measuring, "TRY_AGAIN", 0.02)
    older, newer = PrometheusNode(version="1"), PrometheusNode(version="2")
    port = older.serve(0, "127.0.0.1")
    served: list[int] = []

    def serve() -> int:
        served.append(newer.serve(port, "127.0.0.1"))
        return port

    async with metrics_served(serve, stop=newer.stop):
        assert [] == served
        older.stop()
        await eventually(lambda: [port] == served)
    assert port == older.serve(port, "127.0.0.1")
    older.stop()


async def test_an_agent_that_ends_while_it_waits_leaves_the_port_alone() -> None:
    """It neither waits on, nor stops what another serves."""
    older, newer = PrometheusNode(version="1"), PrometheusNode(version="2")
    port = older.serve(0, "127.0.0.1")
    async with metrics_served(lambda: newer.serve(port, "127.0.0.1"), stop=newer.stop):
        pass
    with pytest.raises(MetricsFailed, match="cannot be served"):
        newer.serve(port, "127.0.0.1")
    older.stop()


async def test_an_address_that_is_not_here_is_an_error_at_once() -> None:
    """Waiting would not help."""
    metrics = PrometheusNode(version="1")
    with pytest.raises(MetricsFailed, match="cannot be served at port"):
        async with metrics_served(lambda: metrics.serve(0, "192.0.2.1"), stop=metrics.stop):
            pass
