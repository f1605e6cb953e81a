"""The numbers after the demo's walk: what a scrape of the running agent's metrics shows."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import pytest

from ibdra_app.container import wired
from ibdra_app.demo import Demo
from ibdra_app.examples import examples_folder
from ibdra_app.settings import Settings


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Walk through the demo with metrics on, and scrape them over HTTP."""
    base = tmp_path_factory.mktemp("demo")
    settings = Settings(
        node="demo-node",
        simulate="dgx-h100",
        metrics_port=0,
        kubelet_folder=base / "kubelet",
        cdi_folder=base / "cdi",
        state_folder=base / "state",
        run_folder=base / "run",
    )
    with wired(settings) as container:
        metrics: Any = container.metrics()
        port = metrics.serve(0, "127.0.0.1")
        try:
            report = asyncio.run(Demo(container, examples=examples_folder()).run())
            assert report.passed
            container.succession().enter()  # as the daemon does before it looks
            assert container.watching().look()
            container.succession().leave()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
                text = answer.read().decode()
        finally:
            metrics.stop()
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_every_claim_was_counted_once(scraped: dict[str, float]) -> None:
    """Five examples, of which the one of admin access attaches nothing."""

    def count(action: str) -> float:
        return scraped[f'ibdra_actions_total{{action="{action}",reason="",result="done"}}']

    assert [5, 5, 4, 4] == [count(a) for a in ("prepare", "unprepare", "attach", "detach")]


def test_the_kubelets_calls_were_counted_and_timed(scraped: dict[str, float]) -> None:
    """A call a pod and method, each with its time."""
    for method in ("NodePrepareResources", "NodeUnprepareResources"):
        name = f'ibdra_kubelet_request_duration_seconds_count{{method="{method}",result="done"}}'
        assert 5 == scraped[name]


def test_the_machine_is_shown_as_it_is(scraped: dict[str, float]) -> None:
    """40 devices, on bare metal, none of them held any more, published a moment ago."""
    devices = [n for name, n in scraped.items() if name.startswith("ibdra_devices{")]
    assert 40 == sum(devices)
    assert 1 == scraped['ibdra_platform_info{platform="bare metal"}']
    assert 0 == scraped["ibdra_devices_held"]
    assert scraped["ibdra_last_publish_timestamp_seconds"] > 1.7e9
