"""The running agent sees ports fall and rise by itself, and tells everybody in time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ibdra_adapters.kubelet import FakeKubelet
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus
from unit.app.app_node import PF, VF, Node, running_node
from unit.app.test_daemon import SECONDS, eventually, running

TOLD_WITHIN = 2.0


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """Run a node's agent, until it has published."""
    with TemporaryDirectory(prefix="ib") as folder, running_node(Path(folder)) as made:
        async with running(made.container.daemon()):
            await made.container.daemon().ready.wait()
            await eventually(lambda: bool(made.container.device_watches().followed))
            await eventually(lambda: made.container.publishing().published)
            yield made


def tainted(node: Node, name: str) -> bool:
    """Tell whether a device's taint is in its slice."""
    slices = node.container.kube().slices.list()
    return any(d.taints for s in slices for d in s.spec.devices if d.name == name)


def status_of(devices: tuple[DeviceHealth, ...], name: str) -> HealthStatus:
    """Find a device in what the kubelet is told."""
    return next(d.status for d in devices if d.device == name)


async def test_a_fall_is_told_by_the_device_itself(node: Node) -> None:
    """Nothing but its open device says so, and slices and kubelet know within two seconds."""
    async with (
        asyncio.timeout(SECONDS),
        FakeKubelet(node.folder / "kubelet") as kubelet,
    ):
        await kubelet.register()
        async with aclosing(kubelet.watch_health()) as lists:
            assert HealthStatus.HEALTHY is status_of(await anext(lists), PF)
            before = time.monotonic()
            node.container.machine().set_port_state("mlx5_0", PortState.DOWN)
            assert HealthStatus.UNHEALTHY is status_of(await anext(lists), PF)
            await eventually(lambda: tainted(node, PF))
            assert time.monotonic() - before < TOLD_WITHIN


async def test_what_is_calm_again_is_told_without_an_event(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look for it is due by itself."""
    monkeypatch.setattr("ibdra_domain.health.CALM", 0.5)
    machine = node.container.machine()
    machine.set_port_state("mlx5_0v0", PortState.DOWN)
    await eventually(lambda: tainted(node, VF))
    machine.set_port_state("mlx5_0v0", PortState.ACTIVE)
    await eventually(lambda: not tainted(node, VF))


async def test_a_burst_of_events_is_not_waited_for_busily(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The descriptors stay readable until they are read; the loop must sleep meanwhile."""
    monkeypatch.setattr("ibdra_app.watching.BURST", 1.0)
    looks: list[float] = []
    look: Callable[[], object] = node.container.publishing().look

    def counted() -> object:
        looks.append(time.monotonic())
        return look()

    monkeypatch.setattr(node.container.publishing(), "look", counted)
    cpu = time.process_time()
    for state in (PortState.DOWN, PortState.INIT, PortState.ARMED, PortState.DOWN):
        node.container.machine().set_port_state("mlx5_0v0", state)
    await eventually(lambda: tainted(node, VF))
    assert 1 <= len(looks) <= 2
    assert time.process_time() - cpu < 0.7
