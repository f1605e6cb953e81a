"""Somebody who runs pods with one simulated VF each, on a node with a real kubelet."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

from contract.cluster.cluster_objects import DRA, a_pod
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until

Json = dict[str, Any]
_DRIVER = "ib.sigs.k8s.io"
VF = "pci-0000-18-00-1-port1"
OTHER_VF = "pci-0000-18-00-2-port1"
PCI = {VF: "0000:18:00.1", OTHER_VF: "0000:18:00.2"}
LONG = 60.0


def a_template(name: str, *, namespace: str, device: str, config: Json | None = None) -> Json:
    """Make a template of claims for one device and no other."""
    selector = f'device.attributes["{_DRIVER}"].pciAddress == "{PCI[device]}"'
    exactly = {
        "deviceClassName": "vf.ib.sigs.k8s.io",
        "selectors": [{"cel": {"expression": selector}}],
    }
    devices: Json = {"requests": [{"name": "dev", "exactly": exactly}]}
    if config is not None:
        kind = {"apiVersion": "ib.resource.sigs.k8s.io/v1alpha1", "kind": "IbConfig"}
        devices["config"] = [{"opaque": {"driver": _DRIVER, "parameters": kind | config}}]
    return {
        "apiVersion": DRA,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"spec": {"devices": devices}},
    }


class PodUser:
    """Somebody with a namespace, who runs pods there with one device each."""

    def __init__(self, admin: Admin, namespace: str) -> None:
        self._admin = admin
        self._marks: dict[str, str] = {}
        self.namespace = namespace

    def create(self, pod: str, *, device: str = VF, config: Json | None = None) -> None:
        """Create a pod that restarts, and writes what it has been given at each start."""
        self._admin.create(a_template(pod, namespace=self.namespace, device=device, config=config))
        self._marks[pod] = uuid4().hex
        wait = "trap exit TERM; sleep 100000 & wait"
        script = f": {self._marks[pod]}; echo $IB_DEVICE_DEV_PCI; {wait}"
        body = a_pod(pod, namespace=self.namespace, template=pod, script=script)
        body["spec"]["restartPolicy"] = "Always"
        self._admin.create(body)

    def run(self, pod: str, *, device: str = VF) -> Json:
        """Create a pod and wait until it runs; give its claim."""
        self.create(pod, device=device)
        self.await_running(pod)
        return self.claim(pod)

    def claim(self, pod: str) -> Json:
        """Give a pod's claim."""
        return self._admin.claim_of(pod, namespace=self.namespace, entry="dev")

    def await_running(self, pod: str, *, restarts: int = 0) -> None:
        """Wait until a pod's container runs, for the first time or after so many restarts."""

        def is_there(found: Json) -> bool:
            (status,) = found["status"].get("containerStatuses", [{}])
            return "running" in status.get("state", {}) and restarts == status["restartCount"]

        self._admin.wait_for("Pod", pod, is_there, namespace=self.namespace, seconds=LONG)

    def kill_container(self, pod: str) -> None:
        """Kill the first process of a pod's container, as the OOM killer would."""
        (pid,) = _pids_with(self._marks[pod])
        os.kill(pid, signal.SIGKILL)

    def has_process(self, pod: str) -> bool:
        """Tell whether a pod's container runs, as the machine sees it."""
        return bool(_pids_with(self._marks[pod]))

    def delete(self, pod: str, *, grace: int | None = None) -> None:
        """Delete a pod and wait until it is gone, and its claim."""
        self.begin_deleting(pod, grace=grace)
        self.await_gone(pod)

    def begin_deleting(self, pod: str, *, grace: int | None = None) -> None:
        """Tell the server to delete a pod."""
        self._admin.delete("Pod", pod, namespace=self.namespace, grace=grace)

    def await_gone(self, pod: str) -> None:
        """Wait until a pod is gone, and its claim."""
        self._admin.wait_gone("Pod", pod, namespace=self.namespace, seconds=LONG)
        wait_until(lambda: not self._claims_of(pod), what=f"the end of the claims of {pod}")

    def reasons(self, pod: str) -> dict[str, str]:
        """Give what a pod's events say, as ``kubectl describe`` shows them, by their reason."""
        found = self._admin.list(
            "Event", namespace=self.namespace, fields=f"involvedObject.name={pod}"
        )
        return {event["reason"]: event["message"] for event in found}

    def _claims_of(self, pod: str) -> list[Json]:
        return [
            claim
            for claim in self._admin.list("ResourceClaim", namespace=self.namespace)
            if any(owner["name"] == pod for owner in claim["metadata"].get("ownerReferences", ()))
        ]


def _pids_with(mark: str) -> list[int]:
    """List the processes, of any PID namespace, with this in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
