"""A ResourceClaim's allocation -> the part of it that is one driver's on one node.

Why: the object is shared with other drivers and other nodes.  Only results of the driver
and of this node's pool are its business, configuration has a precedence of its own, and a
claim that is not what the kubelet thinks it is must be refused before anything is touched.
What the parameters mean is the driver's to say: here they stay the bytes they came in.

Source: ``resource/v1`` ``DeviceRequestAllocationResult``, ``DeviceAllocationConfiguration``;
KEP-4816 for subrequests, KEP-5018 for admin access.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ibdra_domain.errors import ClaimRefused, InvalidConfig
from ibdra_domain.kube_objects import AllocationConfig, AllocationResult, ResourceClaim
from ibdra_domain.ports.driver import ClaimRef

_PRECEDENCE = {"FromClass": 0, "FromClaim": 1}


class DriverConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Opaque parameters for the driver: JSON, as the server keeps it.

    ``source`` is "FromClass" or "FromClaim", ``requests`` whom they are for (empty: all),
    ``where`` how a message should call them.
    """

    source: str
    requests: tuple[str, ...]
    parameters: bytes
    where: str

    @property
    def from_claim(self) -> bool:
        """Tell the user's own wish from what an administrator put into a class."""
        return self.source == "FromClaim"


class DriverResult(msgspec.Struct, frozen=True, kw_only=True):
    """One device that the scheduler gave to one request.

    ``request`` is the name in the claim, without the alternative that was taken.
    ``configs`` are those for this request, the weakest first: what a later one says counts.
    """

    request: str
    device: str
    admin: bool = False
    share_id: str | None = None
    configs: tuple[DriverConfig, ...] = ()


class DriverResults(msgspec.Struct, frozen=True, kw_only=True):
    """What this node must prepare for a claim; never without a device.

    ``configs`` are all of the driver's, also those that no result has.
    """

    claim: ClaimRef
    pool: str
    devices: tuple[DriverResult, ...]
    configs: tuple[DriverConfig, ...] = ()


def read_results(
    claim: ResourceClaim, *, wanted: ClaimRef, pool: str, driver: str
) -> DriverResults:
    """Read a driver's part of a claim's allocation.

    Raises
    ------
    ClaimRefused
        Another claim by the same name, not allocated, nothing of this driver in it, or
        devices of another node's pool.
    InvalidConfig
        A configuration's source is not known, so neither is what it overrides.
    """
    if claim.metadata.uid != wanted.uid:
        raise ClaimRefused(
            f"claim {wanted.namespace}/{wanted.name} has UID {claim.metadata.uid}, "
            f"the kubelet asks for {wanted.uid}",
            remedy="the claim was deleted and made anew; delete the pod that waits for the old one",
        )
    allocation = claim.status.allocation
    if allocation is None:
        raise ClaimRefused(
            f"claim {wanted} is not allocated",
            remedy="wait for the scheduler; delete the pod if the claim was deallocated under it",
        )
    ours = [r for r in allocation.devices.results if r.driver == driver]
    if not ours:
        raise ClaimRefused(
            f"claim {wanted} holds no device of driver {driver}",
            remedy="nothing to prepare here; check which driver the kubelet should have asked",
        )
    foreign = sorted({r.pool for r in ours if r.pool != pool})
    if foreign:
        raise ClaimRefused(
            f"claim {wanted} is allocated from pool {', '.join(foreign)}, this node's is {pool}",
            remedy="check that the driver runs with the name of the node it is on",
        )
    configs = tuple(
        sorted(
            _configs(wanted, allocation.devices.config, driver),
            key=lambda config: _PRECEDENCE[config.source],
        )
    )
    return DriverResults(
        claim=wanted,
        pool=pool,
        devices=tuple(_result(result, configs) for result in ours),
        configs=configs,
    )


def _configs(
    claim: ClaimRef, configs: Iterable[AllocationConfig], driver: str
) -> Iterator[DriverConfig]:
    for index, config in enumerate(configs):
        if config.opaque is None or config.opaque.driver != driver:
            continue
        where = f"claim {claim}, allocation config[{index}] ({config.source})"
        if config.source not in _PRECEDENCE:
            raise InvalidConfig(
                f"{where}: its source is not one of {', '.join(_PRECEDENCE)}",
                remedy="upgrade the driver to one that knows this Kubernetes version",
            )
        yield DriverConfig(
            source=config.source,
            requests=config.requests,
            parameters=bytes(config.opaque.parameters),
            where=where,
        )


def _result(result: AllocationResult, configs: tuple[DriverConfig, ...]) -> DriverResult:
    parent = result.request.split("/", 1)[0]
    names = {result.request, parent}
    return DriverResult(
        request=parent,
        device=result.device,
        admin=result.admin_access,
        share_id=result.share_id,
        configs=tuple(c for c in configs if not c.requests or names & set(c.requests)),
    )
