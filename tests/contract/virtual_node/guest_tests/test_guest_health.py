"""A port of the kernel's goes down: in the slices, in the kubelet's stream, and in a taint.

Why: in simulation the news come from us.  Here the kernel has to tell, and to be asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.virtual_node import inside
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_app.container import Container, wired
from ibdra_app.settings import Settings
from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.driver import HealthStatus

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
_SECONDS = 120.0
_TOLD_WITHIN = 2.0


def published(container: Container, name: str) -> Device | None:
    """Read a device as the slices have it; None before the first are written."""
    slices = container.kube().slices.list()
    return next((d for s in slices for d in s.spec.devices if d.name == name), None)


async def becomes(what: str, look: Callable[[], bool]) -> float:
    """Wait until something is so; give the seconds it took."""
    began = time.monotonic()
    while not await asyncio.to_thread(look):
        assert time.monotonic() < began + _SECONDS, what
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_a_port_that_goes_down_is_told_and_forgiven(tmp_path: Path) -> None:
    """Down within two seconds, in all three places; up again when it has been calm."""
    hca = inside.physical_functions()[0]
    name = f"pci-{hca.name.replace(':', '-').replace('.', '-')}-port1"
    settings = Settings(
        node="node-a",
        kubelet_folder=tmp_path / "kubelet",
        cdi_folder=tmp_path / "cdi",
        state_folder=tmp_path / "state",
        run_folder=tmp_path / "run",
    )
    seen: list[HealthStatus] = []
    with wired(settings) as container:
        daemon, stop = container.daemon(), asyncio.Event()
        running = asyncio.create_task(daemon.run(stop))
        async with asyncio.timeout(_SECONDS):
            await daemon.ready.wait()

        async def follow(kubelet: FakeKubelet) -> None:
            async for devices in kubelet.watch_health():
                seen.extend(d.status for d in devices if d.device == name)

        def shows(state: str, *, tainted: bool) -> bool:
            device = published(container, name)
            status = HealthStatus.UNHEALTHY if tainted else HealthStatus.HEALTHY
            return (
                device is not None
                and device.attributes["portState"].value == state
                and bool(device.taints) == tainted
                and seen[-1:] == [status]
            )

        async with FakeKubelet(settings.kubelet_folder) as kubelet:
            await kubelet.register()
            following = asyncio.create_task(follow(kubelet))
            try:
                await becomes("active", lambda: shows("Active", tainted=False))
                inside.write(hca / "stub_port_state", "DOWN")
                took = await becomes("down", lambda: shows("Down", tainted=True))
                inside.write(hca / "stub_port_state", "ACTIVE")
                await becomes("active again", lambda: shows("Active", tainted=False))
            finally:
                inside.write(hca / "stub_port_state", "ACTIVE")
                following.cancel()
                stop.set()
                await running
    assert took < _TOLD_WITHIN, f"told after {took:.1f} s on an emulated processor"
