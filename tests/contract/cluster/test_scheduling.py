"""What the real scheduler makes of our slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.driver_node import DriverNode, RunningPod
from contract.cluster.pods import PF, VF, a_claim, a_pod, cel, on_one, request
from ibdra_adapters.simulation.profile import SimulatedHca
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import PreparedDevice

Json = dict[str, Any]
OnNode = Callable[..., DriverNode]


class Jobs:
    """Pods of one namespace on one node, ended at the end."""

    def __init__(self, admin: Admin, node: DriverNode, namespace: str) -> None:
        self.admin, self.node, self.namespace = admin, node, namespace

    def wants(self, name: str, *requests: Json, **devices: object) -> Json:
        """Create a claim and a pod that wants it; give the pod."""
        self.admin.create(a_claim(name, *requests, namespace=self.namespace, **devices))
        pod = a_pod(name, name, namespace=self.namespace, node=self.node.node)
        return self.admin.create(pod)

    def runs(self, name: str, *requests: Json, **devices: object) -> RunningPod:
        """Create them, and run the pod."""
        return self.node.start(self.wants(name, *requests, **devices))

    def end(self, *running: RunningPod) -> None:
        """End pods whose claims stay, as those do that have names of their own."""
        for pod in running:
            self.node.machine.kernel.end_process(pod.pid)
            answers = self.node.unprepare(*pod.claims.values())
            assert [None] * len(answers) == list(answers.values())
            name = pod.pod["metadata"]["name"]
            self.admin.end_pod(name, namespace=self.namespace)
            self.admin.delete_pod(name, namespace=self.namespace)

    def why_pending(self, pod: Json) -> str:
        """Wait until the scheduler has said that it cannot place a pod; give its words."""

        def look() -> str | None:
            found = self.admin.get("Pod", pod["metadata"]["name"], namespace=self.namespace)
            for condition in found["status"].get("conditions", ()):
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    return str(condition["message"])
            return None

        return wait_until(look, what="a word of the scheduler")


def simulated(node: DriverNode, pci: str) -> SimulatedHca:
    """Find an HCA of the simulated machine."""
    return next(h for h in node.machine.hcas.values() if h.pci == pci)


def given(running: RunningPod) -> list[str]:
    """Give the devices of a pod."""
    return [
        result["device"]
        for claim in running.claims.values()
        for result in claim["status"]["allocation"]["devices"]["results"]
    ]


@pytest.fixture
def jobs(admin: Admin, on_node: OnNode, namespace: str) -> Jobs:
    """Give a node with 8 HCAs, 4 VFs on each of two of them."""
    return Jobs(admin, on_node("dgx-h100"), namespace)


def test_of_two_pods_for_one_device_one_waits(jobs: Jobs) -> None:
    """It gets the device when the first has ended."""
    one = request(selectors=[on_one("0000:18:00.1")])
    first = jobs.runs("first", one)
    waiting = jobs.wants("second", one)
    assert "cannot allocate all claims" in jobs.why_pending(waiting)
    jobs.end(first)
    second = jobs.node.start(waiting)
    assert ["pci-0000-18-00-1-port1"] == given(second)
    jobs.end(second)
    assert [] == jobs.node.left()


@pytest.mark.parametrize(
    "attribute", ["resource.kubernetes.io/pcieRoot", "resource.kubernetes.io/numaNode"]
)
def test_devices_of_one_claim_agree_in_an_attribute(jobs: Jobs, attribute: str) -> None:
    """``matchAttribute`` of the standard names, which other drivers publish too."""
    running = jobs.runs(
        "near", request(count=2), constraints=[{"requests": ["hca"], "matchAttribute": attribute}]
    )
    devices = jobs.node.devices()
    values = {tuple(devices[name]["attributes"][attribute].values()) for name in given(running)}
    assert (2, 1) == (len(given(running)), len(values))
    jobs.end(running)


def test_no_pod_gets_a_pf_whose_vf_is_taken(jobs: Jobs) -> None:
    """By counters where the server keeps them; else at prepare, with the holder's name."""
    counted = any("sharedCounters" in s["spec"] for s in jobs.node.slices())
    vf = jobs.runs("vf", request(selectors=[on_one("0000:18:00.1")]))
    pf = jobs.wants("pf", request(device_class=PF, selectors=[on_one("0000:18:00.0")]))
    if counted:
        assert "cannot allocate all claims" in jobs.why_pending(pf)
    else:
        (answer,) = jobs.node.prepare(*jobs.node.claims_of(pf).values()).values()
        assert isinstance(answer, str)
        assert jobs.namespace + "/vf" in answer
    jobs.end(vf)
    running = jobs.node.start(pf)
    assert ["pci-0000-18-00-0-port1"] == given(running)
    jobs.end(running)


