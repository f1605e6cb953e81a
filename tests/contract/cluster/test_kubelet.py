"""A real kubelet on a real control plane, with a driver of one device that is no device.

The driver is served by the adapter that serves ours: what the kubelet asks of it, and what it
makes of the answers, is seen here without any InfiniBand.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import pytest

from contract.cluster.cluster_objects import (
    a_claim_template,
    a_device_class,
    a_pod,
    a_resource_slice,
)
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import Json
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.served import served
from ibdra_adapters.kubelet import KubeletPlugin
from ibdra_domain.errors import ClaimRefused, IbdraError
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

_SECONDS = 20.0
pytestmark = pytest.mark.real


class OneDevice:
    """A driver whose device is a word in the environment, and a hook that writes what it got."""

    def __init__(self, name: str, *, node: RealKubelet) -> None:
        self.name = name
        self.refusal: IbdraError | None = None
        self.prepared: list[ClaimRef] = []
        self.unprepared: list[ClaimRef] = []
        self.hook_state = node.folder / f"{name}-state.json"
        self._node = node

    def prepare(
        self, claims: Sequence[ClaimRef]
    ) -> Mapping[str, tuple[PreparedDevice, ...] | IbdraError]:
        self.prepared += claims
        return {claim.uid: self.refusal or (self._prepare(claim),) for claim in claims}

    def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, IbdraError | None]:
        self.unprepared += claims
        for claim in claims:
            self._spec(claim).unlink(missing_ok=True)
        return dict.fromkeys((claim.uid for claim in claims), None)

    def _prepare(self, claim: ClaimRef) -> PreparedDevice:
        hook = {
            "hookName": "createRuntime",
            "path": "/bin/sh",
            "args": ["sh", "-c", f"cat > {self.hook_state}"],
        }
        edits = {"env": [f"CLAIM={claim.uid}"], "hooks": [hook]}
        device = {"name": claim.uid, "containerEdits": edits}
        kind = f"{self.name}/claim"
        spec = {"cdiVersion": "0.5.0", "kind": kind, "devices": [device]}
        self._spec(claim).write_text(json.dumps(spec))
        return PreparedDevice(
            requests=("dev",),
            pool=self._node.name,
            device="dev-0",
            cdi_ids=(f"{kind}={claim.uid}",),
        )

    def _spec(self, claim: ClaimRef) -> Path:
        return self._node.cdi / f"{self.name}-{claim.uid}.json"


@pytest.fixture
def plugin(admin: Admin, kubelet: RealKubelet, driver: OneDevice) -> Iterator[KubeletPlugin]:
    """Have the kubelet take the driver; its class and slice are there."""
    admin.create(a_device_class(driver.name, driver=driver.name))
    made = KubeletPlugin(driver.name, driver, kubelet_dir=kubelet.root)
    with served(made):
        admin.create(a_resource_slice(driver.name, driver=driver.name, node=kubelet.name))
        yield made
    admin.delete("DeviceClass", driver.name)
    if admin.find("ResourceSlice", driver.name) is not None:
        admin.delete("ResourceSlice", driver.name)


@pytest.fixture
def driver(kubelet: RealKubelet) -> OneDevice:
    """Give a driver of one device; a CDI vendor's name begins with a letter."""
    return OneDevice(f"d{uuid4().hex[:8]}.example.com", node=kubelet)


@pytest.fixture
def template(
    admin: Admin, namespace: str, driver: OneDevice, plugin: KubeletPlugin
) -> Iterator[str]:
    """Give a template of claims for the device; pods end before the driver does."""
    assert plugin.registered.is_set()
    admin.create(a_claim_template("dev", namespace=namespace, device_class=driver.name))
    yield "dev"
    admin.end_pods(namespace)


def test_pod_runs(admin: Admin, kubelet: RealKubelet, namespace: str) -> None:
    """A pod without claims runs to its end in a network namespace of its own."""
    pod = a_pod("pod0", namespace=namespace, script="echo here; ls /sys/class/net")
    admin.create(pod)
    ended = admin.wait_for("Pod", "pod0", _has_ended, namespace=namespace)
    assert "Succeeded" == ended["status"]["phase"]
    assert kubelet.name == ended["spec"]["nodeName"]
    assert ["here", "lo"] == kubelet.logs_of("pod0", namespace=namespace).split()


