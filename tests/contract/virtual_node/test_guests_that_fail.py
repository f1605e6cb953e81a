"""A guest that crashes or hangs fails its run and shows how its console ends: seen on the host."""

from __future__ import annotations

import pytest

from contract.virtual_node import guests
from contract.virtual_node.guests import BROKEN, Bootable, Job
from contract.virtual_node.packages import Lacking
from contract.virtual_node.run import tell

pytestmark = pytest.mark.real
_CRASH = "echo c > /proc/sysrq-trigger; sleep 300"
_HANG = "sleep 300"


@pytest.fixture(scope="module")
def bootable() -> Bootable:
    """Give a kernel to boot; its InfiniBand stack is not needed here."""
    try:
        return guests.prepare("6.1")
    except Lacking as reason:
        pytest.skip(str(reason))


def test_a_guest_that_panics_has_died(
    bootable: Bootable, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long before its deadline, and the panic is what is printed."""
    outcome = guests.run(bootable, Job(["sh", "-c", _CRASH], mode=None, deadline=250))
    assert BROKEN == tell([outcome])
    printed = capsys.readouterr().out
    assert f"the guest of kernel {bootable.kernel.release} died; its console ends:" in printed
    assert "Kernel panic - not syncing: sysrq triggered crash" in printed
    assert "0 tests ran in the guest" in printed


def test_a_guest_that_hangs_is_ended_at_its_deadline(
    bootable: Bootable, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not pass, whatever it did before."""
    outcome = guests.run(bootable, Job(["sh", "-c", _HANG], mode=None, deadline=5))
    assert BROKEN == tell([outcome])
    printed = capsys.readouterr().out
    assert "did not end within 5 s; its console ends:" in printed


def test_a_guests_own_exit_code_is_the_runs(bootable: Bootable) -> None:
    """Whatever the job's command ended with."""
    outcome = guests.run(bootable, Job(["sh", "-c", "echo output; exit 3"], mode=None))
    assert (3, "", "output\n") == (outcome.code, outcome.ended, outcome.output)
    assert 3 == tell([outcome])
