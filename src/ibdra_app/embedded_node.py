"""A cluster of one node, in memory: all that a DRA driver meets there, and no cluster.

Why: a driver's demo and tests should go the whole way of a pod, over the kubelet's real
sockets and by the CDI files on disk, on any machine.  API server and scheduler are
simulations; what the driver and the kubelet say to each other is not.  Nothing InfiniBand
in it: our own demo runs on it, and so can another driver's.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ibdra_adapters.cel.evaluator import CelSelectors
from ibdra_adapters.kube.decoding import decoded
from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_adapters.kubelet import FakeKubelet, KubeletPlugin
from ibdra_adapters.manifests.documents import read_manifests
from ibdra_adapters.simulation.runtime import HookRunner, SimulatedRuntime, StartedContainer
from ibdra_adapters.simulation.scheduler import SimulatedScheduler
from ibdra_app.embedded_pods import (
    BoundPod,
    Json,
    Prepared,
    RunningPod,
    by_driver,
    cdi_ids,
    entries,
)
from ibdra_app.kube_ports import in_memory
from ibdra_app.slice_publisher import SlicePublisher
from ibdra_domain.errors import AttachRefused, ClaimRefused, InvalidManifest
from ibdra_domain.kube_objects import Device, DeviceClass, ResourceClaim, ResourceSlice
from ibdra_domain.ports.driver import DraDriver, PreparedDevice
from ibdra_domain.ports.selectors import Selectors


class EmbeddedNode:
    """One node with its kubelet and runtime, and a cluster around it.

    Use it as an async context manager, and have drivers there with :meth:`with_driver`; or
    start a ``KubeletPlugin`` in this node's ``kubelet_folder`` and call :meth:`register`.

    Parameters
    ----------
    name:
        The node's.
    kubelet_folder, cdi_folder:
        Where the driver puts its sockets and CDI specs.
    api:
        The API server to use; one that has this node is made if there is none.
    selectors:
        Evaluates CEL; by default as ``ibdra match`` does.
    run_hook:
        Runs what a CDI spec wants run before a container starts; by default it is refused.
    """

    def __init__(
        self,
        *,
        name: str,
        kubelet_folder: Path,
        cdi_folder: Path,
        api: FakeKubeApi | None = None,
        selectors: Selectors | None = None,
        run_hook: HookRunner | None = None,
    ) -> None:
        self.name = name
        self.kubelet_folder = kubelet_folder
        self.cdi_folder = cdi_folder
        self.api = _api_with(name) if api is None else api
        self.kubelet = FakeKubelet(kubelet_folder)
        self._classes: dict[str, DeviceClass] = {}
        self._scheduler = SimulatedScheduler(selectors or CelSelectors(), self._classes)
        self._runtime = SimulatedRuntime(cdi_folder, run_hook=run_hook or _no_hook)

    @classmethod
    def below(cls, folder: Path, *, name: str = "demo-node") -> Self:
        """Make a node with its folders below a throw-away one; keep that one's path short."""
        return cls(name=name, kubelet_folder=folder / "kubelet", cdi_folder=folder / "cdi")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kubelet.close()

    @asynccontextmanager
    async def with_driver(
        self, name: str, driver: DraDriver, *, devices: Sequence[Device] = ()
    ) -> AsyncIterator[KubeletPlugin]:
        """Have a driver here: registered, its devices published, and gone at the end."""
        kube = in_memory(self.api, driver=name, node=self.name)
        publisher = SlicePublisher(
            slices=kube.slices, nodes=kube.nodes, driver=name, node=self.name
        )
        async with KubeletPlugin(name, driver, kubelet_dir=self.kubelet_folder) as plugin:
            await self.register()
            publisher.publish(devices)
            yield plugin

    async def register(self) -> None:
        """Let the kubelet look for drivers.  Raises KubeletFailed for one that does not fit."""
        await self.kubelet.register()

    def apply(self, *files: Path) -> list[Json]:
        """Create the objects of manifests; gives them as the server has them.

        Raises InvalidManifest, and KubeConflict for what there is already.
        """
        return [self.create(body) for path in files for body in _bodies(path)]

    def create(self, body: Json) -> Json:
        """Create one object."""
        made = self.api.create(body)
        if made["kind"] == "DeviceClass":
            self._classes[made["metadata"]["name"]] = decoded(made, DeviceClass)
        return made

    def delete(self, objects: Iterable[Json]) -> None:
        """Delete objects again."""
        for body in objects:
            metadata = body["metadata"]
            self.api.delete(body["kind"], metadata.get("namespace", ""), metadata["name"])
            if body["kind"] == "DeviceClass":
                del self._classes[metadata["name"]]

    async def start(self, pod: Json) -> RunningPod:
        """Do everything up to the pod's containers running, as far as it goes.

        Raises what :meth:`start_container` raises; the claims stay prepared then.
        """
        bound = self.bind(pod)
        if isinstance(bound, str):
            return RunningPod(bound=BoundPod(pod=pod, claims={}), why_not=bound)
        prepared = await self.prepare(bound)
        refused = [answer for answer in prepared.values() if isinstance(answer, str)]
        if refused:
            return RunningPod(bound=bound, why_not="; ".join(refused))
        containers = tuple(
            self.start_container(spec, bound, prepared, pid=os.getpid())
            for spec in pod["spec"]["containers"]
        )
        return RunningPod(bound=bound, containers=containers)

    async def end(self, running: RunningPod) -> None:
        """End a pod, as far as it has come.

        Raises ClaimRefused if its driver does not take the devices back.
        """
        errors = await self.unprepare(running.bound)
        self.unbind(running.bound)
        if errors:
            raise ClaimRefused("; ".join(errors), remedy="see the driver's log")

    def bind(self, pod: Json) -> BoundPod | str:
        """Make the pod's claims from their templates and allocate them, or say why not.

        Claims with names of their own are taken too, but each by one pod at a time.
        """
        claims = {e["name"]: self._claim(pod, e) for e in pod["spec"].get("resourceClaims", ())}
        bound = BoundPod(pod=pod, claims=claims)
        slices = tuple(decoded(one, ResourceSlice) for one in self.api.list("ResourceSlice"))
        for entry, claim in claims.items():
            allocation = self._scheduler.allocate(decoded(claim, ResourceClaim), slices)
            if isinstance(allocation, str):
                self.unbind(bound)
                return allocation
            claims[entry] = self.api.replace(claim | {"status": {"allocation": allocation}})
        return bound

    def unbind(self, bound: BoundPod) -> None:
        """Deallocate the pod's claims, and delete those that were made for it."""
        made = {e["name"]: "resourceClaimTemplateName" in e for e in entries(bound.pod)}
        for entry, claim in bound.claims.items():
            self._scheduler.release(claim["metadata"]["uid"])
            if made[entry]:
                self.delete([claim])
            else:
                self.api.replace({k: v for k, v in claim.items() if k != "status"})

    async def prepare(self, bound: BoundPod) -> Prepared:
        """Have each claim prepared by the drivers that it has devices of."""
        answers: dict[str, tuple[PreparedDevice, ...] | str] = {}
        for driver, refs in by_driver(bound).items():
            given = await self.kubelet.prepare(refs, driver_name=driver)
            for uid, answer in given.items():
                before = answers.get(uid, ())
                if isinstance(before, str) or isinstance(answer, str):
                    answers[uid] = before if isinstance(before, str) else answer
                else:
                    answers[uid] = (*before, *answer)
        return answers

    async def unprepare(self, bound: BoundPod) -> tuple[str, ...]:
        """Have all claims unprepared; gives the drivers' errors."""
        errors: list[str] = []
        for driver, refs in by_driver(bound).items():
            given = await self.kubelet.unprepare(refs, driver_name=driver)
            errors += [error for error in given.values() if error is not None]
        return tuple(errors)

    def start_container(
        self, spec: Json, bound: BoundPod, prepared: Prepared, *, pid: int
    ) -> StartedContainer:
        """Start a container with what the CDI specs of its claims say.

        Raises CdiFailed, and what a hook raises.
        """
        ids = cdi_ids(spec, bound.refs, prepared)
        return self._runtime.start(spec["name"], pid=pid, cdi_ids=ids)

    def left(self) -> tuple[str, ...]:
        """List the CDI files, sockets and claims that there are."""
        files = [
            str(path)
            for folder in (self.cdi_folder, self.kubelet_folder)
            for path in sorted(folder.rglob("*"))
            if not path.is_dir()
        ]
        claims = [f"ResourceClaim {c['metadata']['name']}" for c in self.api.list("ResourceClaim")]
        return (*files, *claims)

    def _claim(self, pod: Json, entry: Json) -> Json:
        """Make the claim that the claim controller would make for a pod, or find it."""
        namespace = pod["metadata"]["namespace"]
        if "resourceClaimTemplateName" not in entry:
            return self.api.get("ResourceClaim", namespace, entry["resourceClaimName"])
        name = entry["resourceClaimTemplateName"]
        template = self.api.get("ResourceClaimTemplate", namespace, name)
        made = f"{pod['metadata']['name']}-{entry['name']}"
        return self.api.create(
            {
                "apiVersion": template["apiVersion"],
                "kind": "ResourceClaim",
                "metadata": {"namespace": namespace, "name": made},
                "spec": template["spec"]["spec"],
            }
        )


def _api_with(node: str) -> FakeKubeApi:
    api = FakeKubeApi()
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
    return api


def _bodies(path: Path) -> list[Json]:
    manifests, problems = read_manifests(path)
    for problem in problems:
        raise InvalidManifest(
            f"{problem.source}:{problem.line}: {problem.problem}", remedy="mend the file"
        )
    return [manifest.body for manifest in manifests]


def _no_hook(path: str, _args: tuple[str, ...], _state: bytes) -> None:
    raise AttachRefused(
        f"the CDI spec wants {path} run, and nothing here runs hooks", remedy="give run_hook"
    )
