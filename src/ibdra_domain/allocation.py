"""A ResourceClaim's allocation -> what this node must prepare for it.

Why: the object is shared with other drivers and other nodes.  Only results of our driver
and of this node's pool are ours, configuration has a precedence of its own, and a claim
that is not what the kubelet thinks it is must be refused before anything is touched.

Source: ``resource/v1`` ``DeviceRequestAllocationResult``, ``DeviceAllocationConfiguration``;
KEP-4816 for subrequests, KEP-5018 for admin access.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ibdra_domain.errors import ClaimRefused, ConfigRefused, InvalidConfig
from ibdra_domain.ib_config import IbConfig, decode_ib_config, merge
from ibdra_domain.identifiers import DeviceName
from ibdra_domain.kube_objects import AllocationConfig, AllocationResult, ResourceClaim
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.publication import DRIVER_NAME

_PRECEDENCE = {"FromClass": 0, "FromClaim": 1}


class AllocatedDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device the scheduler gave to one request of the claim.

    ``request`` is the name in the claim, without the alternative that was taken.
    """

    request: str
    device: DeviceName
    admin: bool = False
    share_id: str | None = None
    config: IbConfig = IbConfig()


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """What this node must prepare for a claim; never empty."""

    claim: ClaimRef
    pool: str
    devices: tuple[AllocatedDevice, ...]


def read_allocation(
    claim: ResourceClaim, *, wanted: ClaimRef, pool: str, driver: str = DRIVER_NAME
) -> Allocation:
    """Read our part of a claim's allocation.

    Raises
    ------
    ClaimRefused
        Another claim by the same name, not allocated, nothing of this driver in it, or
        devices of another node's pool.
    InvalidConfig
        An IbConfig of the allocation does not decode.
    ConfigRefused
        An IbConfig is addressed to a request with admin access.
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
    configs = _decoded(wanted, allocation.devices.config, driver)
    return Allocation(
        claim=wanted,
        pool=pool,
        devices=tuple(_allocated(wanted, result, configs) for result in ours),
    )


def _decoded(
    claim: ClaimRef, configs: Iterable[AllocationConfig], driver: str
) -> list[tuple[AllocationConfig, IbConfig]]:
    """Decode our configs, in order of precedence: class before claim, then as listed."""
    found = []
    for index, config in enumerate(configs):
        if config.opaque is None or config.opaque.driver != driver:
            continue
        where = f"claim {claim}, allocation config[{index}] ({config.source})"
        if config.source not in _PRECEDENCE:
            raise InvalidConfig(
                f"{where}: its source is not one of {', '.join(_PRECEDENCE)}",
                remedy="upgrade the driver to one that knows this Kubernetes version",
            )
        try:
            found.append((config, decode_ib_config(bytes(config.opaque.parameters))))
        except InvalidConfig as error:
            raise InvalidConfig(
                f"{where}: {error.problem}", remedy=error.remedy, field=error.field
            ) from error
    return sorted(found, key=lambda pair: _PRECEDENCE[pair[0].source])


def _allocated(
    claim: ClaimRef, result: AllocationResult, configs: list[tuple[AllocationConfig, IbConfig]]
) -> AllocatedDevice:
    parent = result.request.split("/", 1)[0]
    names = {result.request, parent}
    applying = [(c, ib) for c, ib in configs if not c.requests or names & set(c.requests)]
    if result.admin_access:
        # A class, or a config for all requests, may well be shared with ordinary claims;
        # a config that names this request is a wish that could only be ignored.
        if any(c.requests and c.source == "FromClaim" for c, _ in applying):
            raise ConfigRefused(
                f"claim {claim}, request {result.request}: an IbConfig names it, "
                "but admin access changes nothing on the device",
                remedy="remove the request from the IbConfig's requests",
            )
        applying = []
    return AllocatedDevice(
        request=parent,
        device=DeviceName(result.device),
        admin=result.admin_access,
        share_id=result.share_id,
        config=merge(ib for _, ib in applying),
    )
