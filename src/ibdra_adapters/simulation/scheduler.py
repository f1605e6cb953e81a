"""A scheduler as far as DRA goes: requests, classes, selectors, constraints, taints.

Why: the demo's claims must be allocated by what stands in the published slices, not by
what the driver knows.  It is small and takes the first solution, in the order of the
slices, as the real allocator does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ibdra_domain.kube_objects import (
    AllocationResult,
    Device,
    DeviceClass,
    DeviceTaint,
    ExactRequest,
    ResourceClaim,
    ResourceSlice,
)
from ibdra_domain.ports.selectors import Selectors


class Candidate(msgspec.Struct, frozen=True):
    """A device of a pool."""

    driver: str
    pool: str
    device: Device


class SimulatedScheduler:
    """Allocates claims on one node."""

    def __init__(self, selectors: Selectors, classes: Mapping[str, DeviceClass]) -> None:
        self._selectors = selectors
        self._classes = classes
        self._taken: dict[str, set[tuple[str, str]]] = {}

    def allocate(
        self, claim: ResourceClaim, slices: tuple[ResourceSlice, ...]
    ) -> dict[str, Any] | str:
        """Give the claim's ``status.allocation``, or the reason why it stays pending."""
        offered = [
            Candidate(s.spec.driver, s.spec.pool.name, device)
            for s in slices
            for device in s.spec.devices
        ]
        wanted: list[tuple[str, ExactRequest, list[Candidate]]] = []
        for request in claim.spec.devices.requests:
            exact = request.exactly
            if exact is None:
                return f"request {request.name}: only exact requests are simulated"
            fitting = self._fitting(exact, offered)
            if isinstance(fitting, str):
                return f"request {request.name}: {fitting}"
            count = len(fitting) if exact.allocation_mode == "All" else exact.count
            if not fitting or len(fitting) < count:
                return (
                    f"request {request.name}: {len(fitting)} of the {count or 1} devices asked for"
                    f" fit and are free ({len(offered)} are published)"
                )
            wanted += [(request.name, exact, fitting)] * count
        solution = next(self._solutions(claim, wanted, ()), None)
        if solution is None:
            return "no choice of devices satisfies all constraints"
        self._taken[claim.metadata.uid] = {
            (r.pool, r.device) for r in solution if not r.admin_access
        }
        return {
            "devices": {
                "results": [msgspec.to_builtins(result) for result in solution],
                "config": list(self._config(claim)),
            }
        }

    def release(self, uid: str) -> None:
        """Deallocate a claim."""
        self._taken.pop(uid, None)

    def _fitting(self, exact: ExactRequest, offered: list[Candidate]) -> list[Candidate] | str:
        device_class = self._classes.get(exact.device_class_name)
        if device_class is None:
            return f"there is no DeviceClass {exact.device_class_name}"
        compiled = [
            self._selectors.compile(s.cel.expression)
            for s in (*device_class.spec.selectors, *exact.selectors)
            if s.cel is not None
        ]
        taken = set() if exact.admin_access else set().union(*self._taken.values())
        fitting = []
        for candidate in offered:
            if (candidate.pool, candidate.device.name) in taken:
                continue
            if any(_repels(taint, exact) for taint in candidate.device.taints):
                continue
            for selector in compiled:
                verdict = selector.judge(candidate.device, driver=candidate.driver)
                if verdict.error is not None:
                    return f"CEL failed on {candidate.device.name}: {verdict.error}"
                if not verdict.matched:
                    break
            else:
                fitting.append(candidate)
        return fitting

    def _solutions(
        self,
        claim: ResourceClaim,
        wanted: list[tuple[str, ExactRequest, list[Candidate]]],
        chosen: tuple[tuple[str, ExactRequest, Candidate], ...],
    ) -> Iterator[tuple[AllocationResult, ...]]:
        if len(chosen) == len(wanted):
            yield tuple(
                AllocationResult(
                    request=request,
                    driver=candidate.driver,
                    pool=candidate.pool,
                    device=candidate.device.name,
                    admin_access=exact.admin_access,
                )
                for request, exact, candidate in chosen
            )
            return
        request, exact, fitting = wanted[len(chosen)]
        used = {c.device.name for _, _, c in chosen}
        for candidate in fitting:
            following = (*chosen, (request, exact, candidate))
            if candidate.device.name not in used and _agree(claim, following):
                yield from self._solutions(claim, wanted, following)

    def _config(self, claim: ResourceClaim) -> Iterator[dict[str, Any]]:
        for request in claim.spec.devices.requests:
            name = request.exactly.device_class_name if request.exactly else ""
            for of_class in self._classes[name].spec.config:
                yield {"source": "FromClass", "requests": [request.name], **_plain(of_class)}
        for of_claim in claim.spec.devices.config:
            yield {"source": "FromClaim", **_plain(of_claim)}


def _repels(taint: DeviceTaint, exact: ExactRequest) -> bool:
    harmless = taint.effect not in ("NoSchedule", "NoExecute")
    return not (harmless or any(toleration.tolerates(taint) for toleration in exact.tolerations))


def _plain(entry: msgspec.Struct) -> dict[str, Any]:
    """Give plain JSON values, raw parameters among them."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(entry))
    return plain


def _agree(claim: ResourceClaim, chosen: tuple[tuple[str, ExactRequest, Candidate], ...]) -> bool:
    """Check ``matchAttribute``: present on every device of the requests, and the same."""
    for constraint in claim.spec.devices.constraints:
        name = constraint.match_attribute
        if name is None:
            continue
        values = {
            _attribute(candidate, name)
            for request, _, candidate in chosen
            if not constraint.requests or request in constraint.requests
        }
        if None in values or len(values) > 1:
            return False
    return True


def _attribute(candidate: Candidate, name: str) -> object:
    short = name.removeprefix(f"{candidate.driver}/")
    found = candidate.device.attributes.get(short)
    return None if found is None else found.value
