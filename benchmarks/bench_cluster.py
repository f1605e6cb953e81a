"""`ibdra run` as a program, between a kubelet's sockets and a real API server, on this machine.

What a claim costs with the server's own part in it, how long a node waits for its driver, and
what the driver takes and keeps of memory.  Claims are allocated here: a scheduler's time would
hide ours.  The API server shares the processors with all else, so times are upper bounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from bench_webhook import resident
from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.driver_node import ref
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_app.container import wired
from ibdra_app.kube_sources import make_kube
from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.inventory import FunctionType
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import ClaimRef
from measure import row, tell

HERE = Path(__file__).parent
NEWEST = building.kubernetes_minors()[0]
PROGRAM = Path(sys.executable).with_name("ibdra")
STARTS = 5
CHANGES = 20
SHAPES = ((1, 1, 200), (8, 1, 50), (1, 16, 25))
"""Claims a call, callers at once, rounds; 1,000 claims in all."""

PATIENCE = 60.0
VF = {"string": FunctionType.VF.value}


class Node:
    """A node of the cluster, and its driver's program."""

    def __init__(self, plane: ControlPlane, name: str, profile: str, folder: Path) -> None:
        self.name, self.profile, self.folder = name, profile, folder
        self.kubeconfig = plane.kubeconfig
        self.admin = Admin.of(plane.kubeconfig)
        self.admin.register_node(name)
        self.namespace = self.admin.create_namespace()
        self._claims = 0

    @contextmanager
    def driver(self) -> Iterator[int]:
        """Run the program; gives its process."""
        command = [
            *(str(PROGRAM), "run", f"--simulate={self.profile}", f"--node={self.name}"),
            *(f"--kubeconfig={self.kubeconfig}", f"--kubelet-dir={self.folder / 'kubelet'}"),
            *(f"--cdi-dir={self.folder / 'cdi'}", f"--state-dir={self.folder / 'state'}"),
            f"--run-dir={self.folder / 'run'}",
            f"--instance={uuid4()}",  # as pods have; and gRPC waits longer for a path that it lost
        ]
        path = self.folder / "log"
        with path.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process.pid
        finally:
            ended = process.poll()
            process.terminate()
            process.wait()
            if ended is not None:
                print(f"the driver has ended with {ended}; its log ends:")
                print("\n".join(path.read_text().splitlines()[-20:]))

    def vfs(self) -> tuple[list[str], int]:
        """Wait until all is published; gives the VFs, and how many devices there are."""

        def complete() -> list[dict[str, Any]] | None:
            found = self.admin.list("ResourceSlice", fields=f"spec.nodeName={self.name}")
            wanted = {one["spec"]["pool"]["resourceSliceCount"] for one in found}
            return list(found) if {len(found)} == wanted else None

        slices = wait_until(complete, what="the node's slices", seconds=PATIENCE)
        devices = [d for one in slices for d in one["spec"].get("devices") or ()]
        vfs = [d["name"] for d in devices if d["attributes"]["type"] == VF]
        return vfs, len(devices)

    def allocated(self, devices: list[str]) -> list[ClaimRef]:
        """Create claims that have these devices, one each."""
        first, self._claims = self._claims, self._claims + len(devices)
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(self._one, range(first, self._claims), devices))

    def _one(self, number: int, device: str) -> ClaimRef:
        request = {"name": "vf", "exactly": {"deviceClassName": "vf.ib.sigs.k8s.io"}}
        made = self.admin.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {"namespace": self.namespace, "name": f"claim-{number}"},
                "spec": {"devices": {"requests": [request]}},
            }
        )
        result = {"request": "vf", "driver": "ib.sigs.k8s.io", "pool": self.name, "device": device}
        made["status"] = {"allocation": {"devices": {"results": [result]}}}
        return ref(self.admin.replace(made, subresource="status"))


async def registered(kubelet: FakeKubelet) -> None:
    """Look for the driver as the kubelet does, until it has registered."""
    async with asyncio.timeout(PATIENCE):
        while not kubelet.plugins:
            try:
                await kubelet.register()
            except KubeletFailed:  # the socket is there, and not served yet
                continue
            finally:
                await asyncio.sleep(0.002)


async def starts(node: Node) -> None:
    """Time the program from its start to its registration."""
    spent, busy = [], []
    for _ in range(STARTS):
        async with FakeKubelet(node.folder / "kubelet") as kubelet:
            began = time.perf_counter()
            with node.driver() as pid:
                await registered(kubelet)
                spent.append(time.perf_counter() - began)
                busy.append(processor_time(pid))
                await asyncio.to_thread(node.vfs)
    row(
        f"start to registered, {node.profile}",
        f"{statistics.median(spent) * 1e3:.0f} ms",
        f"slowest {max(spent) * 1e3:.0f} ms of {STARTS}; "
        f"{statistics.median(busy) * 1e3:.0f} ms of a processor",
    )


