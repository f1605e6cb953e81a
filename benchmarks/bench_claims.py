"""Prepare and unprepare over the kubelet's real sockets, on the simulated DGX H100."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from ibdra_adapters.kubelet import FakeKubelet
from ibdra_app.container import Container, wired
from ibdra_app.settings import Settings
from ibdra_domain.ports.driver import ClaimRef
from measure import tell

CALLS = 100


def allocated_claim(container: Container, number: int, device: str) -> ClaimRef:
    """Create a claim that the scheduler has given one device."""
    result = {"request": "hca", "driver": "ib.sigs.k8s.io", "pool": "node", "device": device}
    body = container.api().create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"namespace": "bench", "name": f"claim-{number}"},
            "status": {"allocation": {"devices": {"results": [result]}}},
        }
    )
    metadata = body["metadata"]
    return ClaimRef(namespace="bench", name=metadata["name"], uid=metadata["uid"])


async def measure(container: Container, folder: Path) -> dict[str, list[float]]:
    """Time each call of both methods."""
    container.recovery().run()
    devices = [d for d in container.discovery().take().devices if d.parent_pci is not None]
    spent: dict[str, list[float]] = {"prepare": [], "prepare again": [], "unprepare": []}
    kubelet = FakeKubelet(folder / "kubelet")
    async with container.plugin(), kubelet:
        await kubelet.register()
        for number in range(CALLS):
            claim = allocated_claim(container, number, devices[number % len(devices)].name)
            for what, call in (
                ("prepare", kubelet.prepare),
                ("prepare again", kubelet.prepare),
                ("unprepare", kubelet.unprepare),
            ):
                start = time.perf_counter()
                answer = await call([claim])
                spent[what].append(time.perf_counter() - start)
                if isinstance(answer[claim.uid], str):
                    raise SystemExit(f"{what} was refused: {answer[claim.uid]}")
    return spent


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            node="node",
            simulate="dgx-h100",
            kubelet_folder=folder / "kubelet",
            cdi_folder=folder / "cdi",
            state_folder=folder / "state",
            run_folder=folder / "run",
        )
        with wired(settings) as container:
            spent = asyncio.run(measure(container, folder))
    for what, samples in spent.items():
        tell(f"{what}, one claim, 40 devices on the node", samples)


if __name__ == "__main__":
    main()
