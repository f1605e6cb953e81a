"""The contract of the kube ports against a real API server, over a wire that can be cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import ApiError
from contract.cluster.proxy import Wire
from contract.kube.kube_clusters import DRIVER, NODE, Json
from ibdra_adapters.kube.client import KubeClient
from ibdra_adapters.kube.server import ServerClaims, ServerSlices
from ibdra_adapters.kube.server_reports import ServerClaimStatus, ServerNodes, ServerPodEvents
from ibdra_domain.errors import KubeConflict

TRIES = 3  # of one call, each of which finds the wire cut


class RealCluster:
    """Fulfils :class:`contract.kube.kube_clusters.Cluster`."""

    def __init__(self, admin: Admin, wire: Wire, kubeconfig: Path, *, version: str) -> None:
        self.admin = admin
        self.keeps_counters = not version.startswith("v1.34")
        self._wire = wire
        self.calls: list[tuple[str, str]] = []
        self.client = KubeClient(
            kubeconfig=kubeconfig, observe=lambda *call: self.calls.append(call)
        )

    def claims(self) -> ServerClaims:
        return ServerClaims(self.client)

    def slices(self, *, driver: str = DRIVER, node: str = NODE) -> ServerSlices:
        return ServerSlices(self.client, driver=driver, node=node)

    def claim_status(self, *, driver: str = DRIVER) -> ServerClaimStatus:
        return ServerClaimStatus(self.client, driver=driver)

    def nodes(self) -> ServerNodes:
        return ServerNodes(self.client)

    def pod_events(self, *, driver: str = DRIVER) -> ServerPodEvents:
        return ServerPodEvents(self.client, driver=driver, node=NODE)

    def create(self, body: Json) -> Json:
        """Create it, unknown fields and all, and its status where it has one."""
        resource, namespace = self.admin._where(body)
        made: Json = self.admin.api.request("POST", resource.path(namespace), body)
        if "status" in body:
            made = self.admin.replace(made | {"status": body["status"]}, subresource="status")
        return made

    def get(self, kind: str, namespace: str, name: str) -> Json:
        found: Json = self.admin.get(kind, name, namespace=namespace or None)
        found["metadata"].pop("managedFields", None)
        return found

    def list(self, kind: str, *, namespace: str) -> list[Json]:
        return list(self.admin.list(kind, namespace=namespace))

    def apply(
        self, kind: str, namespace: str, name: str, *, patch: Json, manager: str, force: bool
    ) -> Json:
        body: dict[str, Any] = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": kind,
            "metadata": {"namespace": namespace, "name": name},
            **patch,
        }
        try:
            found: Json = self.admin.apply(body, manager=manager, force=force, subresource="status")
        except ApiError as error:
            if error.code == 409:
                raise KubeConflict(str(error), remedy="force, or leave it") from error
            raise
        return found

    def cut_watches(self) -> None:
        """Cut them when what was written has come through: a watch comes after the write."""
        self._wire.wait_quiet(0.3)
        self._wire.cut()

    def be_unavailable(self, calls: int) -> None:
        self._wire.refuse(TRIES * calls)

    def clean(self) -> None:
        """Remove what a test may have made."""
        for kind, namespace in (("ResourceSlice", None), ("ResourceClaim", "ns"), ("Event", "ns")):
            for found in self.admin.list(kind, namespace=namespace):
                self.admin.delete(kind, found["metadata"]["name"], namespace=namespace)
        if self.admin.find("Node", NODE) is not None:
            self.admin.delete("Node", NODE)
