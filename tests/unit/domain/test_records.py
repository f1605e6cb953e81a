"""What is written down about a claim reads back as it was."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.ib_config import IbConfig
from ibdra_domain.inventory import Presence
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import Attachment, ClaimRecord, Phase, PortOrigin
from unit.domain.domain_facts import (
    TENANT_PKEY,
    a_char_device,
    a_device,
    a_port,
    a_prepared_claim,
    a_vf,
    an_origin,
)

PORT = a_port(
    device=a_vf(presence=Presence.AWAY, netdev=None),
    share_id="s",
    config=IbConfig(pkey=TENANT_PKEY, traffic_class=0, mtu=256),
    pkey_index=0,
    char_devices=(a_char_device(), a_char_device(name="umad0", port=1)),
)
ATTACHMENT = Attachment(
    netns=NetnsId(4, 4026532000), pid=4711, phase=Phase.INTENT, origins=(an_origin(),)
)


@pytest.mark.parametrize("attachment", [None, ATTACHMENT], ids=["prepared", "attached"])
@pytest.mark.parametrize("phase", list(Phase))
def test_a_record_survives_its_file(phase: Phase, attachment: Attachment | None) -> None:
    """Nothing is lost or changed by a crash and a restart."""
    record = ClaimRecord(
        boot_id="boot-1",
        phase=phase,
        prepared=a_prepared_claim(PORT, a_port(admin=True, device=a_device(port=2))),
        attachment=attachment,
    )
    again = msgspec.json.decode(msgspec.json.encode(record), type=ClaimRecord)
    assert record == again
    assert record.prepared.moving == again.prepared.moving


origins = st.builds(
    PortOrigin,
    device=st.just(an_origin().device),
    netdev=st.none() | st.text(max_size=15),
    mtu=st.none() | st.integers(0, 65535),
    up=st.none() | st.booleans(),
    traffic_class=st.none() | st.integers(-1, 255),
)


@given(st.lists(origins).map(tuple), st.integers(0, 2**63 - 1))
def test_an_origin_survives_its_file(found: tuple[PortOrigin, ...], inode: int) -> None:
    """Down is not unknown, unset is not zero."""
    attachment = Attachment(netns=NetnsId(4, inode), pid=1, phase=Phase.DONE, origins=found)
    again = msgspec.json.decode(msgspec.json.encode(attachment), type=Attachment)
    assert attachment == again


def test_an_administrators_ports_do_not_move() -> None:
    """They are prepared, and stay where they are."""
    claim = a_prepared_claim(PORT, a_port(request="look", admin=True))
    assert (PORT,) == claim.moving


def test_two_namespaces_are_told_apart() -> None:
    """By device and inode, both."""
    assert NetnsId(4, 1) == NetnsId(4, 1)
    assert 4 == len({NetnsId(4, 1), NetnsId(4, 2), NetnsId(5, 1), NetnsId(4, 1, 7)})


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ("", "process 4711 in net:[4026532000]"),
        ("jobs/a", "pod jobs/a (process 4711 in net:[4026532000])"),
    ],
)
def test_the_holder_is_named_as_well_as_it_is_known(pod: str, expected: str) -> None:
    """A message names the pod if the runtime told which it is, and what `ip netns` shows."""
    assert expected == msgspec.structs.replace(ATTACHMENT, pod=pod).holder
