"""The control plane itself: it does what clusters do, and can be lost and come back."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from contract.cluster.cluster_objects import (
    a_claim_template,
    a_device_class,
    a_pod,
    a_resource_slice,
)
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import Api, ApiError
from contract.cluster.control_plane.running import ControlPlane


@pytest.fixture
def driver(admin: Admin, node: str) -> Iterator[str]:
    """Give a driver (and class) with one device on the node."""
    name = f"{uuid4().hex[:8]}.example.com"
    admin.create(a_device_class(name, driver=name))
    admin.create(a_resource_slice(name, driver=name, node=node))
    yield name
    admin.delete("ResourceSlice", name)
    admin.delete("DeviceClass", name)


@pytest.fixture
def template(admin: Admin, namespace: str, driver: str) -> str:
    """Give a template of claims for the driver's device."""
    admin.create(a_claim_template("dev", namespace=namespace, device_class=driver))
    return "dev"


def test_version(control_plane: ControlPlane, admin: Admin) -> None:
    """The server says the version of the modules it was built from."""
    assert control_plane.version == admin.api.request("GET", "/version")["gitVersion"]


def test_pod_gets_its_device(
    admin: Admin, namespace: str, node: str, driver: str, template: str
) -> None:
    """A pod's claim is made from its template, allocated and reserved; the pod is bound."""
    pod = admin.create(a_pod("pod0", namespace=namespace, template=template))
    claim = admin.claim_of("pod0", namespace=namespace, entry="dev")
    (result,) = claim["status"]["allocation"]["devices"]["results"]
    taken = (result["driver"], result["pool"], result["device"], result["request"])
    assert (driver, node, "dev-0", "dev") == taken
    assert [pod["metadata"]["uid"]] == [user["uid"] for user in claim["status"]["reservedFor"]]
    assert node == admin.wait_bound("pod0", namespace=namespace)


def test_deleted_pod_gives_its_device_back(
    admin: Admin, namespace: str, node: str, template: str
) -> None:
    """When a pod is deleted its claim goes, and the next pod gets the device."""
    admin.create(a_pod("pod0", namespace=namespace, template=template))
    claim = admin.claim_of("pod0", namespace=namespace, entry="dev")
    admin.wait_bound("pod0", namespace=namespace)
    admin.delete_pod("pod0", namespace=namespace)
    admin.wait_gone("ResourceClaim", claim["metadata"]["name"], namespace=namespace)
    admin.create(a_pod("pod1", namespace=namespace, template=template))
    assert node == admin.wait_bound("pod1", namespace=namespace)


def test_ended_pod_gives_its_device_back(admin: Admin, namespace: str, template: str) -> None:
    """When a pod has ended its claim goes, though the pod is still there."""
    admin.create(a_pod("pod0", namespace=namespace, template=template))
    claim = admin.claim_of("pod0", namespace=namespace, entry="dev")
    admin.wait_bound("pod0", namespace=namespace)
    admin.end_pod("pod0", namespace=namespace)
    admin.wait_gone("ResourceClaim", claim["metadata"]["name"], namespace=namespace)
    assert "Succeeded" == admin.get("Pod", "pod0", namespace=namespace)["status"]["phase"]


def test_server_comes_back_with_its_data(
    control_plane: ControlPlane, admin: Admin, namespace: str
) -> None:
    """A lost API server is no longer connected to; started again it has what was stored."""
    before = admin.get("Namespace", namespace)
    control_plane.stop_api_server()
    try:
        with pytest.raises(ConnectionRefusedError):
            admin.get("Namespace", namespace)
    finally:
        control_plane.start_api_server()
    assert before == admin.get("Namespace", namespace)


def test_paused_server_does_not_answer(control_plane: ControlPlane, admin: Admin) -> None:
    """A paused API server keeps its callers waiting; then it goes on."""
    control_plane.pause()
    try:
        with pytest.raises(TimeoutError):
            admin.api.text("GET", "/readyz", seconds=0.5)
    finally:
        control_plane.resume()
    assert "ok" == admin.api.text("GET", "/readyz")


def test_node_sees_what_the_authorizer_allows(
    control_plane: ControlPlane, admin: Admin, namespace: str, node: str, template: str
) -> None:
    """A node may read the claim of a pod that is bound to it; no other node may."""
    admin.create(a_pod("pod0", namespace=namespace, template=template))
    claim = admin.claim_of("pod0", namespace=namespace, entry="dev")
    admin.wait_bound("pod0", namespace=namespace)
    name = claim["metadata"]["name"]

    def as_node(which: str) -> Admin:
        groups = ["system:nodes"]
        return Admin.of(control_plane.kubeconfig_for(f"system:node:{which}", groups=groups))

    seen = as_node(node).wait_for("ResourceClaim", name, lambda _: True, namespace=namespace)
    assert claim["metadata"]["uid"] == seen["metadata"]["uid"]
    with pytest.raises(ApiError) as refused:
        as_node("node-other").get("ResourceClaim", name, namespace=namespace)
    assert 403 == refused.value.code


def test_service_account_is_who_its_token_says(control_plane: ControlPlane, namespace: str) -> None:
    """A service account's kubeconfig makes its bearer that account."""
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "default")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = Api(kubeconfig).request("POST", path, review)
    expected = f"system:serviceaccount:{namespace}:default"
    assert expected == answer["status"]["userInfo"]["username"]


def test_claims_token_names_the_node(
    control_plane: ControlPlane, admin: Admin, namespace: str, node: str, template: str
) -> None:
    """A token that is bound to a pod tells the server which node the pod is on."""
    pod = admin.create(a_pod("pod0", namespace=namespace, template=template))
    admin.wait_bound("pod0", namespace=namespace)
    bound = ("pod0", pod["metadata"]["uid"])
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "default", pod=bound)
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    answer = Api(kubeconfig).request("POST", path, review)
    extra = answer["status"]["userInfo"]["extra"]
    assert [node] == extra["authentication.kubernetes.io/node-name"]
