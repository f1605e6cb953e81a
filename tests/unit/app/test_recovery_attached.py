"""The start of a driver whose pods went on without it, and claims that nobody knows any more."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import Phase
from unit.app.kills.blade import Refusal
from unit.app.kills.checks import check_attached, check_over
from unit.app.kills.kinds import KINDS
from unit.app.kills.site import Site, running_site

RDMA = "mlx5_0v0"


@pytest.fixture(params=["exclusive-older", "exclusive-newer", "shared"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Give a node with one claim attached."""
    with running_site(tmp_path / "machine", KINDS[request.param]) as running:
        running.create_claims()
        running.prepare()
        running.start_pods()
        running.attach()
        yield running


def restarted(site: Site) -> tuple[str, ...]:
    """Start a new driver; gives what it found."""
    site.start_driver()
    return site.node.container.recovery().run()


def test_a_namespace_that_died_meanwhile_is_waited_for(site: Site) -> None:
    """The devices are at home, as they were, when the start is over."""
    site.kernel.return_delay = 0.1
    site.end_pods()

    (note,) = restarted(site)

    assert "to a namespace that has died: its devices are home" in note
    assert site.original == site.snapshot()
    assert {} == site.marks()
    site.unprepare()
    check_over(site)


def test_a_reset_meanwhile_is_told_and_takes_the_mark_away(site: Site) -> None:
    """No helper lets a container start without its device; the daemon puts it back."""
    site.reset(RDMA)

    (note, *_) = restarted(site)

    assert "is attached to pod jobs/trainer" in note
    assert "they are when its next container starts" in note
    assert {} == site.marks()
    site.attach()
    check_attached(site)


def test_a_whole_attachment_keeps_its_mark(site: Site) -> None:
    """Nothing is said and nothing is done where nothing is wrong."""
    marks, before = dict(site.marks()), site.snapshot()
    assert () == restarted(site)
    assert marks == site.marks()
    assert before == site.snapshot()


def test_marks_of_nobody_are_removed(site: Site) -> None:
    """A mark of a claim that is unknown or not attached would let containers start."""
    site.unprepare()
    site.fake_marks.put("nobody", netns=NetnsId(4, 1, 1), nodes="-")
    restarted(site)
    assert {} == site.marks()


def test_what_cannot_be_looked_at_is_told_and_has_no_mark(site: Site) -> None:
    """The kernel's refusal costs that claim its mark, and the start goes on."""
    site.start_driver()
    site.blade.arm(Refusal(0, 1, times=40))

    (note,) = site.node.container.recovery().run()

    site.blade.disarm()
    assert "is not recovered" in note
    assert {} == site.marks()
    site.attach()
    check_attached(site)


def test_after_a_reboot_a_device_that_is_not_there_yet_costs_no_other_claim(site: Site) -> None:
    """No attachment of the last boot is believed: its namespace's id may be another pod's."""
    site.end_pods()
    site.machine.pull_out(RDMA)
    site.boot_id = "second-boot"

    notes = restarted(site)

    assert ["was prepared before the last reboot"] == [n.split(") ")[1] for n in notes]
    record = site.node.container.ledger().all()[site.claims[0].uid]
    assert ("second-boot", None) == (record.boot_id, record.attachment)
    site.machine.plug_in(RDMA)
    site.start_pods()
    site.attach()
    check_attached(site)


def test_a_device_that_does_not_come_home_keeps_no_spec_away(site: Site) -> None:
    """Each thing that is wrong is put right by itself."""
    uid = site.claims[0].uid
    ledger = site.node.container.ledger()
    record = ledger.all()[uid]
    assert record.attachment is not None
    half = msgspec.structs.replace(record.attachment, phase=Phase.INTENT)
    ledger.put(msgspec.structs.replace(record, attachment=half))
    next((site.folder / "cdi").iterdir()).unlink()
    site.start_driver()
    site.blade.arm(Refusal(0, 1, times=40))

    notes = site.node.container.recovery().run()

    site.blade.disarm()
    assert ["is not recovered", "was missing"] == [
        word for note in notes for word in ("is not recovered", "was missing") if word in note
    ]
    assert site.node.container.detaching().bring_home()
    assert site.original == site.snapshot()


