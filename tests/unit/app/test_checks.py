"""What the pod's probes are told in the agent's life."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from msgspec.structs import replace

from contract.kubelet.test_probes_contract import Status, asked
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_adapters.state.instances import FileArrivals
from ibdra_app.settings import Settings
from ibdra_domain.hardware import IsolationDemand, RdmaIsolation
from unit.app.app_node import VF, Node, running_node
from unit.app.test_daemon import SECONDS, eventually, running


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Start a node whose agent answers health checks."""
    with TemporaryDirectory(prefix="ib") as folder, running_node(Path(folder)) as made:
        settings = made.container.settings()
        made.container.settings.override(
            replace(settings, health_address="127.0.0.1", health_port=free_port())
        )
        yield made


async def statuses(node: Node) -> list[object]:
    """Ask for all services."""
    port = node.container.settings().health_port
    return [await asked(port, service) for service in ("", "liveness", "readiness")]


async def test_it_is_ready_when_it_has_published_and_is_registered(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives from the start; the kubelet's word is what it waits for last."""
    monkeypatch.setattr("ibdra_adapters.kubelet.probes.FRESH", 0.0)
    daemon = node.container.daemon()
    async with running(daemon), asyncio.timeout(SECONDS):
        await daemon.ready.wait()
        await eventually(lambda: node.container.publishing().published)
        alive = [Status.SERVING] * 2
        assert [*alive, Status.NOT_SERVING] == await statuses(node)
        async with FakeKubelet(node.folder / "kubelet") as kubelet:
            await kubelet.register()
            assert [*alive, Status.SERVING] == await statuses(node)


async def test_while_it_waits_for_the_isolation_it_lives_and_is_not_ready(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart would not help."""
    monkeypatch.setattr("ibdra_app.daemon.ASK_AGAIN", 0.02)
    node.kernel.isolation = RdmaIsolation.SHARED
    node.kernel.start_process()
    async with running(node.container.daemon(demand=IsolationDemand.EXCLUSIVE)):
        probes = node.container.probes()
        assert probes is not None
        await eventually(lambda: bool(probes.port))
        assert [Status.SERVING] * 2 + [Status.NOT_SERVING] == await statuses(node)


async def test_it_is_not_ready_while_another_is_on_its_way(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollout would end this one, and the other might never get ready."""
    monkeypatch.setattr("ibdra_adapters.kubelet.probes.FRESH", 0.0)
    daemon, arrivals = node.container.daemon(), node.container.arrivals()
    newer = FileArrivals(node.container.settings().run_folder / "arriving")
    async with running(daemon), FakeKubelet(node.folder / "kubelet") as kubelet:
        await daemon.ready.wait()
        assert newer.another()
        await eventually(lambda: node.container.publishing().published)
        await kubelet.register()
        await eventually(lambda: not newer.another())
        newer.announce()
        assert [Status.SERVING] * 2 + [Status.NOT_SERVING] == await statuses(node)
        newer.settle()
        assert [Status.SERVING] * 3 == await statuses(node)
    assert not arrivals.another()


async def test_in_a_rolling_update_the_older_agent_is_ready_when_the_newer_one_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers for both; a newer one that waits for something ends no older one."""
    for name in ("kubelet.probes.FRESH", "kubelet.probes.TRY_AGAIN"):
        monkeypatch.setattr(f"ibdra_adapters.{name}", 0.0)
    for name in ("ASK_AGAIN", "ARRIVED_EVERY"):
        monkeypatch.setattr(f"ibdra_app.daemon.{name}", 0.02)
    updated = node.restarted()
    updated.container.settings.override(replace(node.container.settings(), instance="new"))
    older = node.container.daemon()
    newer = updated.container.daemon(demand=IsolationDemand.EXCLUSIVE)
    async with FakeKubelet(node.folder / "kubelet") as kubelet, AsyncExitStack() as update:
        async with running(older):
            await older.ready.wait()
            await kubelet.register()
            await eventually(node.container.checks().serves)
            node.kernel.isolation = RdmaIsolation.SHARED
            node.kernel.start_process()
            await update.enter_async_context(running(newer))
            await eventually(node.container.arrivals().another)
            assert [Status.SERVING] * 2 + [Status.NOT_SERVING] == await statuses(node)
            node.kernel.isolation = RdmaIsolation.EXCLUSIVE
            await newer.ready.wait()
            await kubelet.register()
            await eventually(lambda: not node.container.arrivals().another())
            assert [Status.SERVING] * 3 == await statuses(node)
        probes = updated.container.probes()
        assert probes is not None
        await eventually(lambda: bool(probes.port))
        assert [Status.SERVING] * 3 == await statuses(updated)


async def test_a_plugin_without_its_socket_does_not_live(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet could not reach it either."""
    monkeypatch.setattr("ibdra_app.checks.DEADLINE", 1.0)
    daemon = node.container.daemon()
    async with running(daemon):
        await daemon.ready.wait()
        node.container.plugin().paths.plugin.unlink()
        assert Status.NOT_SERVING == (await statuses(node))[1]


async def test_without_a_port_nothing_is_served(node: Node) -> None:
    """Off is the default."""
    assert 0 == Settings().health_port
    node.container.settings.override(replace(node.container.settings(), health_port=0))
    assert node.container.probes() is None


async def test_it_lives_while_all_its_calls_wait(node: Node) -> None:
    """For the node's lock, or an API server that is away: a restart would end a move midway."""
    claims = [node.claim(VF) for _ in range(min(32, (os.cpu_count() or 1) + 4))]
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with node.container.ledger().lock:
            held.set()
            free.wait()

    async with (
        node.container.plugin(),
        FakeKubelet(node.folder / "kubelet") as kubelet,
    ):
        await kubelet.register()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        calls = [asyncio.create_task(kubelet.prepare([claim])) for claim in claims]
        try:
            await asyncio.sleep(0.2)
            assert await node.container.checks().alive()
        finally:
            free.set()
            thread.join()
            await asyncio.gather(*calls)
