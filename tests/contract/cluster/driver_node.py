"""A node that runs our driver on a simulated machine, and what its kubelet and runtime do.

Why: between a real scheduler and the driver's real sockets only the kubelet is missing.
This plays it, in the order and with the checks of the real one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import load_profile
from ibdra_adapters.simulation.runtime import SimulatedRuntime, StartedContainer
from ibdra_app.container import Container
from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice
from ibdra_domain.ports.runtime import ContainerStart

Json = dict[str, Any]
ResultT = TypeVar("ResultT")
PATIENCE = 60.0


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, ResultT], timeout: float = PATIENCE) -> ResultT:
        """Run something in the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def begin(self, work: Coroutine[Any, Any, ResultT]) -> concurrent.futures.Future[ResultT]:
        """Run something in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Instance:
    """One process of the driver; two of them are a rolling update."""

    def __init__(self, loop: Loop, settings: Settings, machine: SimulatedMachine) -> None:
        self._loop = loop
        self.container = Container(settings=settings)
        self.container.machine.override(machine)
        self._stop = asyncio.Event()
        self._daemon = self.container.daemon()
        self._running = loop.begin(self._daemon.run(self._stop))
        loop.call(self._ready())

    async def _ready(self) -> None:
        while not self._daemon.ready.is_set():
            if self._running.done():
                self._running.result()
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        """Stop it as SIGTERM does."""
        self._loop.loop.call_soon_threadsafe(self._stop.set)
        self._running.result(PATIENCE)


class DriverNode:
    """A node's driver, kubelet and container runtime."""

    def __init__(
        self,
        admin: Admin,
        node: str,
        folder: Path,
        *,
        kubeconfig: Path,
        profile: str = "dgx-h100",
        change: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        self.admin, self.node, self.folder = admin, node, folder
        self.settings = change(
            Settings(
                node=node,
                simulate=profile,
                kube=KubeSource.CLUSTER,
                kubeconfig=kubeconfig,
                kubelet_folder=folder / "k",
                cdi_folder=folder / "cdi",
                state_folder=folder / "state",
                run_folder=folder / "run",
            )
        )
        self.machine = SimulatedMachine(load_profile(profile), folder / "sys")
        self.loop = Loop()
        self.kubelet = FakeKubelet(self.settings.kubelet_folder)
        self.runtime = SimulatedRuntime(self.settings.cdi_folder, run_hook=self._run_hook)
        self.driver: Instance

    def __enter__(self) -> Self:
        self.driver = self.start_driver(self.settings)
        self.register()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.loop.call(self.kubelet.close())
        self.driver.stop()
        self.loop.close()

    @property
    def container(self) -> Container:
        """Give what the driver is wired from."""
        return self.driver.container

    def restart(self) -> None:
        """Stop the driver and start it anew, with nothing but what it wrote down."""
        self.driver.stop()
        self.driver = self.start_driver(self.settings)
        self.register()

    def start_driver(self, settings: Settings) -> Instance:
        """Start a process of the driver on this node's machine."""
        return Instance(self.loop, settings, self.machine)

    def register(self) -> None:
        """Let the kubelet look for drivers."""
        self.loop.call(self.kubelet.register())

    def slices(self) -> list[Json]:
        """Give the node's slices, as the server has them."""
        found = self.admin.list("ResourceSlice", fields=f"spec.nodeName={self.node}")
        return sorted(found, key=lambda one: str(one["metadata"]["name"]))

    def devices(self) -> dict[str, Json]:
        """Give the published devices by name."""
        return {d["name"]: d for s in self.slices() for d in s["spec"].get("devices") or ()}

    def await_slices(self, liked: Callable[[list[Json]], object], *, what: str) -> list[Json]:
        """Wait until the node's slices are as they should be."""

        def look() -> list[Json] | None:
            found = self.slices()
            return found if liked(found) else None

        return wait_until(look, what=what, seconds=PATIENCE, last=self.slices)

    def prepare(self, *claims: Json) -> dict[str, tuple[PreparedDevice, ...] | str]:
        """Ask the driver, as the kubelet does for a pod's claims."""
        return dict(self.loop.call(self.kubelet.prepare([ref(claim) for claim in claims])))

    def unprepare(self, *claims: Json) -> dict[str, str | None]:
        """Ask the driver, as the kubelet does when a pod has ended."""
        return dict(self.loop.call(self.kubelet.unprepare([ref(claim) for claim in claims])))

    def claims_of(self, pod: Json) -> dict[str, Json]:
        """Wait until a pod is bound here and all its claims are its own; by their names in it."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        self.admin.wait_bound(name, namespace=namespace)
        return {
            entry["name"]: self.admin.claim_of(name, namespace=namespace, entry=entry["name"])
            if "resourceClaimTemplateName" in entry
            else self._named(entry["resourceClaimName"], pod)
            for entry in pod["spec"]["resourceClaims"]
        }

    def _named(self, claim: str, pod: Json) -> Json:
        """Wait until a claim that has a name of its own is the pod's."""

        def is_reserved(found: Json) -> bool:
            consumers = found.get("status", {}).get("reservedFor", ())
            return any(c["uid"] == pod["metadata"]["uid"] for c in consumers)

        namespace = pod["metadata"]["namespace"]
        return self.admin.wait_for("ResourceClaim", claim, is_reserved, namespace=namespace)

    def start(self, pod: Json, *, pid: int | None = None) -> RunningPod:
        """Do everything up to the pod's containers running.  AssertionError if it is refused."""
        claims = self.claims_of(pod)
        answers = self.prepare(*claims.values())
        refused = [answer for answer in answers.values() if isinstance(answer, str)]
        assert not refused, refused
        kernel = self.machine.kernel
        host = pod["spec"].get("hostNetwork", False)
        if pid is None:
            pid = kernel.start_process(kernel.init_netns if host else None)
        started = []
        for spec in pod["spec"]["containers"]:
            prepared = {entry: answers[claim["metadata"]["uid"]] for entry, claim in claims.items()}
            ids = _cdi_ids(spec, prepared)
            started.append(self.runtime.start(spec["name"], pid=pid, cdi_ids=ids))
        self.admin.end_pod(
            pod["metadata"]["name"], namespace=pod["metadata"]["namespace"], phase="Running"
        )
        return RunningPod(pod=pod, pid=pid, claims=claims, containers=tuple(started))

    def end(self, running: RunningPod) -> None:
        """End a pod and delete it, as its kubelet does."""
        self.machine.kernel.end_process(running.pid)
        answers = self.unprepare(*running.claims.values())
        assert [None] * len(answers) == list(answers.values())
        name, namespace = running.pod["metadata"]["name"], running.pod["metadata"]["namespace"]
        self.admin.end_pod(name, namespace=namespace)
        self.admin.delete_pod(name, namespace=namespace)
        for claim in running.claims.values():
            self.admin.wait_gone("ResourceClaim", claim["metadata"]["name"], namespace=namespace)

    def left(self) -> list[str]:
        """List what is on the disk though no claim is."""
        folders = (self.settings.cdi_folder, self.settings.state_folder)
        return [
            str(path)
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        ]

    def _run_hook(self, _path: str, args: tuple[str, ...], state: bytes) -> None:
        oci = msgspec.json.decode(state)
        self.container.attaching().attach(
            ContainerStart(claim=args[2], pid=oci["pid"], container=oci["id"], nodes=args[3])
        )


class RunningPod(msgspec.Struct, kw_only=True):
    """A pod whose containers run."""

    pod: Json
    pid: int
    claims: dict[str, Json]
    containers: tuple[StartedContainer, ...]


def ref(claim: Json) -> ClaimRef:
    """Name a claim as the kubelet does."""
    metadata = claim["metadata"]
    return ClaimRef(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])


def _cdi_ids(spec: Json, prepared: Mapping[str, tuple[PreparedDevice, ...] | str]) -> list[str]:
    ids: list[str] = []
    for reference in spec.get("resources", {}).get("claims", ()):
        wanted = reference.get("request")
        for device in prepared[reference["name"]]:
            if isinstance(device, PreparedDevice) and (not wanted or wanted in device.requests):
                ids += device.cdi_ids
    return ids
