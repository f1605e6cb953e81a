"""Objects that many tests create: a class, a slice, a claim template, a pod that wants one."""

from __future__ import annotations

from typing import Any

from contract.cluster.control_plane.images import IMAGE

Json = dict[str, Any]
DRA = "resource.k8s.io/v1"


def a_device_class(name: str, *, driver: str) -> Json:
    """Make a class of all devices of a driver."""
    selector = {"cel": {"expression": f'device.driver == "{driver}"'}}
    return {
        "apiVersion": DRA,
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [selector]},
    }


def a_resource_slice(name: str, *, driver: str, node: str, devices: int = 1) -> Json:
    """Make a node's whole pool, in one slice."""
    return {
        "apiVersion": DRA,
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": f"dev-{index}"} for index in range(devices)],
        },
    }


def a_claim_template(name: str, *, namespace: str, device_class: str) -> Json:
    """Make a template of claims for one device."""
    request = {"name": "dev", "exactly": {"deviceClassName": device_class}}
    return {
        "apiVersion": DRA,
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"spec": {"devices": {"requests": [request]}}},
    }


def a_pod(
    name: str,
    *,
    namespace: str,
    template: str | None = None,
    script: str = "",
    image: str = IMAGE,
) -> Json:
    """Make a pod that runs a script, with a claim made from the template if there is one."""
    container: Json = {"name": "main", "image": image, "args": ["-c", script]}
    claims = []
    if template is not None:
        container["resources"] = {"claims": [{"name": "dev"}]}
        claims = [{"name": "dev", "resourceClaimTemplateName": template}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "containers": [container],
            "resourceClaims": claims,
            "terminationGracePeriodSeconds": 1,
        },
    }
