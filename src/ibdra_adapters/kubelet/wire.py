"""Values of the domain to and from the kubelet protocol's messages.

Why: two versions of one service differ in name only, and both ends (the plugin, and the
kubelet we fake) must spell them the same.  Needs protobuf, not gRPC.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import msgspec

from ibdra_adapters.kubelet._generated import dra_v1_pb2, dra_v1beta1_pb2
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

PLUGIN_TYPE = "DRAPlugin"
REGISTRATION = registration_pb2.DESCRIPTOR.services_by_name["Registration"].full_name
GET_INFO = "GetInfo"
NOTIFY = "NotifyRegistrationStatus"
PREPARE = "NodePrepareResources"
UNPREPARE = "NodeUnprepareResources"


class DraVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version of the DRAPlugin service.

    The methods' types are v1's: the other versions' messages have the same shape, and
    are made from their own module.

    Parameters
    ----------
    announced:
        How ``supported_versions`` calls it.
    messages:
        The generated module.
    """

    announced: str
    messages: ModuleType

    @property
    def service(self) -> str:
        """Full name of the gRPC service."""
        name: str = self.messages.DESCRIPTOR.services_by_name["DRAPlugin"].full_name
        return name

    def prepare_request(self, claims: Iterable[ClaimRef]) -> dra_v1_pb2.NodePrepareResourcesRequest:
        """Write what the kubelet asks."""
        request: dra_v1_pb2.NodePrepareResourcesRequest = (
            self.messages.NodePrepareResourcesRequest()
        )
        for claim in claims:
            request.claims.add(namespace=claim.namespace, uid=claim.uid, name=claim.name)
        return request

    def unprepare_request(
        self, claims: Iterable[ClaimRef]
    ) -> dra_v1_pb2.NodeUnprepareResourcesRequest:
        """Write what the kubelet asks."""
        request: dra_v1_pb2.NodeUnprepareResourcesRequest = (
            self.messages.NodeUnprepareResourcesRequest()
        )
        for claim in claims:
            request.claims.add(namespace=claim.namespace, uid=claim.uid, name=claim.name)
        return request

    def prepare_response(
        self, answers: Mapping[str, tuple[PreparedDevice, ...] | str]
    ) -> dra_v1_pb2.NodePrepareResourcesResponse:
        """Write devices or errors, by claim UID."""
        response: dra_v1_pb2.NodePrepareResourcesResponse = (
            self.messages.NodePrepareResourcesResponse()
        )
        for uid, answer in answers.items():
            entry = response.claims[uid]
            if isinstance(answer, str):
                entry.error = answer
                continue
            for device in answer:
                sent = entry.devices.add(
                    request_names=device.requests,
                    pool_name=device.pool,
                    device_name=device.device,
                    cdi_device_ids=device.cdi_ids,
                )
                if device.share_id is not None:
                    sent.share_id = device.share_id
        return response

    def unprepare_response(
        self, answers: Mapping[str, str | None]
    ) -> dra_v1_pb2.NodeUnprepareResourcesResponse:
        """Write success or errors, by claim UID."""
        response: dra_v1_pb2.NodeUnprepareResourcesResponse = (
            self.messages.NodeUnprepareResourcesResponse()
        )
        for uid, error in answers.items():
            response.claims[uid].error = error or ""
        return response


V1 = DraVersion(announced="v1.DRAPlugin", messages=dra_v1_pb2)
V1BETA1 = DraVersion(announced="v1beta1.DRAPlugin", messages=dra_v1beta1_pb2)
DRA_VERSIONS = (V1, V1BETA1)
"""Newest first: the kubelet takes the first one it knows."""


def read_claims(
    request: dra_v1_pb2.NodePrepareResourcesRequest | dra_v1_pb2.NodeUnprepareResourcesRequest,
) -> tuple[ClaimRef, ...]:
    """Read what the kubelet asks."""
    return tuple(
        ClaimRef(namespace=claim.namespace, uid=claim.uid, name=claim.name)
        for claim in request.claims
    )


def read_prepared(
    response: dra_v1_pb2.NodePrepareResourcesResponse,
) -> dict[str, tuple[PreparedDevice, ...] | str]:
    """Read devices or errors, by claim UID."""
    return {
        uid: entry.error
        or tuple(
            PreparedDevice(
                requests=tuple(device.request_names),
                pool=device.pool_name,
                device=device.device_name,
                cdi_ids=tuple(device.cdi_device_ids),
                share_id=device.share_id if device.HasField("share_id") else None,
            )
            for device in entry.devices
        )
        for uid, entry in response.claims.items()
    }


def read_unprepared(
    response: dra_v1_pb2.NodeUnprepareResourcesResponse,
) -> dict[str, str | None]:
    """Read success (None) or errors, by claim UID."""
    return {uid: entry.error or None for uid, entry in response.claims.items()}


def address(socket: Path) -> str:
    """Write a socket's path as gRPC wants it, where ``%``, ``?`` and ``#`` mean something."""
    return f"unix:{quote(str(socket))}"
