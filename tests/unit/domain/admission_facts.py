"""Objects as people write them and reviews as API servers send them, for tests.

Why: an IbConfig stands at another place in each kind and version, and what a test says of one
should hold for all of them.
"""

from __future__ import annotations

import json
from typing import Any

from ibdra_domain.admission import Review
from ibdra_domain.manifest_rules import KINDS, VERSIONS
from ibdra_domain.strict_json import decode
from unit.domain.domain_facts import parameters

Json = dict[str, Any]
CLAIMS = ("ResourceClaim", "ResourceClaimTemplate")
CONFIG = {
    "DeviceClass": "spec.config",
    "ResourceClaim": "spec.devices.config",
    "ResourceClaimTemplate": "spec.spec.devices.config",
}
EVERY_SHAPE = [(kind, version) for kind in KINDS for version in VERSIONS]
GOOD = parameters(pkey=0x8001, mtu=4096)
BAD = parameters(mtu=9000, trafficclass=1)
REVIEW_UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


def a_request_in(version: str, *, name: str = "vf", **fields: Any) -> Json:
    """Build a request; before v1beta2 there was no ``exactly``."""
    wanted = {"deviceClassName": "vf.ib.sigs.k8s.io", **fields}
    return {"name": name, **wanted} if version == "v1beta1" else {"name": name, "exactly": wanted}


def an_opaque(document: Any = GOOD, *, driver: str = "ib.sigs.k8s.io", requests: Any = ()) -> Json:
    """Build a config entry."""
    entry: Json = {"opaque": {"driver": driver, "parameters": document}}
    return entry | ({"requests": list(requests)} if requests else {})


def an_object(
    kind: str = "ResourceClaim",
    version: str = "v1",
    *,
    config: Any = (),
    requests: Any = None,
    name: str = "job",
    **spec: Any,
) -> Json:
    """Build an object of ours; ``spec`` is for a DeviceClass' own fields."""
    inner: Json = {"config": list(config)} if config else {}
    if kind in CLAIMS:
        inner |= {"requests": [a_request_in(version)] if requests is None else list(requests)}
        inner = {"devices": inner}
        if kind == "ResourceClaimTemplate":
            inner = {"spec": inner}
    return {
        "apiVersion": f"resource.k8s.io/{version}",
        "kind": kind,
        "metadata": {"name": name} | ({"namespace": "team-a"} if kind in CLAIMS else {}),
        "spec": inner | spec,
    }


def a_review(new: Any = None, **changes: Any) -> Review:
    """Build the review of an object's creation, or of what the changes say."""
    text = new if isinstance(new, str) else json.dumps(new)
    document = decode(text)
    body = document.value if isinstance(document.value, dict) else {}
    group, _, version = str(body.get("apiVersion")).partition("/")
    facts: dict[str, Any] = {
        "uid": REVIEW_UID,
        "group": group,
        "version": version,
        "kind": str(body.get("kind")),
        "operation": "CREATE",
        "name": "job",
        "new": document.value,
        "twice": document.twice,
    }
    return Review(**facts | changes)
