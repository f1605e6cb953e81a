"""The driver's whole job on one node: a simulated one, or this machine with its own HCAs.

Why: a newcomer should see in ten seconds what this driver does, and an engineer should be
able to trust that nothing in it is staged: the slices are what the scheduler allocates
from, the claims go over the kubelet's real sockets, the CDI files are read back from disk
by a runtime, and the kernel behind it all is a real one, or moves devices as one does.
"""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ibdra_adapters.kube.decoding import decoded
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_adapters.manifests.documents import read_manifests
from ibdra_adapters.simulation.runtime import SimulatedRuntime, StartedContainer
from ibdra_adapters.simulation.scheduler import SimulatedScheduler
from ibdra_app.container import Container
from ibdra_app.demo_look import Looking
from ibdra_app.demo_report import (
    ContainerSeen,
    DemoReport,
    ExampleSeen,
    complaints,
)
from ibdra_domain.errors import AttachRefused, IbdraError, InvalidManifest
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.inventory import Inventory
from ibdra_domain.kube_objects import DeviceClass, ResourceClaim
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice
from ibdra_domain.ports.runtime import ContainerStart

Json = dict[str, Any]
EXAMPLES = tuple(f"ib-test{number}" for number in range(1, 6))


class Demo:
    """Walks the examples through one wired container.

    Whatever asks a kernel is done in a thread: netlink's sockets have loops of their own.
    """

    def __init__(self, container: Container, *, examples: Path) -> None:
        self._settings = container.settings()
        self._kernel = container.kernel()
        self._stage = container.stage()
        self._looking = Looking(container)
        self._api = container.api()
        self._slices = container.kube().slices
        self._publishing = container.publishing()
        self._attaching = container.attaching()
        self._ledger = container.ledger()
        self._cdi = container.cdi()
        self._plugin = container.plugin()
        self._recovery = container.recovery()
        self._selectors = container.selectors()
        self._examples = examples
        self._runtime = SimulatedRuntime(self._settings.cdi_folder, run_hook=self._run_hook)

    async def run(self) -> DemoReport:
        """Do it all; raises IbdraError only if the node cannot be set up."""
        await to_thread(self._recovery.run)
        before = await to_thread(self._looking.node)
        inventory, _ = await to_thread(self._publishing.publish)
        scheduler = SimulatedScheduler(self._selectors, self._classes())
        kubelet = FakeKubelet(self._settings.kubelet_folder)
        async with self._plugin, kubelet:
            await kubelet.register()
            seen = [await self._example(name, scheduler, kubelet) for name in EXAMPLES]
        return DemoReport(
            profile=self._settings.simulate or self._settings.node,
            description=self._stage.description,
            platform=inventory.platform.value,
            isolation=_isolation(inventory),
            devices=len(inventory.devices),
            slices=len(self._slices.list()),
            examples=tuple(seen),
            left_over=await to_thread(self._left_over, before),
        )

    def _run_hook(self, path: str, args: tuple[str, ...], state: bytes) -> None:
        """Stand in for the hook helper on the host: OCI state in, attach, or refuse."""
        if path != self._settings.hook.path or args[:2] != ("ibdra-hook", "attach"):
            raise AttachRefused(f"{path} is not this driver's hook", remedy="compare the CDI spec")
        oci = msgspec.json.decode(state)
        self._attaching.attach(
            ContainerStart(claim=args[2], pid=oci["pid"], container=oci["id"], nodes=args[3])
        )

    def _classes(self) -> dict[str, DeviceClass]:
        return {
            body["metadata"]["name"]: decoded(body, DeviceClass)
            for body in self._bodies(self._examples / "device-classes.yaml")
            if body["kind"] == "DeviceClass"
        }

    def _bodies(self, path: Path) -> list[Json]:
        manifests, problems = read_manifests(path)
        if problems:
            raise InvalidManifest(
                f"{path}:{problems[0].line}: {problems[0].problem}", remedy="mend the example"
            )
        return [manifest.body for manifest in manifests]

    async def _example(
        self, name: str, scheduler: SimulatedScheduler, kubelet: FakeKubelet
    ) -> ExampleSeen:
        """Apply one example's manifests, run its pod to its end, and delete everything."""
        bodies = self._bodies(self._examples / f"{name}.yaml")
        templates = {
            b["metadata"]["name"]: b for b in bodies if b["kind"] == "ResourceClaimTemplate"
        }
        pod = next(b for b in bodies if b["kind"] == "Pod")
        claims = {
            entry["name"]: self._claim_for(pod, entry, templates)
            for entry in pod["spec"]["resourceClaims"]
        }
        try:
            for entry, claim in claims.items():
                allocation = scheduler.allocate(decoded(claim, ResourceClaim), self._slices.list())
                if isinstance(allocation, str):
                    expected = self._stage.may_stay_pending(name)
                    wrong = () if expected else (f"{name} should find its devices: {allocation}",)
                    return ExampleSeen(name=name, outcome="pending", reason=allocation, wrong=wrong)
                allocated = claim | {"status": {"allocation": allocation}}
                claims[entry] = self._api.replace(allocated)
            return await self._run_pod(name, pod, claims, kubelet)
        finally:
            for claim in claims.values():
                scheduler.release(claim["metadata"]["uid"])
                metadata = claim["metadata"]
                self._api.delete("ResourceClaim", metadata["namespace"], metadata["name"])

    def _claim_for(self, pod: Json, entry: Json, templates: Mapping[str, Json]) -> Json:
        """Make the claim that the claim controller would make for a pod."""
        template = templates[entry["resourceClaimTemplateName"]]
        metadata = {
            "namespace": pod["metadata"]["namespace"],
            "name": f"{pod['metadata']['name']}-{entry['name']}",
        }
        return self._api.create(
            {
                "apiVersion": template["apiVersion"],
                "kind": "ResourceClaim",
                "metadata": metadata,
                "spec": template["spec"]["spec"],
            }
        )

    async def _run_pod(
        self, name: str, pod: Json, claims: Mapping[str, Json], kubelet: FakeKubelet
    ) -> ExampleSeen:
        refs = {
            entry: ClaimRef(
                namespace=claim["metadata"]["namespace"],
                name=claim["metadata"]["name"],
                uid=claim["metadata"]["uid"],
            )
            for entry, claim in claims.items()
        }
        wrong: list[str] = []
        containers: list[ContainerSeen] = []
        prepared = await kubelet.prepare(tuple(refs.values()))
        refused = [answer for answer in prepared.values() if isinstance(answer, str)]
        host_network = pod["spec"].get("hostNetwork", False)
        pid = await to_thread(self._stage.start_pod, host_network=host_network)
        try:
            if refused:
                wrong += refused
            else:
                for spec in pod["spec"]["containers"]:
                    ids = _cdi_ids(spec, refs, prepared)
                    started = await to_thread(self._start_container, spec["name"], pid, ids)
                    containers.append(await to_thread(self._looking.container, started))
                mode = await to_thread(self._kernel.rdma.isolation)
                for seen in containers:
                    wrong += complaints(seen, exclusive=mode is RdmaIsolation.EXCLUSIVE)
        except IbdraError as error:
            wrong.append(f"container not started: {error}")
        finally:
            await to_thread(self._stage.end_pod, pid)
            answers = await kubelet.unprepare(tuple(refs.values()))
            wrong += [error for error in answers.values() if error is not None]
        return ExampleSeen(
            name=name,
            outcome="ran",
            allocated=tuple(_allocated(claim) for claim in claims.values()),
            containers=tuple(containers),
            wrong=tuple(wrong),
        )

    def _start_container(self, name: str, pid: int, cdi_ids: list[str]) -> StartedContainer:
        """Start a container; once more if its nodes changed in the move, as a kubelet does."""
        try:
            return self._runtime.start(name, pid=pid, cdi_ids=cdi_ids)
        except AttachRefused as refused:
            if "device nodes" not in refused.problem:
                raise
            return self._runtime.start(name, pid=pid, cdi_ids=cdi_ids)

    def _left_over(self, before: Mapping[str, str]) -> tuple[str, ...]:
        """Compare the node with what it was, and list every trace in files and sockets."""
        after = self._looking.node()
        found = [
            f"{what}: was {before.get(what, 'not there')}, is {after.get(what, 'gone')}"
            for what in sorted(before.keys() | after.keys())
            if before.get(what) != after.get(what)
        ]
        found += self._stage.left_open()
        found += [f"record of claim {uid}" for uid in self._ledger.all()]
        for folder in (
            self._settings.cdi_folder,
            self._settings.state_folder,
            self._settings.kubelet_folder,
            self._settings.run_folder,
        ):
            found += [
                str(path)
                for path in folder.rglob("*")
                if not path.is_dir() and path != self._settings.run_folder / "turn"
            ]
        found += [f"ResourceClaim {c['metadata']['name']}" for c in self._api.list("ResourceClaim")]
        return tuple(found)


def _isolation(inventory: Inventory) -> str:
    return (inventory.isolation or RdmaIsolation.SHARED).value


def _allocated(claim: Json) -> str:
    results = claim["status"]["allocation"]["devices"]["results"]
    return ", ".join(f"{r['request']} = {r['device']}" for r in results)


def _cdi_ids(
    spec: Json,
    refs: Mapping[str, ClaimRef],
    prepared: Mapping[str, tuple[PreparedDevice, ...] | str],
) -> list[str]:
    """Collect the ids of a container's claims, as the kubelet does: by request, if one is named."""
    ids: list[str] = []
    for reference in spec.get("resources", {}).get("claims", ()):
        devices = prepared[refs[reference["name"]].uid]
        wanted = reference.get("request")
        for device in devices:
            if isinstance(device, PreparedDevice) and (not wanted or wanted in device.requests):
                ids += device.cdi_ids
    return ids
