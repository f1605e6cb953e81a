"""The way home when something is in the way of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from ibdra_domain.errors import KernelRefused, NotSettled, StateFailed
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import Netns
from ibdra_domain.records import Attachment, Phase
from unit.app.app_node import refusals
from unit.app.kills.checks import check_attached, check_over
from unit.app.kills.kinds import KINDS, PORT_1
from unit.app.kills.site import Kind, Site, running_site

RDMA = "mlx5_0v0"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a node with one claim attached."""
    with running_site(tmp_path / "machine", KINDS["exclusive-newer"]) as running:
        yield attached(running)


def attached(site: Site) -> Site:
    """Attach a site's claims."""
    site.create_claims()
    site.prepare()
    site.start_pods()
    site.attach()
    return site


def attachment_of(site: Site, claim: ClaimRef | None = None) -> Attachment | None:
    """Give what is remembered of a claim's attachment."""
    record = site.node.container.ledger().get((claim or site.claims[0]).uid)
    assert record is not None
    return record.attachment


@pytest.mark.parametrize("ended", [True, False], ids=["pod ended", "pod alive"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_device_pulled_out_for_good_does_not_keep_its_claim(
    tmp_path: Path, kind: str, *, ended: bool
) -> None:
    """Unprepare waits for it as long as it waits for any, and then ends well."""
    with running_site(tmp_path / "machine", KINDS[kind]) as site:
        attached(site)
        for name in {
            x.rdma for x in site.kernel.links.values() if x.netns != site.kernel.init_netns
        }:
            site.machine.pull_out(name)
            site.lost.append(name)
        if ended:
            site.end_pods()

        site.unprepare()

        assert [] == site.node.files()
        site.end_pods()
        site.find_lost()
        check_over(site)


def test_who_does_not_wait_does_not_give_a_device_up(site: Site) -> None:
    """A device that is nowhere for a moment, as in every move, keeps what is known of it."""
    site.end_pods()
    site.machine.pull_out(RDMA)

    assert not site.node.container.detaching().bring_home()
    assert attachment_of(site) is not None
    site.machine.plug_in(RDMA)
    assert site.node.container.detaching().bring_home()
    site.unprepare()
    check_over(site)


def test_an_interface_in_a_third_namespace_is_asked_for_again_and_again(tmp_path: Path) -> None:
    """In shared mode a pod can give it away: the record stays until that namespace has died."""
    with running_site(tmp_path / "machine", KINDS["shared"]) as site:
        attached(site)
        kernel, pod = site.kernel, site.kernel.processes[site.pods[site.claims[0].uid]]
        third = kernel.start_process()
        link = next(x.link for x in kernel.links_of(pod) if x.link.parent is None)
        kernel.move_link(link.index, source=pod, target=kernel.processes[third])

        for _ in range(2):
            (text,) = refusals(site.node.unprepare(*site.claims))
            assert "has not come back to the host's namespace" in text
            assert attachment_of(site) is not None
        kernel.end_process(third)
        site.end_pods()
        site.unprepare()

        check_over(site)


def test_one_ports_failure_does_not_keep_the_others_away(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """Every port is tried; the first error is told, and only what failed is left to do."""
    refused = KernelRefused("ib2 is not to be had", remedy="none", errno=errno.EIO)
    kind = Kind("exclusive", follows=True, devices=(), config=None)
    with running_site(tmp_path / "machine", kind) as site:
        site.claims = [site.node.claim(PORT_1, "pci-0000-3b-00-1-port1")]
        site.prepare()
        site.start_pods()
        site.attach()
        host, rename = site.kernel.init_netns, site.machine.links.rename

        def rename_others(index: int, name: str, *, netns: Netns) -> None:
            if name == "ib2":  # the first port's
                raise refused
            rename(index, name, netns=netns)

        mocker.patch.object(site.machine.links, "rename", side_effect=rename_others)

        assert [refused] == site.node.unprepare(*site.claims)

        assert {"ib0v0", "ib3"} <= {x.link.name for x in site.kernel.links_of(host)}
        assert ("detach", "KernelRefused") in site.node.container.counts().all()
        mocker.stopall()
        site.unprepare()
        site.end_pods()
        check_over(site)


def test_a_rollback_that_failed_is_tried_again(tmp_path: Path, mocker: MockerFixture) -> None:
    """What an attach could not take back, bring_home does, also while the pod lives."""
    with running_site(tmp_path / "machine", KINDS["exclusive-older"]) as site:
        site.create_claims()
        site.prepare()
        site.start_pods()
        refused = KernelRefused("no", remedy="none", errno=1)
        mocker.patch.object(site.machine.links, "move", side_effect=refused)
        move = site.machine.rdma.move
        mocker.patch.object(site.machine.rdma, "move", side_effect=_once(move, refused))
        with pytest.raises(KernelRefused):
            site.attach()
        attachment = attachment_of(site)
        assert attachment is not None
        assert attachment.phase is Phase.INTENT
        assert not site.node.container.detaching().bring_home()
        mocker.stopall()

        assert site.node.container.detaching().bring_home()

        assert attachment_of(site) is None
        site.unprepare()
        site.end_pods()
        check_over(site)


def test_a_living_pods_devices_stay_with_it(site: Site) -> None:
    """Bringing home is for what is over."""
    before = site.snapshot()
    assert site.node.container.detaching().bring_home()
    assert not site.node.container.detaching().bring_home_if_over(site.claims[0].uid)
    assert before == site.snapshot()


def test_what_was_never_away_is_no_work(site: Site) -> None:
    """A claim that is not attached, or not known, is detached already."""
    detaching = site.node.container.detaching()
    detaching.detach(site.claims[0].uid)
    detaching.detach(site.claims[0].uid)
    detaching.detach("no-such-uid")
    assert not detaching.bring_home_if_over("no-such-uid")


def test_nothing_is_taken_back_under_a_mark(site: Site) -> None:
    """While its mark cannot be removed, a helper could let a container start: nothing moves."""
    before = site.snapshot()
    site.fake_marks.broken = True

    (answer,) = site.node.unprepare(*site.claims)

    assert isinstance(answer, StateFailed)
    assert before == site.snapshot()
    site.fake_marks.broken = False
    site.unprepare()


def test_a_device_still_on_its_way_is_told_at_once_to_who_does_not_wait(site: Site) -> None:
    """The daemon's look takes no time; the kubelet's call waits as long as it takes."""
    site.kernel.return_delay = 0.1
    site.end_pods()
    detaching = site.node.container.detaching()

    with pytest.raises(NotSettled):
        detaching.bring_home_if_over(site.claims[0].uid)
    assert 0.0 == site.kernel.clock()
    site.unprepare()

    assert pytest.approx(0.1) == site.kernel.clock()
    check_over(site)


def test_a_drivers_reset_is_seen_and_put_right_at_the_next_container(site: Site) -> None:
    """The device of a living pod comes back at home; the pod's next container gets it again."""
    attaching, uid = site.node.container.attaching(), site.claims[0].uid
    before = site.node.container.ledger().all()[uid]
    assert attaching.is_whole(before)
    site.reset(RDMA)
    assert not attaching.is_whole(before)

    site.attach()

    assert attaching.is_whole(site.node.container.ledger().all()[uid])
    check_attached(site)
    site.unprepare()
    site.end_pods()
    check_over(site)


def _once(move: object, refused: KernelRefused) -> object:
    calls = iter([move])

    def side_effect(*args: object, **kwargs: object) -> object:
        first = next(calls, None)
        if first is None:
            raise refused
        assert callable(first)
        return first(*args, **kwargs)

    return side_effect
