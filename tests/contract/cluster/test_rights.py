"""What the driver's service account needs, tried with a token as its pod has one."""

from __future__ import annotations

from typing import Any

import pytest

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.pods import a_claim, request
from ibdra_adapters.kube.client import KubeClient
from ibdra_adapters.kube.server_reports import ServerClaimStatus
from ibdra_domain.errors import KubeFailed
from ibdra_domain.kube_objects import AllocatedDeviceStatus

Json = dict[str, Any]
DRIVER = "ib.sigs.k8s.io"
STATUS = {"apiGroups": ["resource.k8s.io"], "resources": ["resourceclaims/status"]}
GRANULAR = {
    "apiGroups": ["resource.k8s.io"],
    "resources": ["resourceclaims/driver"],
    "resourceNames": [DRIVER],
    "verbs": ["associated-node:patch", "associated-node:update"],
}


def account(admin: Admin, namespace: str, node: str, *rules: Json) -> tuple[str, str]:
    """Make a service account with a role, and a pod of it on the node; give the pod."""
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": "driver", "namespace": namespace}
    admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    admin.create(
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": list(rules)}
    )
    admin.create(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "driver"},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        }
    )
    container = {"name": "driver", "image": "none.invalid/none"}
    pod = admin.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "serviceAccountName": "driver",
                "nodeName": node,
                "containers": [container],
            },
        }
    )
    return "driver", pod["metadata"]["uid"]


@pytest.mark.parametrize("granular", [True, False], ids=["with", "without"])
def test_status_needs_the_granular_right_where_there_is_one(
    admin: Admin, control_plane: ControlPlane, namespace: str, node: str, *, granular: bool
) -> None:
    """From 1.36 on the right to the status is not enough: the driver's own part is asked, too."""
    rules = [STATUS | {"verbs": ["patch", "update"]}, *([GRANULAR] if granular else [])]
    pod = account(admin, namespace, node, *rules)
    claim = admin.create(a_claim("job", request(), namespace=namespace))
    result = {"request": "hca", "driver": DRIVER, "pool": node, "device": "dev-0"}
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]
    allocation = {
        "devices": {"results": [result]},
        "nodeSelector": {"nodeSelectorTerms": terms},
    }
    admin.replace(claim | {"status": {"allocation": allocation}}, subresource="status")
    client = KubeClient(
        kubeconfig=control_plane.service_account_kubeconfig(namespace, "driver", pod=pod),
        observe=lambda *_: None,
    )
    status = ServerClaimStatus(client, driver=DRIVER)
    ours = [AllocatedDeviceStatus(driver=DRIVER, pool=node, device="dev-0")]
    uid = claim["metadata"]["uid"]
    try:
        if granular or control_plane.version.startswith("v1.34"):
            status.apply(namespace, "job", ours, uid=uid)
            devices = admin.get("ResourceClaim", "job", namespace=namespace)["status"]["devices"]
            assert ["dev-0"] == [d["device"] for d in devices]
        else:
            with pytest.raises(KubeFailed, match="associated-node:patch"):
                status.apply(namespace, "job", ours, uid=uid)
    finally:
        client.close()
