"""Records for the contract of the ``StateStore`` port: as full as claims make them."""

from __future__ import annotations

from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import Attachment, ClaimRecord, Phase
from unit.domain.domain_facts import (
    TENANT_PKEY,
    a_char_device,
    a_claim_ref,
    a_device,
    a_port,
    a_prepared_claim,
    a_vf,
    an_origin,
)

UID = "7f9d4b2e-6a51-4c0e-9f64-0b9f1a2c3d4e"
OTHER = "0b7ad1c2-15a3-4b8e-8d5c-1f2e3d4c5b6a"


def prepared_record(uid: str = UID) -> ClaimRecord:
    """Build the record of a claim that waits for its container."""
    return ClaimRecord(
        boot_id="boot-1",
        phase=Phase.DONE,
        prepared=a_prepared_claim(claim=a_claim_ref(uid=uid)),
    )


def attached_record(uid: str = UID) -> ClaimRecord:
    """Build the record of a claim with two ports, one of them moved and configured."""
    configured = a_port(
        device=a_vf(),
        config=IbConfig(pkey=TENANT_PKEY, traffic_class=0, mtu=2048),
        pkey_index=3,
        share_id="share",
        char_devices=(a_char_device(), a_char_device(kind=CharDeviceKind.UMAD, port=1)),
    )
    return ClaimRecord(
        boot_id="boot-1",
        phase=Phase.INTENT,
        prepared=a_prepared_claim(
            configured,
            a_port(request="größe", admin=True),
            claim=a_claim_ref(uid=uid),
            companions=(a_device(port=2, netdev=None),),
        ),
        attachment=Attachment(
            netns=NetnsId(4, 4026532000),
            pid=4711,
            phase=Phase.INTENT,
            origins=(an_origin(traffic_class=-1), an_origin(netdev=None, mtu=None, up=None)),
        ),
    )
