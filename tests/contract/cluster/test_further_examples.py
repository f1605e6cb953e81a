"""The examples that need more than one pod, driver or claim, as real pods."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.real_driver import RealDriver
from contract.cluster.served import NamedDevices, served
from ibdra_app import library as dra

EXAMPLES = Path(__file__).parents[3] / "examples"
GPUS = "gpu.nvidia.com"
Json = dict[str, Any]
pytestmark = pytest.mark.real


@contextmanager
def applied(admin: Admin, example: str) -> Iterator[list[Json]]:
    """Have an example's objects there; its pods end before its namespace does."""
    objects = list(admin.apply_manifests(EXAMPLES / f"{example}.yaml"))
    namespaced = [one for one in objects if "namespace" in one["metadata"]]
    try:
        yield objects
    finally:
        for one in namespaced:
            metadata = one["metadata"]
            admin.delete(one["kind"], metadata["name"], namespace=metadata["namespace"])
        wait_until(
            lambda: not admin.list("Pod", namespace=example),
            what="the end of the pods",
            last=lambda: admin.list("Pod", namespace=example),
        )
        for one in objects:
            if one not in namespaced:
                admin.delete(one["kind"], one["metadata"]["name"])
        wait_until(
            lambda: not admin.list("ResourceClaim", namespace=example),
            what="the end of the claims",
        )


def running(admin: Admin, pod: str, *, namespace: str) -> None:
    """Wait until a pod runs."""
    admin.wait_for(
        "Pod", pod, lambda found: found["status"]["phase"] == "Running", namespace=namespace
    )


def words_of(kubelet: RealKubelet, pod: str, *, namespace: str) -> dict[str, str]:
    """Wait until the container has said everything; give its variables, and its nodes."""

    def look() -> list[str]:
        lines = kubelet.logs_of(pod, namespace=namespace, container="ctr0").splitlines()
        return lines if any(line.startswith("c") for line in lines) else []

    lines = wait_until(look, what="the container's word")
    nodes = [line.split()[-1] for line in lines if line.startswith("c")]
    variables = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_0-9]+=", line))
    return {**variables, "nodes": " ".join(nodes)}


def allocated(claim: Json) -> dict[str, str]:
    """Give a claim's devices by request."""
    results = claim["status"]["allocation"]["devices"]["results"]
    return {result["request"]: result["device"] for result in results}


@pytest.fixture(autouse=True)
def without_trace(ibdra: RealDriver) -> Iterator[None]:
    """Compare the node with what it was."""
    before, published = ibdra.at_home(), ibdra.devices()
    yield
    ibdra.await_gone()
    assert before == ibdra.at_home()
    assert published == ibdra.devices()


@pytest.fixture
def gpus(
    admin: Admin, control_plane: ControlPlane, kubelet: RealKubelet, ibdra: RealDriver
) -> Iterator[Callable[[str], str]]:
    """Have another driver's GPUs, one at each of the machine's last two PCIe roots."""
    roots = {device: root_of(body) for device, body in ibdra.devices().items()}
    devices = [
        dra.Device(
            name=f"gpu-{number}",
            attributes={"resource.kubernetes.io/pcieRoot": dra.DeviceAttribute.of(root)},
        )
        for number, root in enumerate(sorted(set(roots.values()))[-2:])
    ]
    kube = dra.connect(driver=GPUS, node=kubelet.name, kubeconfig=control_plane.kubeconfig)
    driver = NamedDevices(GPUS, variable="NVIDIA_GPU", kubelet=kubelet, kube=kube)
    publisher = dra.SlicePublisher(
        slices=kube.slices, nodes=kube.nodes, driver=GPUS, node=kubelet.name
    )
    selector = {"cel": {"expression": f'device.driver == "{GPUS}"'}}
    admin.create(
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": GPUS},
            "spec": {"selectors": [selector]},
        }
    )
    with served(dra.KubeletPlugin(GPUS, dra.OneByOne(driver), kubelet_dir=kubelet.root)):
        publisher.publish(devices)
        yield lambda name: {d.name: root_of_device(d) for d in devices}[name]
        for one in kube.slices.list():
            kube.slices.delete(one)
    admin.delete("DeviceClass", GPUS)


