"""The chart, installed by Helm on a node with a real kubelet, in the image that is built here.

Why: that each object is taken by a server does not say that the whole works: that the agent's
rights, folders and security context are enough, that probes find their ports, that an update
lets the old agent go.  Only the HCAs are simulated.  The node has its folders where every node
has them, so the chart runs with its own values; what differs is named in `values`.
"""

from __future__ import annotations

import shlex
import subprocess
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from contract.cluster.charts import RELEASE, ROOT, Helm, install_line
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet, free_port
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.page_lines import with_kubectl
from contract.image.built import TAG, ran, save_image

Json = dict[str, Any]
AGENT = f"{RELEASE}-kubelet-plugin"
WEBHOOK = f"{RELEASE}-webhook"
PATIENCE = 90.0


class InstalledChart:
    """The release in a namespace of its name, inside a ``with`` block."""

    def __init__(self, plane: ControlPlane, kubelet: RealKubelet, helm: Helm) -> None:
        self.admin = Admin.of(plane.kubeconfig)
        self.kubelet = kubelet
        self.namespace = RELEASE
        self.minor = plane.minor
        self._helm = helm
        self._plane = plane
        self._ports = {name: free_port() for name in ("health", "agent", "webhook", "reviews")}

    @property
    def values(self) -> Json:
        """What is not as the chart has it, and why."""
        at = urlsplit(self._plane.url)
        repository, _, tag = TAG.rpartition(":")
        ports = self._ports
        return {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "kubeletPlugin": {
                "simulate": "dgx-h100",
                # There is no kube-proxy that would lead to the API server.
                "extraEnv": [
                    {"name": "KUBERNETES_SERVICE_HOST", "value": at.hostname},
                    {"name": "KUBERNETES_SERVICE_PORT", "value": str(at.port)},
                ],
                # Some other program of this machine may have the usual ones.
                "health": {"port": ports["health"]},
                "metrics": {"port": ports["agent"]},
            },
            # Pods have no network here, and a port of the node is one pod's.
            "webhook": {
                "hostNetwork": True,
                "replicas": 1,
                "port": ports["reviews"],
                "metrics": {"port": ports["webhook"]},
            },
        }

    def __enter__(self) -> Self:
        archive = self.kubelet.folder / "ibdra-image.tar"
        save_image(archive)
        self.kubelet.import_images(archive)
        archive.unlink()
        try:
            self.upgrade()
            self.await_ready()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def upgrade(self, *options: str) -> None:
        """Install it or change it, by the documentation's line.

        Other tests may have applied the examples' DeviceClasses; the page says what to do then.
        """
        line = install_line(self.namespace)
        self._helm(*line, "--take-ownership", *options, values=self.values)

    def roll_back(self) -> None:
        """Go back to what was before the last change."""
        self._helm("rollback", RELEASE, "--namespace", self.namespace)

    def await_no_pods(self) -> None:
        """Wait until the release's pods are gone."""
        wait_until(
            lambda: not self.admin.list("Pod", namespace=self.namespace),
            what="the end of the release's pods",
            seconds=PATIENCE,
            last=self.state,
        )

    def remove(self) -> None:
        """Remove all that is left of it in the cluster."""
        if RELEASE in self._helm("list", "--short", "--namespace", self.namespace):
            self._helm("uninstall", RELEASE, "--namespace", self.namespace)
            self.await_no_pods()
        if self.admin.find("Namespace", self.namespace) is not None:
            self.admin.delete_namespace(self.namespace)
        for each in self.slices():
            self.admin.delete("ResourceSlice", each["metadata"]["name"])

    def run(self, line: str, *, fails: bool | None = False) -> str:
        """Run a line of the documentation, kubectl's or Helm's; give what it printed.

        ``fails`` says whether it is to fail, None that it may.
        """
        program, *arguments = shlex.split(line)
        if program == "helm":
            return self._helm(*arguments)
        assert "kubectl" == program
        done = self.kubectl(*arguments)
        failed = bool(done.returncode)
        assert fails in {None, failed}, f"{line}: {done.stdout}{done.stderr}{self.state()}"
        return done.stdout

    def kubectl(
        self, *arguments: str, seconds: float = 2 * PATIENCE
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as an administrator does, from the project's folder."""
        return subprocess.run(
            ["kubectl", *arguments],
            env=with_kubectl(self._plane),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def await_ready(self) -> None:
        """Wait until agent and webhook are of the wanted version, and ready."""
        for workload in (f"daemonset/{AGENT}", f"deployment/{WEBHOOK}"):
            done = self.kubectl(
                *("rollout", "status", workload, f"--namespace={self.namespace}"),
                f"--timeout={PATIENCE:.0f}s",
            )
            assert 0 == done.returncode, f"{done.stdout}{done.stderr}{self.state()}"

    def pods(self, component: str) -> list[Json]:
        """Give the pods of a part that are not being deleted, oldest first."""
        labels = f"app.kubernetes.io/component={component}"
        found = self.admin.list("Pod", namespace=self.namespace, labels=labels)
        alive = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def agent(self) -> str:
        """Give the name of the one agent."""
        (pod,) = self.pods("kubelet-plugin")
        name: str = pod["metadata"]["name"]
        return name

    def pid_of(self, pod: str, *, namespace: str) -> int:
        """Give the first process of a pod's container, as the node sees it."""
        found = self.admin.get("Pod", pod, namespace=namespace)
        container = found["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
        lines = ran(*self.kubelet.ctr("tasks", "ls")).splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(container))

    def log_of(self, pod: str, container: str = "agent") -> str:
        """Read what a pod's container has said."""
        return self.kubelet.logs_of(pod, namespace=self.namespace, container=container)

    def objects(self) -> list[str]:
        """List the release's objects of all kinds, in all namespaces."""
        kinds = self.run("kubectl api-resources --verbs=list --output=name").split()
        labels = f"app.kubernetes.io/instance={RELEASE}"
        line = f"kubectl get {','.join(kinds)} --all-namespaces --output=name --selector={labels}"
        return self.run(line).splitlines()

    def slices(self) -> list[Json]:
        """Give the node's slices, as the server has them."""
        fields = f"spec.nodeName={self.kubelet.name}"
        return list(self.admin.list("ResourceSlice", fields=fields))

    def files(self) -> dict[str, list[str]]:
        """List the driver's files on the node, by folder; locks and empty folders left out."""
        folders = ("run/cdi", "run/ibdra", "var/lib/ibdra", "opt/ibdra")
        sockets = ("plugins/ib.sigs.k8s.io", "plugins_registry")
        return {
            name: sorted(str(path.relative_to(folder)) for path in folder.rglob("*")
                         if not path.is_dir())
            for name in (*folders, *(f"var/lib/kubelet/{each}" for each in sockets))
            if (folder := self.kubelet.on_node(f"/{name}")).exists()
        }  # fmt: skip

    def complaints(self) -> str:
        """Give the warnings of all namespaces' events, and what the agents warned of."""
        events = [e for e in self.admin.list("Event") if "Normal" != e.get("type")]
        told = [f"{e['involvedObject']['name']}: {e['reason']}: {e['message']}" for e in events]
        logs = self.kubelet.folder.glob(f"pod-logs/{self.namespace}_*/agent/*.log")
        said = [line for path in logs for line in path.read_text().splitlines()]
        return "\n".join([*told, *(line for line in said if '"INFO"' not in line)][-40:])

    def state(self) -> str:
        """Say how the release's pods are, and what they have said last."""
        names = [
            each["metadata"]["name"] for each in self.admin.list("Pod", namespace=self.namespace)
        ]
        described = self.kubectl("describe", "pod", f"--namespace={self.namespace}").stdout
        said = [
            f"== {name} {container}\n{self.log_of(name, container)[-4000:]}"
            for name in names
            for container in ("install-hook", "cleanup", "agent", "webhook")
        ]
        return "\n".join([described, *said])
