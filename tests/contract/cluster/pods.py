"""Pods and claims that a test makes up: one request more or less than the examples have."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
VF, PF = "vf.ib.sigs.k8s.io", "pf.ib.sigs.k8s.io"
_DRA = "resource.k8s.io/v1"


def cel(expression: str) -> Json:
    """Write a selector over the driver's own attributes: ``device.portState == "Active"``."""
    own = 'device.attributes["ib.sigs.k8s.io"].'
    return {"cel": {"expression": expression.replace("device.", own)}}


def request(name: str = "hca", *, device_class: str = VF, **exactly: object) -> Json:
    """Write a request."""
    return {"name": name, "exactly": {"deviceClassName": device_class, **exactly}}


def on_one(name: str) -> Json:
    """Write a selector of the device at a PCI address."""
    return cel(f'device.pciAddress == "{name}"')


def a_claim(name: str, *requests: Json, namespace: str, **devices: object) -> Json:
    """Make a claim that pods name themselves."""
    return {
        "apiVersion": _DRA,
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"devices": {"requests": list(requests), **devices}},
    }


def a_pod(name: str, *claims: str, namespace: str, node: str) -> Json:
    """Make a pod with claims, for one node: others of this cluster have no devices."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": node},
            "containers": [
                {
                    "name": "main",
                    "image": "none.invalid/none",
                    "resources": {"claims": [{"name": claim} for claim in claims]},
                }
            ],
            "resourceClaims": [{"name": claim, "resourceClaimName": claim} for claim in claims],
        },
    }
