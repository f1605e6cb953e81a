"""A ResourceClaim's allocation -> the HCA ports this node must prepare for it.

Why: what any driver must know of an allocation is read by ``claim_results``; here its
parameters become IbConfigs, one for each device, and a wish that could not be fulfilled is
refused before anything is touched.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ibdra_domain.claim_results import DriverConfig, DriverResult, read_results
from ibdra_domain.errors import ConfigRefused, InvalidConfig
from ibdra_domain.ib_config import IbConfig, decode_ib_config, merge
from ibdra_domain.identifiers import DeviceName
from ibdra_domain.kube_objects import ResourceClaim
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.publication import DRIVER_NAME


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
    found = read_results(claim, wanted=wanted, pool=pool, driver=driver)
    decoded = {config: _decoded(config) for config in found.configs}
    return Allocation(
        claim=found.claim,
        pool=found.pool,
        devices=tuple(_allocated(wanted, result, decoded) for result in found.devices),
    )


def _decoded(config: DriverConfig) -> IbConfig:
    try:
        return decode_ib_config(config.parameters)
    except InvalidConfig as error:
        raise InvalidConfig(
            f"{config.where}: {error.problem}", remedy=error.remedy, field=error.field
        ) from error


def _allocated(
    claim: ClaimRef, result: DriverResult, decoded: Mapping[DriverConfig, IbConfig]
) -> AllocatedDevice:
    applying = result.configs
    if result.admin:
        # A class, or a config for all requests, may well be shared with ordinary claims;
        # a config that names this request is a wish that could only be ignored.
        if any(config.requests and config.from_claim for config in applying):
            raise ConfigRefused(
                f"claim {claim}, request {result.request}: an IbConfig names it, "
                "but admin access changes nothing on the device",
                remedy="remove the request from the IbConfig's requests",
            )
        applying = ()
    return AllocatedDevice(
        request=result.request,
        device=DeviceName(result.device),
        admin=result.admin,
        share_id=result.share_id,
        config=merge(decoded[config] for config in applying),
    )
