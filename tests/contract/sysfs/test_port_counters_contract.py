"""The contract of the ``PortCounters`` port, for the fake and the reader alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.sysfs.sysfs_machines import CountingMachine, FakeMachine, TreeMachine
from ibdra_domain.hardware import ErrorCounters


@pytest.fixture(params=["fake", "tree"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> CountingMachine:
    """Give a machine of each kind."""
    return FakeMachine() if request.param == "fake" else TreeMachine(tmp_path)


def test_every_counter_is_read(machine: CountingMachine) -> None:
    """Each under its own name, zeros and the highest values too."""
    counters = {name: n * 1000 for n, name in enumerate(ErrorCounters.__struct_fields__)}
    counters["link_downed"] = 255
    machine.set_counters(1, **counters)
    assert ErrorCounters(**counters) == machine.sysfs.error_counters("mlx5_0", 1)


def test_what_is_not_counted_is_not_known(machine: CountingMachine) -> None:
    """A VF may have only some of them, a device that is gone has none; nothing raises."""
    machine.set_counters(1, symbol_error=5)
    assert ErrorCounters(symbol_error=5) == machine.sysfs.error_counters("mlx5_0", 1)
    assert ErrorCounters() == machine.sysfs.error_counters("mlx5_0", 2)
    assert ErrorCounters() == machine.sysfs.error_counters("mlx5_9", 1)


@pytest.mark.parametrize("text", ["-1", "N/A (no PMA)", "", "0x10", "1_0"])
def test_garbage_is_not_known(tmp_path: Path, text: str) -> None:
    """The kernel prints ``N/A (no PMA)`` where the HCA does not answer."""
    machine = TreeMachine(tmp_path)
    machine.write(f"{machine.hca}/ports/1/counters", {"link_downed": text, "symbol_error": "7"})
    assert ErrorCounters(symbol_error=7) == machine.sysfs.error_counters("mlx5_0", 1)
