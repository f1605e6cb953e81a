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
    """One bad state file costs its own claim's memory only; its spec stays for a running pod."""
    bad, good = node.prepared(VF), node.prepared(OTHER_VF)
    (node.folder / "state" / f"{bad.uid}.json").write_bytes(b"\x00 not a record")

    for fresh in (node.restarted(), node.restarted()):
        fresh.container.recovery().run()
        assert isinstance(fresh.prepare(good)[0], tuple)
    expected = {
        f"cdi/ib.sigs.k8s.io_{bad.uid}.json",
        f"cdi/ib.sigs.k8s.io_{good.uid}.json",
        f"state/{bad.uid}.corrupt",
        f"state/{good.uid}.json",
    }
    assert expected == set(fresh.files())


def test_a_spec_without_a_claim_is_removed(node: Node) -> None:
    """A spec that no record knows goes at the next start."""
    claim = node.prepared(VF)
    (node.folder / "state" / f"{claim.uid}.json").unlink()

    fresh = node.restarted()
    (note,) = fresh.container.recovery().run()

    assert "belonged to no claim: it was removed" in note
    assert [] == fresh.files()


def test_after_a_reboot_specs_have_the_numbers_of_this_boot(node: Node) -> None:
    """Also a claim of admin access, which no hook would correct, gets the right device nodes."""
    claim = node.prepared(OTHER_VF, admin=True)
    record = record_of(node, claim.uid)
    node.container.ledger().put(msgspec.structs.replace(record, boot_id="the-boot-before"))
    old = node.spec(claim)
    for name in ("mlx5_1", "mlx5_0v0"):
        node.kernel.remove_device(name)
    host = node.kernel.init_netns
    pod = node.kernel.processes[node.kernel.start_process()]
    node.kernel.move_device("mlx5_0v1", source=host, target=pod)
    node.kernel.move_device("mlx5_0v1", source=pod, target=host)

    fresh = node.restarted()
    fresh.container.recovery().run()

    paths = [n["path"] for n in fresh.spec(claim)["devices"][0]["containerEdits"]["deviceNodes"]]
    now = [
        f"/dev/infiniband/{n.name}" for n in node.kernel.nodes_of(node.kernel.devices["mlx5_0v1"])
    ]
    assert old != fresh.spec(claim)
    assert sorted(now) == sorted(paths)