def test_admin_access_is_given_beside_the_holder(jobs: Jobs, admin: Admin) -> None:
    """Only in a namespace that is labelled for it; the device stays where it is."""
    label = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    wanted = request(device_class=VF, adminAccess=True, selectors=[on_one("0000:18:00.1")])
    with pytest.raises(Exception, match="admin"):
        jobs.wants("monitor", wanted)
    admin.patch("Namespace", jobs.namespace, label)
    holder = jobs.runs("holder", request(selectors=[on_one("0000:18:00.2")]))
    wanted = request(device_class=VF, adminAccess=True, selectors=[on_one("0000:18:00.2")])
    pod = jobs.wants("monitor", wanted)
    claims = jobs.node.claims_of(pod)
    (answer,) = jobs.node.prepare(*claims.values()).values()
    assert isinstance(answer, tuple)
    assert "pci-0000-18-00-2-port1" == answer[0].device
    assert [None] == list(jobs.node.unprepare(*claims.values()).values())
    jobs.end(holder)


def test_a_port_that_went_down_is_not_chosen(jobs: Jobs) -> None:
    """The attribute follows the port, and a selector on it the attribute."""
    hca = simulated(jobs.node, "0000:18:00.0")
    before = {s["metadata"]["name"]: s["metadata"]["resourceVersion"] for s in jobs.node.slices()}
    down = replace(hca.ports[0], state=PortState.DOWN)
    jobs.node.machine.change(replace(hca, ports=(down, *hca.ports[1:])))
    name = "pci-0000-18-00-0-port1"
    jobs.node.await_slices(
        lambda _: jobs.node.devices()[name]["attributes"]["portState"] == {"string": "Down"},
        what="the port down",
    )
    after = {s["metadata"]["name"]: s["metadata"]["resourceVersion"] for s in jobs.node.slices()}
    assert 1 == len([n for n in before if before[n] != after[n]])
    active = cel('device.portState == "Active"')
    pod = jobs.wants("picky", request(device_class=PF, selectors=[on_one("0000:18:00.0"), active]))
    assert "cannot allocate all claims" in jobs.why_pending(pod)


def test_the_alternative_that_fits_is_prepared_as_its_request(jobs: Jobs) -> None:
    """The first alternative that fits is prepared under its request's name."""
    wanted = {
        "name": "hca",
        "firstAvailable": [
            {"name": "none", "deviceClassName": PF, "selectors": [on_one("ffff:00:00.0")]},
            {"name": "vf", "deviceClassName": VF},
        ],
    }
    pod = jobs.wants("either", wanted)
    (answer,) = jobs.node.prepare(*jobs.node.claims_of(pod).values()).values()
    assert isinstance(answer, tuple)
    (device,) = answer
    assert isinstance(device, PreparedDevice)
    assert ("hca",) == device.requests


def test_thirty_two_requests_and_ten_kilobytes_of_config(jobs: Jobs) -> None:
    """The API's limits are ours: whatever it lets in is answered, one way or the other."""
    many = [request(f"hca-{n}") for n in range(32)]
    parameters = {
        "apiVersion": "ib.resource.sigs.k8s.io/v1alpha1",
        "kind": "IbConfig",
        "unknown": "x" * 9000,
    }
    config = [{"opaque": {"driver": "ib.sigs.k8s.io", "parameters": parameters}}]
    pod = jobs.wants("many", *many, config=config)
    (answer,) = jobs.node.prepare(*jobs.node.claims_of(pod).values()).values()
    assert isinstance(answer, str)
    assert "unknown" in answer
    assert [] == jobs.node.left()
