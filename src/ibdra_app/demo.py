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

import msgspec

from ibdra_adapters.simulation.runtime import StartedContainer
from ibdra_app.container import Container
from ibdra_app.demo_look import Looking
from ibdra_app.demo_report import ContainerSeen, DemoReport, ExampleSeen, complaints
from ibdra_app.embedded_node import EmbeddedNode
from ibdra_app.embedded_pods import BoundPod, Json, Prepared
from ibdra_domain.errors import AttachRefused, IbdraError
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.inventory import Inventory
from ibdra_domain.ports.runtime import ContainerStart

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
        self._slices = container.kube().slices
        self._publishing = container.publishing()
        self._attaching = container.attaching()
        self._ledger = container.ledger()
        self._plugin = container.plugin()
        self._recovery = container.recovery()
        self._examples = examples
        self._node = EmbeddedNode(
            name=self._settings.node,
            kubelet_folder=self._settings.kubelet_folder,
            cdi_folder=self._settings.cdi_folder,
            api=container.api(),
            selectors=container.selectors(),
            run_hook=self._run_hook,
        )

    async def run(self) -> DemoReport:
        """Do it all; raises IbdraError only if the node cannot be set up."""
        await to_thread(self._recovery.run)
        before = await to_thread(self._looking.node)
        inventory, _ = await to_thread(self._publishing.publish)
        self._node.apply(self._examples / "device-classes.yaml")
        async with self._plugin, self._node:
            await self._node.register()
            seen = [await self._example(name) for name in EXAMPLES]
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

    async def _example(self, name: str) -> ExampleSeen:
        """Apply one example's manifests, run its pod to its end, and delete everything."""
        objects = self._node.apply(self._examples / f"{name}.yaml")
        pod = next(each for each in objects if each["kind"] == "Pod")
        try:
            bound = self._node.bind(pod)
            if isinstance(bound, str):
                expected = self._stage.may_stay_pending(name)
                wrong = () if expected else (f"{name} should find its devices: {bound}",)
                return ExampleSeen(name=name, outcome="pending", reason=bound, wrong=wrong)
            try:
                return await self._run_pod(name, bound)
            finally:
                self._node.unbind(bound)
        finally:
            self._node.delete(objects)

    async def _run_pod(self, name: str, bound: BoundPod) -> ExampleSeen:
        wrong: list[str] = []
        containers: list[ContainerSeen] = []
        prepared = await self._node.prepare(bound)
        refused = [answer for answer in prepared.values() if isinstance(answer, str)]
        host_network = bound.pod["spec"].get("hostNetwork", False)
        pid = await to_thread(self._stage.start_pod, host_network=host_network)
        try:
            if refused:
                wrong += refused
            else:
                for spec in bound.pod["spec"]["containers"]:
                    started = await to_thread(self._start_container, spec, bound, prepared, pid)
                    containers.append(await to_thread(self._looking.container, started))
                mode = await to_thread(self._kernel.rdma.isolation)
                for seen in containers:
                    wrong += complaints(seen, exclusive=mode is RdmaIsolation.EXCLUSIVE)
        except IbdraError as error:
            wrong.append(f"container not started: {error}")
        finally:
            await to_thread(self._stage.end_pod, pid)
            wrong += await self._node.unprepare(bound)
        return ExampleSeen(
            name=name,
            outcome="ran",
            allocated=tuple(_allocated(claim) for claim in bound.claims.values()),
            containers=tuple(containers),
            wrong=tuple(wrong),
        )

    def _start_container(
        self, spec: Json, bound: BoundPod, prepared: Prepared, pid: int
    ) -> StartedContainer:
        """Start a container; once more if its nodes changed in the move, as a kubelet does."""
        try:
            return self._node.start_container(spec, bound, prepared, pid=pid)
        except AttachRefused as refused:
            if "device nodes" not in refused.problem:
                raise
            return self._node.start_container(spec, bound, prepared, pid=pid)

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
        claims = self._node.api.list("ResourceClaim")
        return (*found, *(f"ResourceClaim {c['metadata']['name']}" for c in claims))


def _isolation(inventory: Inventory) -> str:
    return (inventory.isolation or RdmaIsolation.SHARED).value


def _allocated(claim: Json) -> str:
    results = claim["status"]["allocation"]["devices"]["results"]
    return ", ".join(f"{r['request']} = {r['device']}" for r in results)
