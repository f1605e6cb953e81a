"""Health checks as the kubelet's probes make them, over TCP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from contract.kubelet.test_kubelet_contract import NAME, Driver
from ibdra_adapters.kubelet import HealthServer, KubeletPlugin, probes
from ibdra_adapters.kubelet._generated import grpc_health_v1_pb2 as health_pb2
from ibdra_domain.errors import KubeletFailed

SECONDS = 20.0
LOCAL = "127.0.0.1"
Status = health_pb2.HealthCheckResponse


class Agent:
    """Something that is well, or not, as the test says."""

    def __init__(self) -> None:
        self.well = True
        self.error: Exception | None = None
        self.asked = 0
        self.answer = asyncio.Event()
        self.answer.set()

    async def check(self) -> bool:
        self.asked += 1
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return self.well


@pytest.fixture
def agent() -> Agent:
    """Give an agent that is well."""
    return Agent()


@pytest.fixture
async def server(agent: Agent) -> AsyncIterator[HealthServer]:
    """Serve its check as the whole and as ``readiness``."""
    made = HealthServer(LOCAL, 0, checks={"": agent.check, "readiness": agent.check})
    await made.start()
    yield made
    await made.stop()


@asynccontextmanager
async def calls(port: int, kind: str) -> AsyncIterator[Any]:
    """Call as any client of the service does."""
    async with grpc.aio.insecure_channel(f"{LOCAL}:{port}") as channel:
        factory: Any = channel.unary_unary if kind == "Check" else channel.unary_stream
        yield factory(
            f"/grpc.health.v1.Health/{kind}",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=Status.FromString,
        )


async def asked(port: int, service: str = "") -> Any:
    """Check once."""
    async with calls(port, "Check") as check:
        response = await check(health_pb2.HealthCheckRequest(service=service), timeout=SECONDS)
        return response.status


@pytest.mark.parametrize("service", ["", "readiness"])
async def test_a_check_says_whether_it_serves(
    server: HealthServer, agent: Agent, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service's name, at the time it is asked."""
    monkeypatch.setattr(probes, "FRESH", 0.0)
    assert Status.SERVING == await asked(server.port, service)
    agent.well = False
    assert Status.NOT_SERVING == await asked(server.port, service)


@pytest.mark.parametrize(
    "error", [KubeletFailed("no answer", remedy="look"), ValueError("a bug")], ids=["ours", "bug"]
)
async def test_a_check_that_fails_does_not_serve(
    server: HealthServer, agent: Agent, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it is; the reason is in the log, for probes show none."""
    agent.error = error
    assert Status.NOT_SERVING == await asked(server.port)
    assert str(error).partition(":")[0] in caplog.text


async def test_a_service_nobody_knows_is_not_found(server: HealthServer) -> None:
    """A probe with a typo must not pass."""
    with pytest.raises(grpc.aio.AioRpcError, match="there is no service 'ready' here") as refused:
        await asked(server.port, "ready")
    assert grpc.StatusCode.NOT_FOUND is refused.value.code()


async def test_all_who_ask_share_one_check(server: HealthServer, agent: Agent) -> None:
    """Anybody who reaches the port may ask; the plugin is not worn out by it."""
    agent.answer.clear()
    many = [asyncio.create_task(asked(server.port)) for _ in range(16)]
    while not agent.asked:  # noqa: ASYNC110 -- it has no event of its own
        await asyncio.sleep(0.01)
    agent.answer.set()
    assert {Status.SERVING} == set(await asyncio.gather(*many))
    assert Status.SERVING == await asked(server.port)
    assert 1 == agent.asked


async def test_a_watcher_is_told_at_once_and_at_changes(
    server: HealthServer, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not change is not told again."""
    monkeypatch.setattr(probes, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(probes, "FRESH", 0.0)
    async with asyncio.timeout(SECONDS), calls(server.port, "Watch") as watch:
        stream = watch(health_pb2.HealthCheckRequest(service="readiness"))
        assert Status.SERVING == (await stream.read()).status
        agent.well = False
        assert Status.NOT_SERVING == (await stream.read()).status
        agent.well = True
        assert Status.SERVING == (await stream.read()).status


async def test_a_watcher_of_a_service_nobody_knows_is_told_so(server: HealthServer) -> None:
    """And stays connected, as gRPC's protocol wants it."""
    async with asyncio.timeout(SECONDS), calls(server.port, "Watch") as watch:
        stream = watch(health_pb2.HealthCheckRequest(service="ready"))
        assert Status.SERVICE_UNKNOWN == (await stream.read()).status
        await server.stop()
        assert not isinstance(await _ended(stream), Status)


async def _ended(stream: Any) -> object:
    try:
        return await stream.read()
    except grpc.aio.AioRpcError as error:
        return error


async def test_a_taken_port_is_served_when_it_is_free(
    server: HealthServer,
    agent: Agent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In a rolling update on the host's network, the older instance has it for a while."""
    monkeypatch.setattr(probes, "TRY_AGAIN", 0.05)
    newer = Agent()
    second = HealthServer(LOCAL, server.port, checks={"": newer.check})
    await second.start()
    assert "health checks cannot be answered at" in caplog.text
    assert Status.SERVING == await asked(server.port)
    assert (1, 0) == (agent.asked, newer.asked)
    await server.stop()
    async with asyncio.timeout(SECONDS):
        while not second.port:  # noqa: ASYNC110 -- it has no event of its own
            await asyncio.sleep(0.01)
        assert Status.SERVING == await asked(second.port)
    assert 1 == newer.asked
    await second.stop()


async def test_a_port_that_never_gets_free_does_not_hold_up_the_stop(server: HealthServer) -> None:
    """Stopping twice is no error either."""
    second = HealthServer(LOCAL, server.port, checks={})
    await second.start()
    await second.stop()
    await second.stop()


async def test_a_plugin_can_be_asked_over_its_sockets(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Both must answer; the driver itself is not called, for there is no claim."""
    driver = Driver()
    plugin = KubeletPlugin(NAME, driver, kubelet_dir=tmp_path_factory.mktemp("k"))
    assert not plugin.serving
    async with plugin:
        assert plugin.serving
        await plugin.ask(deadline=5)
        assert [] == driver.asked
        plugin.paths.plugin.unlink()
        with pytest.raises(KubeletFailed, match="NodePrepareResources was not answered"):
            await plugin.ask(deadline=1)
        plugin.paths.registration.unlink()
        with pytest.raises(KubeletFailed, match="GetInfo was not answered"):
            await plugin.ask(deadline=1)
    with pytest.raises(KubeletFailed):
        await plugin.ask(deadline=1)


async def test_anothers_socket_does_not_pass_for_ours(
    tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who put a socket in our place is not us."""
    caplog.set_level(logging.CRITICAL)
    folder: Path = tmp_path_factory.mktemp("k")
    ours = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    other = KubeletPlugin("other.example.org", Driver(), kubelet_dir=folder)
    async with ours, other:
        ours.paths.registration.unlink()
        other.paths.registration.rename(ours.paths.registration)
        with pytest.raises(KubeletFailed, match=r"answered by driver 'other\.example\.org'"):
            await ours.ask(deadline=5)
        ours.paths.registration.unlink()