def test_claim_is_prepared_and_unprepared(
    admin: Admin, kubelet: RealKubelet, namespace: str, driver: OneDevice, template: str
) -> None:
    """A claim is prepared before its container starts, is seen in it, and goes with the pod."""
    script = "echo claim $CLAIM; sleep 1000"
    admin.create(a_pod("pod0", namespace=namespace, template=template, script=script))
    admin.wait_for("Pod", "pod0", _is_running, namespace=namespace)
    claim = admin.claim_of("pod0", namespace=namespace, entry="dev")["metadata"]
    wanted = ClaimRef(namespace=namespace, name=claim["name"], uid=claim["uid"])
    assert [wanted] == driver.prepared
    wait_until(
        lambda: f"claim {wanted.uid}" == kubelet.logs_of("pod0", namespace=namespace),
        what="the container's word",
        last=lambda: kubelet.logs_of("pod0", namespace=namespace),
    )
    state = json.loads(driver.hook_state.read_text())
    inside = kubelet.enter("readlink", f"/proc/{state['pid']}/ns/net")
    namespace_of_pod = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
    assert "creating" == state["status"]
    assert str(Path("/proc/self/ns/net").readlink()) != namespace_of_pod.strip()
    assert [] == driver.unprepared
    admin.end_pods(namespace)
    assert [wanted] == driver.unprepared
    admin.wait_gone("ResourceClaim", claim["name"], namespace=namespace)


def test_refused_claim_keeps_the_pod_waiting(
    admin: Admin, namespace: str, driver: OneDevice, template: str
) -> None:
    """A claim that is refused holds its pod up, with the reason; it starts once it is not."""
    driver.refusal = ClaimRefused("the port is gone", remedy="plug it in")
    script = "echo claim $CLAIM"
    admin.create(a_pod("pod0", namespace=namespace, template=template, script=script))
    reason = wait_until(
        lambda: _event(admin, namespace, "FailedPrepareDynamicResources"), what="the event"
    )
    assert "the port is gone" in reason
    assert "Pending" == admin.get("Pod", "pod0", namespace=namespace)["status"]["phase"]
    driver.refusal = None
    ended = admin.wait_for("Pod", "pod0", _has_ended, namespace=namespace, seconds=60.0)
    assert "Succeeded" == ended["status"]["phase"]


@pytest.mark.usefixtures("template")
def test_kubelet_comes_back(
    admin: Admin,
    kubelet: RealKubelet,
    namespace: str,
    driver: OneDevice,
    plugin: KubeletPlugin,
) -> None:
    """A kubelet that comes back takes the driver again, and prepares nothing a second time."""
    admin.create(a_pod("pod0", namespace=namespace, template="dev", script="sleep 1000"))
    admin.wait_for("Pod", "pod0", _is_running, namespace=namespace)
    before = admin.get("Pod", "pod0", namespace=namespace)["status"]["containerStatuses"]
    kubelet.stop_kubelet()
    plugin.registered.clear()
    kubelet.start_kubelet()
    wait_until(plugin.registered.is_set, what="the driver, taken again")
    # It has cleared the slices of its node, which a driver has to notice.
    admin.wait_gone("ResourceSlice", driver.name)
    admin.create(a_pod("pod1", namespace=namespace))
    admin.wait_for("Pod", "pod1", _has_ended, namespace=namespace)
    after = admin.get("Pod", "pod0", namespace=namespace)["status"]["containerStatuses"]
    assert before == after
    assert 1 == len(driver.prepared)


def _has_ended(pod: Json) -> bool:
    return pod["status"]["phase"] in ("Succeeded", "Failed")


def _is_running(pod: Json) -> bool:
    return bool(pod["status"]["phase"] == "Running")


def _event(admin: Admin, namespace: str, reason: str) -> str | None:
    """Find what an event with this reason says."""
    events = admin.list("Event", namespace=namespace)
    return next((each["message"] for each in events if each["reason"] == reason), None)