def test_admin_access_gets_the_nodes_of_now_at_the_start(site: Site) -> None:
    """It has no hook that would correct them, and its nodes are another device's by now."""
    admin = site.node.claim("pci-0000-3b-00-2-port1", admin=True)
    site.node.prepare(admin)
    old = site.node.spec(admin)
    site.machine.pull_out("mlx5_9")
    site.reset("mlx5_0v1")

    notes = restarted(site)

    assert any("was not up to date: it was written again" in note for note in notes)
    minors = {n.minor for n in site.kernel.nodes_of(site.kernel.devices["mlx5_0v1"])}
    edits = site.node.spec(admin)["devices"][0]["containerEdits"]
    assert minors == {node["minor"] for node in edits["deviceNodes"]}
    assert old != site.node.spec(admin)


def test_orphans_are_forgotten_but_for_those_in_use(site: Site) -> None:
    """What is attached, on the host's network, or of admin access stays for the kubelet."""
    orphan = site.node.claim("pci-0000-19-00-0-port1")
    admin = site.node.claim("pci-0000-19-00-0-port1", admin=True)
    known = site.node.claim("pci-0000-3b-00-2-port1")
    site.node.prepare(orphan, admin, known)
    for claim in (orphan, admin, *site.claims):
        site.api.delete("ResourceClaim", claim.namespace, claim.name)

    (note,) = site.node.container.recovery().forget_orphans()

    assert f"claim {orphan} is gone from the API server: it was unprepared" == note
    left = {admin.uid, known.uid, site.claims[0].uid}
    assert left == set(site.node.container.ledger().all())
    assert set(site.node.container.cdi().keys()) == left


def test_a_claim_made_anew_by_the_same_name_is_another(site: Site) -> None:
    """The UID decides."""
    orphan = site.node.claim("pci-0000-19-00-0-port1")
    site.node.prepare(orphan)
    site.api.delete("ResourceClaim", orphan.namespace, orphan.name)
    site.node._claims -= 1
    anew = site.node.claim("pci-0000-19-00-0-port1")
    assert (orphan.name, True) == (anew.name, orphan.uid != anew.uid)

    site.node.container.recovery().forget_orphans()

    assert site.node.container.ledger().get(orphan.uid) is None


def test_without_the_api_server_nothing_is_forgotten(site: Site) -> None:
    """It gives up at the first claim that it is not answered for."""
    orphan = site.node.claim("pci-0000-19-00-0-port1")
    site.node.prepare(orphan)
    site.api.delete("ResourceClaim", orphan.namespace, orphan.name)
    site.api.fail_next = 1

    (note,) = site.node.container.recovery().forget_orphans()

    assert "it is not known which claims still exist" in note
    assert site.node.container.ledger().get(orphan.uid) is not None


def test_an_orphan_whose_files_cannot_be_removed_stays_known(site: Site) -> None:
    """It is told, and tried again at the next time."""
    orphan = site.node.claim("pci-0000-19-00-0-port1")
    site.node.prepare(orphan)
    site.api.delete("ResourceClaim", orphan.namespace, orphan.name)
    spec = site.folder / "cdi" / f"ib.sigs.k8s.io_{orphan.uid}.json"
    body = spec.read_bytes()
    spec.unlink()
    spec.mkdir()

    (note,) = site.node.container.recovery().forget_orphans()

    assert f"claim {orphan} is gone from the API server: {spec} could not be removed" in note
    assert site.node.container.ledger().get(orphan.uid) is not None
    spec.rmdir()
    spec.write_bytes(body)
    site.node.container.recovery().forget_orphans()
    assert site.node.container.ledger().get(orphan.uid) is None