def root_of(device: Json) -> str:
    root: str = device["attributes"]["resource.kubernetes.io/pcieRoot"]["string"]
    return root


def root_of_device(device: dra.Device) -> str:
    return str(device.attributes["resource.kubernetes.io/pcieRoot"].value)


def test_the_hca_is_the_one_beside_the_gpu(
    admin: Admin, kubelet: RealKubelet, ibdra: RealDriver, gpus: Callable[[str], str]
) -> None:
    """One claim, two drivers, one PCIe root; the container has both devices."""
    with applied(admin, "gpu-affinity"):
        running(admin, "pod0", namespace="gpu-affinity")
        claim = admin.claim_of("pod0", namespace="gpu-affinity", entry="ib")
        devices = allocated(claim)
        assert gpus(devices["gpu"]) == root_of(ibdra.devices()[devices["nic"]])
        words = words_of(kubelet, "pod0", namespace="gpu-affinity")
        assert devices["gpu"] == words["NVIDIA_GPU"]
        assert "1" == words["IB_DEVICE_NIC_PORT"]
        assert 2 == len(ibdra.away())


def test_two_pods_have_two_hcas_and_one_partition(
    admin: Admin, kubelet: RealKubelet, ibdra: RealDriver
) -> None:
    """Each has its own VF and child interface; the key is the same."""
    space = "two-pods-one-fabric"
    with applied(admin, space):
        found = []
        for pod in ("pod0", "pod1"):
            running(admin, pod, namespace=space)
            found.append(words_of(kubelet, pod, namespace=space))
        assert {"0x8001"} == {words["UCX_IB_PKEY"] for words in found}
        assert 2 == len({words["IB_DEVICE_VF_IBDEV"] for words in found})
        assert all(words["IB_DEVICE_VF_NETDEV"].endswith(".8001") for words in found)
        assert 6 == len(ibdra.away())


def test_the_agent_sees_every_pf(admin: Admin, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """Admin access to all, on the host's network, and nothing moves."""
    pfs = [
        name
        for name, device in ibdra.devices().items()
        if device["attributes"]["type"]["string"] == "PF"
    ]
    with applied(admin, "monitoring"):

        def look() -> str | None:
            pods = admin.list("Pod", namespace="monitoring")
            here = [p for p in pods if p["spec"].get("nodeName") == kubelet.name]
            return here[0]["metadata"]["name"] if here else None

        pod = wait_until(look, what="the agent's pod")
        running(admin, pod, namespace="monitoring")
        words = words_of(kubelet, pod, namespace="monitoring")
        told = [key for key in words if re.fullmatch(r"IB_DEVICE_PFS_\d+_ADMIN", key)]
        assert len(pfs) == len(told)
        kinds = re.findall(r"[a-z]+(?=\d)", words["nodes"])
        assert [len(pfs)] * 3 == [kinds.count(kind) for kind in ("uverbs", "umad", "issm")]
        assert [] == ibdra.away()


def test_a_limit_is_fulfilled_by_a_vf(
    admin: Admin, kubelet: RealKubelet, ibdra: RealDriver
) -> None:
    """Where the server keeps the class's name for it; else the pod waits."""
    space = "extended-resource"
    with applied(admin, space) as objects:
        (klass,) = (one for one in objects if one["kind"] == "DeviceClass")
        if "extendedResourceName" not in klass["spec"]:

            def condition(pod: Json) -> bool:
                conditions = pod["status"].get("conditions", ())
                return any(
                    "Insufficient ib.sigs.k8s.io/vf" in c.get("message", "") for c in conditions
                )

            admin.wait_for("Pod", "pod0", condition, namespace=space)
            return
        running(admin, "pod0", namespace=space)
        words = words_of(kubelet, "pod0", namespace=space)
        assert "1" == words["IB_DEVICE_CONTAINER_0_REQUEST_0_PORT"]
        assert 2 == len(ibdra.away())