def processor_time(pid: int) -> float:
    """Give the seconds that a process has had a processor, which a busy machine changes little."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def claims(node: Node, shapes: tuple[tuple[int, int, int], ...], *, memory: bool) -> None:
    """Prepare and unprepare in every shape; the process' memory around it."""
    async with FakeKubelet(node.folder / "kubelet") as kubelet:
        with node.driver() as pid:
            await registered(kubelet)
            vfs, devices = await asyncio.to_thread(node.vfs)
            before = resident(pid)
            for size, callers, rounds in shapes:
                spent: dict[str, list[float]] = {"prepare": [], "unprepare": []}
                for _ in range(rounds):
                    wanted = vfs[: size * callers]
                    if len(wanted) < size * callers:
                        raise SystemExit(f"{len(vfs)} VFs do not do for {size} x {callers} claims")
                    refs = await asyncio.to_thread(node.allocated, wanted)
                    calls = [refs[n : n + size] for n in range(0, len(refs), size)]
                    for what, call in (
                        ("prepare", kubelet.prepare),
                        ("unprepare", kubelet.unprepare),
                    ):
                        spent[what] += await asyncio.gather(*(timed(call, one) for one in calls))
                for what, samples in spent.items():
                    many = f"{size} claim{'s' * (size > 1)} a call, {callers} at once"
                    tell(f"{what}, {many}, {devices} devices", samples)
            if memory:
                done = sum(size * callers * rounds for size, callers, rounds in shapes)
                row(
                    "memory of the driver after its start",
                    f"{before:.1f} MiB",
                    f"{resident(pid):.1f} after {done} claims came and went",
                )


async def timed(call: Callable[..., Any], refs: list[ClaimRef]) -> float:
    """Make one call; a refusal ends the measurement."""
    start = time.perf_counter()
    answer = await call(refs)
    spent = time.perf_counter() - start
    for said in answer.values():
        if isinstance(said, str):
            raise SystemExit(f"refused: {said}")
    return spent


def publishing(plane: ControlPlane, folder: Path) -> bool:
    """Count the calls for one port's change among a thousand; tells whether it was one write."""
    Admin.of(plane.kubeconfig).register_node("large")
    settings = Settings(
        node="large",
        simulate=str(HERE / "1024-vfs.toml"),
        kube=KubeSource.CLUSTER,
        kubeconfig=plane.kubeconfig,
        cdi_folder=folder / "cdi",
        state_folder=folder / "state",
        run_folder=folder / "run",
    )
    calls: Counter[str] = Counter()
    with wired(settings) as container:
        observed = make_kube(settings, container.api, lambda verb, _: calls.update([verb]))
        container.kube.override(observed)
        inventory, _ = container.publishing().publish()
        first, machine = sum(calls.values()), container.machine()
        changed = [one for one in machine.hcas.values() if one.physfn is not None][:CHANGES]
        spent = []
        calls.clear()
        for hca in changed:
            (port, *_) = hca.ports
            down = replace(port, state=PortState.DOWN)
            machine.change(replace(hca, ports=(down,)))
            start = time.perf_counter()
            container.publishing().publish()
            spent.append(time.perf_counter() - start)
    reads = sum(count for verb, count in calls.items() if verb in ("GET", "get"))
    writes = sum(calls.values()) - reads
    row(
        f"one port's change, {len(inventory.devices)} devices on the node",
        f"{writes / CHANGES:g} writes",
        f"{reads / CHANGES:g} reads, the first time {first} calls",
    )
    tell("the same, with a look at every device", spent)
    return (writes, reads) == (CHANGES, 0)


def many_vfs(folder: Path) -> str:
    """Describe a node of 8 HCAs with 16 VFs each: sixteen callers want eight devices each."""
    text = (HERE / "1024-vfs.toml").read_text()
    profile = folder / "128-vfs.toml"
    profile.write_text(text.replace("vfs = 128\n[[hcas.ports]]", "vfs = 16\n[[hcas.ports]]"))
    return str(profile)


def main() -> None:
    """Measure and print; exit 1 if a port's change is more than one write."""
    try:
        building.check_machine()
        builds = (building.etcd(), building.kubernetes(NEWEST))
        missing = [one.name for one in builds if not building.is_built(one)]
    except building.Lacking as reason:
        row("with a real API server", "-", str(reason))
        return
    if missing:
        said = f"needs {' and '.join(missing)}, which `make test-cluster` builds"
        row("with a real API server", "-", said)
        return
    with tempfile.TemporaryDirectory(prefix="ibdra-") as name, ControlPlane(NEWEST) as plane:
        folders = {one: Path(name, one) for one in ("a", "b", "c")}
        for folder in folders.values():
            folder.mkdir()
        node = Node(plane, "node", "dgx-h100", folders["a"])
        asyncio.run(starts(node))
        asyncio.run(claims(node, SHAPES, memory=True))
        wide = Node(plane, "wide", many_vfs(folders["b"]), folders["b"])
        asyncio.run(claims(wide, ((8, 16, 2),), memory=False))
        is_one_write = publishing(plane, folders["c"])
    if not is_one_write:
        sys.exit("a port's change must be one write and no read")


if __name__ == "__main__":
    main()
