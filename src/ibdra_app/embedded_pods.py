"""Pods of an embedded node as values, and what a kubelet reads out of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ibdra_adapters.simulation.runtime import StartedContainer
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

Json = dict[str, Any]
Prepared = Mapping[str, tuple[PreparedDevice, ...] | str]
"""Devices or the driver's error, by claim UID."""


class BoundPod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod whose claims have their devices; the claims by their names in the pod."""

    pod: Json
    claims: dict[str, Json]

    @property
    def refs(self) -> dict[str, ClaimRef]:
        """Name the claims as the kubelet does."""
        return {entry: ref(claim) for entry, claim in self.claims.items()}


class RunningPod(msgspec.Struct, frozen=True, kw_only=True):
    """How far a pod has come; ``why_not`` is empty when its containers run."""

    bound: BoundPod
    containers: tuple[StartedContainer, ...] = ()
    why_not: str = ""

    def __str__(self) -> str:
        name = self.bound.pod["metadata"]["name"]
        if self.why_not:
            return f"{name} does not run: {self.why_not}"
        lines = [f"{name} runs"]
        for one in self.containers:
            env = [f"{key}={value}" for key, value in sorted(one.env.items())]
            lines += [f"  {one.name}: {what}" for what in (*one.device_nodes, *env)]
        return "\n".join(lines)


def entries(pod: Json) -> list[Json]:
    """Give what a pod says of its claims."""
    found: list[Json] = pod["spec"].get("resourceClaims", [])
    return found


def ref(claim: Json) -> ClaimRef:
    """Name a claim as the kubelet does."""
    metadata = claim["metadata"]
    return ClaimRef(namespace=metadata["namespace"], name=metadata["name"], uid=metadata["uid"])


def by_driver(bound: BoundPod) -> dict[str, list[ClaimRef]]:
    """Sort the claims by driver; one with devices of several is each one's."""
    found: dict[str, list[ClaimRef]] = {}
    for claim in bound.claims.values():
        results = claim["status"]["allocation"]["devices"]["results"]
        for driver in dict.fromkeys(result["driver"] for result in results):
            found.setdefault(driver, []).append(ref(claim))
    return found


def cdi_ids(spec: Json, refs: Mapping[str, ClaimRef], prepared: Prepared) -> list[str]:
    """Collect the ids of a container's claims, as the kubelet does: by request, if one is named."""
    ids: list[str] = []
    for reference in spec.get("resources", {}).get("claims", ()):
        devices = prepared[refs[reference["name"]].uid]
        wanted = reference.get("request")
        for device in devices:
            if isinstance(device, PreparedDevice) and (not wanted or wanted in device.requests):
                ids += device.cdi_ids
    return ids
