"""What a cleanup would do, and whose pod is in its way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain.cleanup import CleanupReport, Left, plan_cleanup
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import Attachment, ClaimRecord, Phase
from unit.domain.domain_facts import a_claim_ref, a_port, a_prepared_claim

BOOT = "boot-2"


def a_record(uid: str = "u1", **changes: object) -> ClaimRecord:
    """Build a prepared claim's record."""
    prepared = a_prepared_claim(claim=a_claim_ref(uid=uid))
    return replace(ClaimRecord(boot_id=BOOT, phase=Phase.DONE, prepared=prepared), **changes)


def attached(phase: Phase = Phase.DONE) -> Attachment:
    """Build an attachment."""
    return Attachment(netns=NetnsId(4, 9, 1), pid=7, phase=phase, origins=(), pod="jobs/train")


ADMIN = a_prepared_claim(a_port(admin=True), claim=a_claim_ref(uid="u1"))
CASES = {
    "prepared": (a_record(), False, ""),
    "attached": (a_record(attachment=attached()), True, "pod jobs/train (process 7"),
    "attached, dead": (a_record(attachment=attached()), False, ""),
    "half attached": (a_record(attachment=attached(Phase.INTENT)), True, ""),
    "before the reboot": (a_record(attachment=attached(), boot_id="boot-1"), True, ""),
    "attached, dead, and on the host's network": (
        a_record(attachment=attached(), on_host_network=True),
        False,
        "on the host's network",
    ),
    "on the host's network": (a_record(on_host_network=True), False, "on the host's network"),
    "admin": (a_record(prepared=ADMIN), False, "admin access"),
}


@pytest.mark.parametrize(("record", "lives", "said"), CASES.values(), ids=CASES)
def test_a_claim_in_use_is_in_the_way(record: ClaimRecord, said: str, *, lives: bool) -> None:
    """Named with its holder; not with force, and not what no container was started with."""
    plan = plan_cleanup({"u1": record}, boot_id=BOOT, living={"u1"} if lives else ())
    found = plan.in_the_way(force=False)
    assert [] == list(found) if not said else said in found[0] and "u1" in found[0]
    assert () == plan.in_the_way(force=True)
    (end,) = plan.claims
    assert (record.attachment is not None and record.boot_id == BOOT) == end.away
    assert end.away == ("bring home" in str(end))


def test_a_record_that_cannot_be_read_is_in_the_way() -> None:
    """What its devices were like is known from nowhere else."""
    plan = plan_cleanup({}, boot_id=BOOT, living=(), unreadable=["x is bad"], set_aside=["u9"])
    assert 2 == len(plan.in_the_way(force=False))
    assert () == plan.in_the_way(force=True)
    assert 2 == len(plan.steps())


@given(
    st.sets(st.sampled_from("abc")),
    st.sets(st.sampled_from("abc")),
    st.sets(st.sampled_from("abc")),
)
def test_every_trace_is_a_step_once(claims: set[str], specs: set[str], marks: set[str]) -> None:
    """A claim's own spec and mark go with it; those of no claim by themselves."""
    plan = plan_cleanup(
        {uid: a_record(uid) for uid in claims},
        boot_id=BOOT,
        living=(),
        specs=sorted(specs),
        marks=sorted(marks),
        slices=["s"],
        files=["/f"],
    )
    steps = plan.steps()
    assert 2 + len(claims) + len(specs - claims) + len(marks - claims) == len(steps)
    assert ("delete ResourceSlice s", "remove /f") == (steps[0], steps[-1])
    assert len(set(steps)) == len(steps)


def test_a_report_with_something_left_is_not_complete() -> None:
    """Done and left are both told."""
    assert CleanupReport(done=("x",)).complete
    assert not CleanupReport(left=(Left(what="x", why="y"),)).complete
