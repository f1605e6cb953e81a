"""A whole simulated node for tests of use cases: wired as in production, in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_app.container import Container, wired
from ibdra_app.settings import Settings
from ibdra_domain.container_edits import HookSettings
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice
from ibdra_domain.ports.runtime import ContainerStart

NODE = "node-a"
VF = "pci-0000-3b-00-1-port1"
OTHER_VF = "pci-0000-3b-00-2-port1"
PF = "pci-0000-3b-00-0-port1"
PORT_1 = "pci-0000-af-00-0-port1"
PORT_2 = "pci-0000-af-00-0-port2"

Answer = tuple[PreparedDevice, ...] | IbdraError


def ib_config(**fields: object) -> dict[str, object]:
    """Write an IbConfig document."""
    return {"apiVersion": "ib.resource.sigs.k8s.io/v1alpha1", "kind": "IbConfig", **fields}


class Node:
    """The use cases of one node, and what stands behind them."""

    def __init__(self, container: Container, folder: Path) -> None:
        self.container = container
        self.folder = folder
        self.api: FakeKubeApi = container.api()
        self.kernel: FakeKernel = container.machine().kernel
        self._claims = 0

    def claim(
        self,
        *devices: str,
        config: object = None,
        pool: str = NODE,
        admin: bool = False,
        allocated: bool = True,
        namespace: str = "jobs",
    ) -> ClaimRef:
        """Create a claim with one request a device, as the scheduler leaves it."""
        self._claims += 1
        results: list[dict[str, Any]] = [
            {"request": f"hca-{i}", "driver": "ib.sigs.k8s.io", "pool": pool, "device": device}
            | ({"adminAccess": True} if admin else {})
            for i, device in enumerate(devices)
        ]
        configs = [
            {"source": "FromClaim", "opaque": {"driver": "ib.sigs.k8s.io", "parameters": config}}
        ]
        devices_status = {"results": results, "config": configs if config is not None else []}
        body: dict[str, Any] = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"namespace": namespace, "name": f"claim-{self._claims}"},
            "spec": {},
        }
        if allocated:
            body["status"] = {"allocation": {"devices": devices_status}}
        metadata = self.api.create(body)["metadata"]
        return ClaimRef(namespace=namespace, name=metadata["name"], uid=metadata["uid"])

    def prepare(self, *claims: ClaimRef) -> list[Answer]:
        """Prepare, and give the answers in the claims' order."""
        answers = self.container.preparing().prepare(claims)
        return [answers[claim.uid] for claim in claims]

    def prepared(self, *devices: str, config: object = None, admin: bool = False) -> ClaimRef:
        """Create and prepare a claim that must be good."""
        claim = self.claim(*devices, config=config, admin=admin)
        (answer,) = self.prepare(claim)
        if isinstance(answer, IbdraError):
            raise answer
        return claim

    def unprepare(self, *claims: ClaimRef) -> list[IbdraError | None]:
        """Unprepare, and give the answers in the claims' order."""
        answers = self.container.preparing().unprepare(claims)
        return [answers[claim.uid] for claim in claims]

    def attach(self, claim: ClaimRef, pid: int, **told: str) -> None:
        """Attach a claim to a process' namespace; ``told`` is what else the runtime says."""
        self.container.attaching().attach(ContainerStart(claim=claim.uid, pid=pid, **told))

    def files(self) -> list[str]:
        """List the CDI and state files there are."""
        return sorted(
            str(path.relative_to(self.folder))
            for name in ("cdi", "state")
            for path in (self.folder / name).rglob("*")
            if path.is_file()
        )

    def spec(self, claim: ClaimRef) -> dict[str, Any]:
        """Read a claim's CDI spec from disk."""
        path = self.folder / "cdi" / f"ib.sigs.k8s.io_{claim.uid}.json"
        spec: dict[str, Any] = json.loads(path.read_bytes())
        return spec

    def snapshot(self) -> dict[str, object]:
        """Describe everything about devices and interfaces that must be as it was at the end."""
        devices = {d.name: (d.netns, dict(d.minors)) for d in self.kernel.devices.values()}
        links = {
            (x.rdma, x.port, x.link.pkey): (x.netns, x.link.name, x.link.mtu, x.link.up)
            for x in self.kernel.links.values()
        }
        classes = {k: dict(v) for k, v in self.container.machine().traffic_classes.items()}
        return {"devices": devices, "links": links, "classes": classes}

    def interfaces(self, pid: int) -> dict[str, tuple[int, bool]]:
        """Give name, MTU and up of the interfaces in a process' namespace."""
        netns = self.kernel.processes[pid]
        return {x.link.name: (x.link.mtu, x.link.up) for x in self.kernel.links_of(netns)}

    def restarted(self) -> Node:
        """Give the node with a new driver process: same machine, same files, nothing in memory."""
        fresh = Container(settings=self.container.settings())
        for name in ("machine", "api", "sysfs"):
            getattr(fresh, name).override(getattr(self.container, name)())
        return Node(fresh, self.folder)


@contextmanager
def running_node(folder: Path, *, profile: str = "hpc-hdr100-dual-port") -> Iterator[Node]:
    """Start a node on a simulated machine."""
    settings = Settings(
        node=NODE,
        simulate=profile,
        kubelet_folder=folder / "kubelet",
        cdi_folder=folder / "cdi",
        state_folder=folder / "state",
        run_folder=folder / "run",
        # Not the usual place: a cleanup would remove this machine's own.
        hook=HookSettings(path=str(folder / "hook/ibdra/bin/ibdra-hook")),
    )
    with wired(settings) as container:
        container.recovery().run()
        yield Node(container, folder)


def refusals(answers: Sequence[Answer | None]) -> list[str]:
    """Give the texts of the answers that are errors."""
    return [str(answer) for answer in answers if isinstance(answer, IbdraError)]
