"""Many containers start at once: each gets its own device's nodes, or is told to try again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Lock
from typing import NamedTuple

import pytest

from ibdra_adapters.simulation.profile import HcaProfile, PortProfile, Profile
from ibdra_domain.container_edits import node_numbers
from ibdra_domain.errors import AttachRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.renewal import with_nodes_of_now
from unit.app.kills.checks import check_attached, check_over
from unit.app.kills.site import Kind, Site, running_site

CARDS, VFS = 8, 8
_SPARE = "mlx5_0"
_ONE_FORK = Lock()  # the fake kernel gives out pids one at a time


class Started(NamedTuple):
    """A container that runs: whose, where, with which nodes, and after how many refusals."""

    claim: ClaimRef
    netns: NetnsId
    nodes: str
    refused: int


def many_vfs(*, follows: bool) -> Profile:
    """Describe eight cards of eight VFs each, and a spare card with the lowest minors."""
    return Profile(
        description="64 VFs",
        isolation=RdmaIsolation.EXCLUSIVE,
        ipoib_follows_device=follows,
        hcas=tuple(
            HcaProfile(
                model="ConnectX-7",
                rdma=f"mlx5_{card}",
                pci=f"0000:{16 * card + 16:02x}:00.0",
                root=f"pci0000:{16 * card + 16:02x}",
                node_guid=f"0c42:a103:{card:04x}:0000",
                total_vfs=VFS if card else 0,
                vfs=VFS if card else 0,
                ports=(PortProfile(rate="400 Gb/sec (4X NDR)", netdev=f"ib{card}"),),
            )
            for card in range(CARDS + 1)
        ),
    )


@pytest.fixture(params=[True, False], ids=["newer", "older"])
def site(room: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Set up a machine of many VFs, with threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    kind = Kind("exclusive", follows=request.param, devices=(), config=None)
    with running_site(room / "machine", kind, many_vfs(follows=request.param)) as running:
        yield running
    sys.setswitchinterval(before)


def claims_of(site: Site, count: int) -> list[ClaimRef]:
    """Prepare claims of one VF each, and start a pod for each; lower minors get free then."""
    inventory = site.node.container.discovery().take()
    vfs = [d.name for d in inventory.devices if d.parent_pci is not None]
    site.claims = [site.node.claim(name) for name in vfs[:count]]
    site.prepare()
    site.start_pods()
    site.machine.pull_out(_SPARE)
    site.lost.append(_SPARE)
    return site.claims


def start(site: Site, claim: ClaimRef, netns: NetnsId) -> Started:
    """Start a container as a runtime does, which reads the spec, then runs the hook."""
    for refused in range(2):
        nodes = site.told_nodes(claim)
        with _ONE_FORK:
            pid = site.kernel.start_process(netns)
        try:
            site.node.attach(claim, pid, nodes=nodes, pod="jobs/trainer")
        except AttachRefused as error:
            if refused or "device nodes" not in str(error):
                raise
        else:
            return Started(claim, netns, nodes, refused)
    raise AssertionError("refused twice")


def at_once(works: Sequence[Callable[[], Started]]) -> list[Started | AttachRefused]:
    """Do everything in threads that begin together."""
    barrier = Barrier(len(works))

    def work(each: Callable[[], Started]) -> Started | AttachRefused:
        barrier.wait()
        try:
            return each()
        except AttachRefused as refused:
            return refused

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(work, works))


@pytest.mark.parametrize(("claims", "containers"), [(64, 1), (8, 8)])
def test_sixty_four_containers_at_once_have_their_own_nodes(
    site: Site, claims: int, containers: int
) -> None:
    """No minors are swapped, however the numbers went round; one refusal each is the most."""
    prepared = claims_of(site, claims)
    pods = [site.kernel.processes[site.pods[claim.uid]] for claim in prepared]
    works = [
        partial(start, site, claim, netns)
        for claim, netns in zip(prepared, pods, strict=True)
        for _ in range(containers)
    ]

    started = at_once(works)

    assert [] == [s for s in started if isinstance(s, AttachRefused)]
    now = site.kernel.char_devices()
    for container in started:
        assert isinstance(container, Started)
        record = site.node.container.ledger().get(container.claim.uid)
        assert record is not None
        assert node_numbers(with_nodes_of_now(record.prepared, now)) == container.nodes
    assert any(isinstance(s, Started) and s.refused for s in started)
    check_attached(site)
    site.end_pods()
    site.unprepare()
    site.find_lost()
    check_over(site)


def test_two_hooks_at_once_for_one_claim_both_succeed(site: Site) -> None:
    """Two containers of one pod find the devices there, whoever moved them."""
    (claim,) = claims_of(site, 1)
    netns = site.kernel.processes[site.pods[claim.uid]]

    started = at_once([partial(start, site, claim, netns)] * 2)

    assert [claim, claim] == [s.claim for s in started if isinstance(s, Started)]
    check_attached(site)


def test_two_pods_at_once_for_one_claim_have_one_winner(site: Site) -> None:
    """Whoever comes second is told who has the device."""
    (claim,) = claims_of(site, 1)
    pods = [site.kernel.processes[site.kernel.start_process()] for _ in range(2)]

    outcomes = at_once([partial(start, site, claim, netns) for netns in pods])

    (winner,) = [o for o in outcomes if isinstance(o, Started)]
    (loser,) = [o for o in outcomes if isinstance(o, AttachRefused)]
    assert f"is attached to pod jobs/trainer (process {_pid(site, claim)} in net:" in str(loser)
    assert winner.netns == site.kernel.devices[_rdma(site, claim)].netns


def _pid(site: Site, claim: ClaimRef) -> int:
    record = site.node.container.ledger().get(claim.uid)
    assert record is not None
    assert record.attachment is not None
    return record.attachment.pid


def _rdma(site: Site, claim: ClaimRef) -> str:
    record = site.node.container.ledger().get(claim.uid)
    assert record is not None
    return record.prepared.moving[0].device.rdma_device
