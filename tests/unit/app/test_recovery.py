from __future__ import annotations

import msgspec

from ibdra_domain.records import ClaimRecord, Phase
from unit.app.app_node import OTHER_VF, VF, Node, ib_config

FULL = ib_config(pkey=0x8001, mtu=2048)


def record_of(node: Node, uid: str) -> ClaimRecord:
    """Give a claim's record."""
    record = node.container.ledger().get(uid)
    assert record is not None
    return record


def test_a_restart_keeps_prepared_and_attached_claims(node: Node) -> None:
    """A new process answers for old claims, and brings their devices home."""
    before = node.snapshot()
    claim, pid = node.prepared(VF, config=FULL), node.kernel.start_process()
    node.attach(claim, pid)

    fresh = node.restarted()
    notes = fresh.container.recovery().run()

    assert () == notes
    assert isinstance(fresh.prepare(claim)[0], tuple)
    assert [None] == fresh.unprepare(claim)
    assert before == node.snapshot()


def test_a_half_done_prepare_is_undone(node: Node) -> None:
    """An intent without its completion goes, with its spec, and the device is free again."""
    claim = node.prepared(VF)
    intent = msgspec.structs.replace(record_of(node, claim.uid), phase=Phase.INTENT)
    node.container.ledger().put(intent)

    fresh = node.restarted()
    (note,) = fresh.container.recovery().run()

    assert "was being prepared: that was undone" in note
    assert [] == fresh.files()


def test_a_half_done_attach_is_brought_home(node: Node) -> None:
    """A device on its way into a pod when the driver died is at home after the start."""
    before = node.snapshot()
    claim, pid = node.prepared(VF, config=FULL), node.kernel.start_process()
    node.attach(claim, pid)
    done = record_of(node, claim.uid)
    assert done.attachment is not None
    half = msgspec.structs.replace(done.attachment, phase=Phase.INTENT)
    node.container.ledger().put(msgspec.structs.replace(done, attachment=half))

    fresh = node.restarted()
    (note,) = fresh.container.recovery().run()

    assert "was being attached: its devices were brought home" in note
    assert before == node.snapshot()
    fresh.attach(claim, pid)
    assert {"ib0v0": (2044, True), "ib0v0.8001": (2044, True)} == fresh.interfaces(pid)


def test_after_a_reboot_nothing_is_attached_and_specs_are_written_again(node: Node) -> None:
    """A record of another boot keeps its claim, loses its attachment, and gets its spec back."""
    claim = node.prepared(VF)
    pid = node.kernel.start_process()
    node.attach(claim, pid)
    old = msgspec.structs.replace(record_of(node, claim.uid), boot_id="the-boot-before")
    node.container.ledger().put(old)
    node.kernel.end_process(pid)
    (node.folder / "cdi" / f"ib.sigs.k8s.io_{claim.uid}.json").unlink()

    fresh = node.restarted()
    notes = fresh.container.recovery().run()

    assert ["before the last reboot", "was missing: it was written again"] == [
        note[-len(end) :]
        for note, end in zip(
            notes, ["before the last reboot", "was missing: it was written again"], strict=True
        )
    ]
    assert record_of(fresh, claim.uid).attachment is None
    assert fresh.spec(claim)["devices"]


def test_a_corrupt_record_is_set_aside_and_the_others_live(node: Node) -> None:
    """One bad state file costs its own claim's memory only, and its spec goes with it."""
    bad, good = node.prepared(VF), node.prepared(OTHER_VF)
    (node.folder / "state" / f"{bad.uid}.json").write_bytes(b"\x00 not a record")

    fresh = node.restarted()
    notes = fresh.container.recovery().run()

    assert 2 == len(notes)
    assert f"{bad.uid}.corrupt" in notes[0]
    assert isinstance(fresh.prepare(good)[0], tuple)
    assert [
        f"cdi/ib.sigs.k8s.io_{good.uid}.json",
        f"state/{bad.uid}.corrupt",
        f"state/{good.uid}.json",
    ] == sorted(fresh.files(), key=lambda name: (name.split("/")[0], "corrupt" not in name))
