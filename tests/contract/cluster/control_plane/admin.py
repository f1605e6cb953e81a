"""An administrator's hands: nodes that are only objects, pods, claims.

Without a kubelet nobody says that a node is ready or that a pod has ended.  These say it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from uuid import uuid4

from contract.cluster.control_plane.api import Api, ApiError, Json
from contract.cluster.control_plane.objects import Objects, wait_until

_ALLOCATABLE = {"cpu": "64", "memory": "256Gi", "pods": "250", "ephemeral-storage": "1Ti"}

_CONTROLLERS = 180.0


class Admin(Objects):
    """A member of ``system:masters``."""

    @classmethod
    def of(cls, kubeconfig: Path) -> Admin:
        """Be whom a kubeconfig names."""
        return cls(Api(kubeconfig))

    def create_namespace(self, name: str = "", *, labels: dict[str, str] | None = None) -> str:
        """Create a namespace (with a name nobody has) where pods can be created at once."""
        metadata: Json = {"labels": labels or {}}
        metadata |= {"name": name} if name else {"generateName": "test-"}
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
        made: str = self.create(body)["metadata"]["name"]
        # Long: after a server was away its controllers pause.
        self.wait_for(
            "ServiceAccount", "default", lambda _: True, namespace=made, seconds=_CONTROLLERS
        )
        return made

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace; its pods have no kubelet that would let them go."""
        for pod in self.list("Pod", namespace=name):
            self.delete_pod(pod["metadata"]["name"], namespace=name)
        self.delete("Namespace", name)

    def register_node(
        self, name: str, *, labels: dict[str, str] | None = None, seconds: float = 30.0
    ) -> Json:
        """Create a Node that is ready, as far as the scheduler can see."""
        labels = {"kubernetes.io/hostname": name, **(labels or {})}
        metadata = {"name": name, "labels": labels}
        self.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "a test says so",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        status = {"capacity": _ALLOCATABLE, "allocatable": _ALLOCATABLE, "conditions": [ready]}
        self.patch("Node", name, {"status": status}, subresource="status")
        # Admission taints every new node; the controller manager sees that this one is ready.
        return self.wait_for(
            "Node", name, lambda node: not node["spec"].get("taints"), seconds=seconds
        )

    def await_controllers(self, seconds: float = _CONTROLLERS) -> None:
        """Wait until controllers and scheduler work again: they pause long after an outage."""
        name = f"node-{uuid4().hex[:8]}"
        space = self.create_namespace()
        try:
            self.register_node(name, seconds=seconds)
            self.create(
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "placed", "namespace": space},
                    "spec": {
                        "nodeSelector": {"kubernetes.io/hostname": name},
                        "containers": [{"name": "main", "image": "none.invalid/none"}],
                    },
                }
            )
            self.wait_bound("placed", namespace=space, seconds=seconds)
        finally:
            self.delete_namespace(space)
            self.delete("Node", name)

    def wait_bound(self, pod: str, *, namespace: str, seconds: float = 30.0) -> str:
        """Wait until the scheduler has bound a pod; give the node's name."""
        bound = self.wait_for(
            "Pod",
            pod,
            lambda found: found["spec"].get("nodeName"),
            namespace=namespace,
            seconds=seconds,
        )
        node: str = bound["spec"]["nodeName"]
        return node

    def claim_of(self, pod: str, *, namespace: str, entry: str, seconds: float = 30.0) -> Json:
        """Wait until a pod's claim (by its name in the pod) is allocated and reserved for it."""

        def look() -> Json | None:
            found = self.get("Pod", pod, namespace=namespace)
            statuses = found.get("status", {}).get("resourceClaimStatuses", [])
            for status in statuses:
                if status["name"] == entry and status.get("resourceClaimName"):
                    return self._if_reserved(status["resourceClaimName"], found)
            return None

        return wait_until(
            look,
            what=f"claim {entry} of pod {namespace}/{pod}, reserved",
            seconds=seconds,
            last=lambda: self.list("ResourceClaim", namespace=namespace),
        )

    def end_pod(self, pod: str, *, namespace: str, phase: str = "Succeeded") -> None:
        """Say that a pod has ended, as its kubelet would."""
        status = {"status": {"phase": phase}}
        self.patch("Pod", pod, status, namespace=namespace, subresource="status")

    def delete_pod(self, pod: str, *, namespace: str) -> None:
        """Delete a pod for good, as its kubelet does when it has ended; it may be gone already."""
        try:
            self.delete("Pod", pod, namespace=namespace, grace=0)
        except ApiError as error:  # a controller that lost its owner was quicker
            if error.code != HTTPStatus.NOT_FOUND:
                raise

    def end_pods(self, namespace: str) -> None:
        """Delete a namespace's pods and wait until their kubelet has let them go."""
        pods = [each["metadata"]["name"] for each in self.list("Pod", namespace=namespace)]
        for pod in pods:
            self.delete("Pod", pod, namespace=namespace)
        for pod in pods:
            self.wait_gone("Pod", pod, namespace=namespace)

    def _if_reserved(self, name: str, pod: Json) -> Json | None:
        claim = self.get("ResourceClaim", name, namespace=pod["metadata"]["namespace"])
        status = claim.get("status", {})
        users = [user["uid"] for user in status.get("reservedFor", [])]
        reserved = "allocation" in status and pod["metadata"]["uid"] in users
        return claim if reserved else None
