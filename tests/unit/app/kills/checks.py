"""What must hold after a kill: at once, after the next start, while used, and at the end.

Why: said once, for every way and every step.
"""

from __future__ import annotations

import json
from collections.abc import Collection

import msgspec

from ibdra_domain.container_edits import child_name, node_numbers
from ibdra_domain.errors import DeviceRefused
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.records import ClaimRecord, Phase
from ibdra_domain.renewal import with_nodes_of_now
from unit.app.kills.site import Site


def check_wreck(site: Site) -> None:
    """Look right after the kill: what others read meanwhile is whole and true."""
    assert {} == site.kernel.handles
    for path in (site.folder / "cdi").glob("*.json"):
        json.loads(path.read_bytes())
    nodes = site.kernel.char_devices()
    for uid, (netns, numbers) in site.marks().items():
        record = _record(site, uid)
        if not site.kernel.alive(netns):
            continue  # no container starts there any more
        if uid in site.reset_to and site.reset_to[uid] == site.above(_rdma(record)):
            continue  # nobody has looked since the device was reset
        assert record.attachment is not None
        assert netns == record.attachment.netns
        assert numbers == node_numbers(with_nodes_of_now(record.prepared, nodes))
        for port in record.prepared.moving:
            attached_as_asked(site, port, netns)


def check_recovered(site: Site) -> None:
    """Look after the next start: records, specs, marks and devices agree."""
    assert {} == site.kernel.handles
    assert not list(site.folder.rglob(".*.tmp"))
    records = site.node.container.ledger().all()
    specs = {f"cdi/ib.sigs.k8s.io_{uid}.json" for uid in records}
    assert specs | {f"state/{uid}.json" for uid in records} == set(site.node.files())
    assert set(site.marks()) <= {uid for uid, record in records.items() if record.attachment}
    away: dict[str, NetnsId] = {}
    for uid, record in records.items():
        assert record.phase is Phase.DONE
        if record.attachment is None:
            continue
        assert record.attachment.phase is Phase.DONE
        assert site.kernel.alive(record.attachment.netns)
        away |= {port.device.rdma_device: record.attachment.netns for port in record.prepared.ports}
        if uid in site.marks():
            for port in record.prepared.moving:
                attached_as_asked(site, port, record.attachment.netns)
    check_places(site, away)


def check_attached(site: Site) -> None:
    """Look while the pods run: each has all it asked for, and nobody else has it."""
    away: dict[str, NetnsId] = {}
    for claim in site.claims:
        record = site.node.container.ledger().get(claim.uid)
        assert record is not None
        netns = site.kernel.processes[site.pods[claim.uid]]
        for port in record.prepared.moving:
            attached_as_asked(site, port, netns)
            away[port.device.rdma_device] = netns
        nodes = with_nodes_of_now(record.prepared, site.kernel.char_devices())
        assert (netns, node_numbers(nodes)) == site.marks()[claim.uid]
        assert node_numbers(nodes) == site.told_nodes(claim)
    check_places(site, away)


def check_over(site: Site) -> None:
    """Look at the end: everything as it was at the beginning, and no trace of us."""
    assert site.original == site.snapshot()
    assert [] == site.node.files()
    assert not list(site.folder.rglob(".*.tmp"))
    assert {} == site.marks()
    assert {} == site.kernel.handles
    assert [] == [w for w in site.kernel.watchers if "FakeEvents" in repr(w)]


def check_held(site: Site) -> None:
    """See that what a claim holds is refused to another claim, by the holder's name."""
    for claim, device in zip(site.claims, site.kind.devices, strict=True):
        if site.node.container.ledger().get(claim.uid) is None:
            continue
        (answer,) = site.node.prepare(site.node.claim(device))
        assert isinstance(answer, DeviceRefused)
        assert f"is held by claim jobs/{claim.name}" in str(answer)


def check_free(site: Site) -> None:
    """See that a new claim gets the devices of those that are gone."""
    fresh = [site.node.claim(device) for device in site.kind.devices]
    for answer in site.node.prepare(*fresh):
        assert isinstance(answer, tuple)
    assert [None] * len(fresh) == site.node.unprepare(*fresh)


def _rdma(record: ClaimRecord) -> str:
    return record.prepared.moving[0].device.rdma_device


def _record(site: Site, uid: str) -> ClaimRecord:
    raw = json.loads((site.folder / "state" / f"{uid}.json").read_bytes())
    return msgspec.convert(raw["record"], ClaimRecord)


def check_places(site: Site, away: dict[str, NetnsId], *, gone: Collection[str] = ()) -> None:
    """See that what is not with a pod, and not ``gone``, is at home, and as it was."""
    home = site.kernel.init_netns
    now, then = site.snapshot(), site.original
    exclusive = site.kind.isolation == "exclusive"
    for name, netns in now.devices.items():
        assert netns in ({home, away[name]} if name in away and exclusive else {home}), name
    for key, link in now.links.items():
        if key[0] in away:
            assert link[0] in (home, away[key[0]])
        else:
            assert then.links.get(key) == link, key
    for key in then.links:
        assert key in now.links or key[0] in gone or key[0] in site.lost, key
    for name, classes in now.classes.items():
        assert name in away or name in gone or then.classes[name] == classes


def attached_as_asked(site: Site, port: PreparedPort, netns: NetnsId) -> None:
    """See that a port is in a namespace with all that its claim asked for."""
    device, config = port.device, port.config
    found = site.snapshot()
    exclusive = site.kind.isolation == "exclusive"
    assert found.devices[device.rdma_device] == (netns if exclusive else site.kernel.init_netns)
    if config.traffic_class is not None:
        assert config.traffic_class == found.classes[device.rdma_device][device.port]
    mtu = (config.mtu or device.link.active_mtu or 0) - 4
    name, number = device.rdma_device, device.port
    assert (netns, device.netdev, mtu, True) == found.links[name, number, None]
    if port.child_pkey is not None:
        child = child_name(str(device.netdev), port.child_pkey)
        assert (netns, child, mtu, True) == found.links[name, number, port.child_pkey | 0x8000]
