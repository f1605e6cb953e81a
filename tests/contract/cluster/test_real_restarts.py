"""Pods in a real cluster while something is killed, refused, or waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contract.cluster.cluster_objects import DRA, a_pod
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.real_driver import RealDriver

Json = dict[str, Any]
pytestmark = pytest.mark.real

_DRIVER = "ib.sigs.k8s.io"
_VF = "pci-0000-18-00-1-port1"
_OTHER_VF = "pci-0000-18-00-2-port1"
_PCI = {_VF: "0000:18:00.1", _OTHER_VF: "0000:18:00.2"}
_LONG = 60.0


def a_template(name: str, *, namespace: str, device: str, config: Json | None = None) -> Json:
    """Make a template of claims for one device and no other."""
    selector = f'device.attributes["{_DRIVER}"].pciAddress == "{_PCI[device]}"'
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

    def create(self, pod: str, *, device: str = _VF, config: Json | None = None) -> None:
        """Create a pod that restarts, and writes what it has been given at each start."""
        self._admin.create(a_template(pod, namespace=self.namespace, device=device, config=config))
        self._marks[pod] = uuid4().hex
        wait = "trap exit TERM; sleep 100000 & wait"
        script = f": {self._marks[pod]}; echo $IB_DEVICE_DEV_PCI; {wait}"
        body = a_pod(pod, namespace=self.namespace, template=pod, script=script)
        body["spec"]["restartPolicy"] = "Always"
        self._admin.create(body)

    def run(self, pod: str, *, device: str = _VF) -> Json:
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

        self._admin.wait_for("Pod", pod, is_there, namespace=self.namespace, seconds=_LONG)

    def kill_container(self, pod: str) -> None:
        """Kill the first process of a pod's container, as the OOM killer would."""
        (pid,) = _pids_with(self._marks[pod])
        os.kill(pid, signal.SIGKILL)

    def delete(self, pod: str, *, grace: int | None = None) -> None:
        """Delete a pod and wait until it is gone, and its claim."""
        self.begin_deleting(pod, grace=grace)
        self.await_gone(pod)

    def begin_deleting(self, pod: str, *, grace: int | None = None) -> None:
        """Tell the server to delete a pod."""
        self._admin.delete("Pod", pod, namespace=self.namespace, grace=grace)

    def await_gone(self, pod: str) -> None:
        """Wait until a pod is gone, and its claim."""
        self._admin.wait_gone("Pod", pod, namespace=self.namespace, seconds=_LONG)
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


@pytest.fixture
def user(admin: Admin, ibdra: RealDriver, namespace: str) -> Iterator[PodUser]:
    """Give a user whose pods are gone at the end, and everything of them."""
    before = ibdra.at_home()
    yield PodUser(admin, namespace)
    ibdra.ensure_running()
    admin.end_pods(namespace)
    ibdra.await_gone()
    assert before == ibdra.at_home()


def test_a_container_starts_again(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """A container that is killed starts again beside its devices, which nobody moves."""
    user.run("pod0")
    machine = ibdra.machine()
    user.kill_container("pod0")
    user.await_running("pod0", restarts=1)
    assert machine == ibdra.machine()
    assert [_PCI[_VF]] * 2 == _words(kubelet, user, "pod0", count=2)


def test_the_driver_is_killed(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """Pods go on, and start again by their marks; one that ends waits for the next driver."""
    user.run("pod0")
    away, left = ibdra.away(), ibdra.left()
    user.run("pod1", device=_OTHER_VF)
    ibdra.kill()
    user.begin_deleting("pod1")
    user.kill_container("pod0")
    user.await_running("pod0", restarts=1)
    assert [_PCI[_VF]] * 2 == _words(kubelet, user, "pod0", count=2)
    assert 2 * len(left) == len(ibdra.left())
    ibdra.start()
    user.await_gone("pod1")
    assert (away, left) == (ibdra.away(), ibdra.left())
    assert f"{user.namespace}/pod0" not in ibdra.complaints()
    assert f"{user.namespace}/pod1" in ibdra.complaints()  # its namespace had died
    user.delete("pod0")
    assert [] == ibdra.left()


def test_the_kubelet_is_killed(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """Its pods stay, the slices that it takes away come back, and its pods can be deleted."""
    user.run("pod0")
    machine, left, published = ibdra.machine(), ibdra.left(), ibdra.devices()
    before = {one["metadata"]["uid"] for one in ibdra.slices()}
    registrations = ibdra.registrations
    kubelet.stop_kubelet()
    kubelet.start_kubelet()
    wait_until(lambda: ibdra.registrations > registrations, what="the driver, taken again")
    wait_until(
        lambda: not before & {one["metadata"]["uid"] for one in ibdra.slices()},
        what="the old slices' end",
        seconds=_LONG,
    )
    wait_until(lambda: published == ibdra.devices(), what="the slices", seconds=_LONG)
    assert (machine, left) == (ibdra.machine(), ibdra.left())
    user.await_running("pod0")
    user.run("pod1", device=_OTHER_VF)
    user.delete("pod0")
    user.delete("pod1")
    assert [] == ibdra.left()


def test_a_refused_config_is_told(user: PodUser, ibdra: RealDriver) -> None:
    """The kubelet's event says that it was refused, ours says why; nothing is left of it."""
    user.create("pod0", config={"pkey": 35516})

    def told() -> dict[str, str] | None:
        found = user.reasons("pod0")
        return found if {"FailedPrepareDynamicResources", "PrepareFailed"} <= set(found) else None

    reasons = wait_until(told, what="both events", last=lambda: user.reasons("pod0"))
    for reason in ("FailedPrepareDynamicResources", "PrepareFailed"):
        assert "0x8abc is not in the partition table" in reasons[reason]
    assert [] == ibdra.left()
    user.delete("pod0")


def test_the_second_pod_gets_the_device_when_the_first_is_gone(
    user: PodUser, ibdra: RealDriver
) -> None:
    """One device serves one pod: the other waits unscheduled, and has it afterwards."""
    first = user.run("pod0")
    user.create("pod1")
    wait_until(lambda: "FailedScheduling" in user.reasons("pod1"), what="the scheduler's word")
    assert "cannot allocate all claims" in user.reasons("pod1")["FailedScheduling"]
    user.delete("pod0")
    user.await_running("pod1")
    second = user.claim("pod1")
    results = [claim["status"]["allocation"]["devices"]["results"] for claim in (first, second)]
    assert [[_VF]] * 2 == [[result["device"] for result in found] for found in results]
    assert 3 == len(ibdra.left())


def test_a_pod_is_deleted_by_force(user: PodUser, ibdra: RealDriver) -> None:
    """The API server forgets it at once; the node ends it all the same, and brings all home."""
    user.run("pod0")
    user.delete("pod0", grace=0)
    ibdra.await_gone()
    user.run("pod1")


def _words(kubelet: RealKubelet, user: PodUser, pod: str, *, count: int) -> list[str]:
    """Wait until a pod's containers have said so many words."""

    def look() -> list[str] | None:
        found = kubelet.logs_of(pod, namespace=user.namespace).split()
        return found if count == len(found) else None

    return wait_until(
        look,
        what=f"{count} words",
        last=lambda: kubelet.logs_of(pod, namespace=user.namespace),
    )


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
