"""64 containers start at once: how long each waits for its devices, on a simulated node.

Moves are done one at a time, so the last of 64 waits for all others: what one attach costs
by itself is the first row, and what its three synced records cost the second.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

from bench_claims import allocated_claim
from ibdra_app.container import Container, wired
from ibdra_app.settings import Settings
from ibdra_domain.errors import AttachRefused, IbdraError
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.runtime import ContainerStart
from measure import medians, row, tell

AT_ONCE = 64
ROUNDS = 5
RECORDS = 3


def profile(folder: Path) -> Path:
    """Describe a node of 8 HCAs with 8 VFs each."""
    text = Path(__file__).with_name("1024-vfs.toml").read_text()
    small = folder / "64-vfs.toml"
    small.write_text(text.replace("vfs = 128\n[[hcas.ports]]", "vfs = 8\n[[hcas.ports]]"))
    return small


def attach(container: Container, claim: ClaimRef, pid: int) -> float:
    """Start a container as a runtime does, which tries again if the node numbers were wrong."""
    start = ContainerStart(claim=claim.uid, pid=pid)
    began = time.perf_counter()
    try:
        container.attaching().attach(start)
    except AttachRefused as refused:
        if "device nodes" not in str(refused):
            raise
        container.attaching().attach(start)
    return time.perf_counter() - began


def prepared(container: Container) -> list[tuple[ClaimRef, int]]:
    """Prepare a claim for each VF, and start a pod for each claim."""
    found = []
    vfs = [d for d in container.discovery().take().devices if d.parent_pci is not None]
    for number, vf in enumerate(vfs[:AT_ONCE]):
        claim = allocated_claim(container, number, vf.name)
        answer = container.preparing().prepare([claim])[claim.uid]
        if isinstance(answer, IbdraError):
            raise answer
        found.append((claim, container.machine().kernel.start_process()))
    if len(found) != AT_ONCE:
        raise SystemExit(f"{len(found)} VFs instead of {AT_ONCE}")
    return found


def ended(container: Container, pods: list[tuple[ClaimRef, int]]) -> None:
    """End the pods, and take everything back."""
    for claim, pid in pods:
        container.machine().kernel.end_process(pid)
        container.preparing().unprepare([claim])
        container.api().delete("ResourceClaim", claim.namespace, claim.name)


def alone(container: Container) -> list[float]:
    """Attach one after another."""
    pods = prepared(container)
    spent = [attach(container, claim, pid) for claim, pid in pods]
    ended(container, pods)
    return spent


def at_once(container: Container) -> list[float]:
    """Attach all together."""
    pods, barrier = prepared(container), Barrier(AT_ONCE)

    def one(pod: tuple[ClaimRef, int]) -> float:
        barrier.wait()
        return attach(container, *pod)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        spent = list(pool.map(one, pods))
    ended(container, pods)
    return spent


def synced(folder: Path) -> None:
    """Write what an attach writes: each record synced, and its folder."""
    for number in range(RECORDS):
        with (folder / "floor").open("wb") as file:
            file.write(bytes(2000))
            os.fsync(file.fileno())
        (folder / "floor").replace(folder / f"floor-{number}")
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def main() -> None:
    """Measure and print."""
    logging.getLogger("ibdra_app").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = Settings(
            node="node",
            simulate=str(profile(folder)),
            cdi_folder=folder / "cdi",
            state_folder=folder / "state",
            run_folder=folder / "run",
        )
        with wired(settings) as container:
            container.recovery().run()
            tell(
                "attach, one after another, 72 devices on the node",
                [spent for _ in range(ROUNDS) for spent in alone(container)],
            )
            floor = medians({"floor": partial(synced, folder)})["floor"]
            row(f"{RECORDS} synced records and nothing else", f"{floor * 1e3:.1f} ms")
            tell(
                f"attach, {AT_ONCE} at once",
                [spent for _ in range(ROUNDS) for spent in at_once(container)],
            )


if __name__ == "__main__":
    main()
