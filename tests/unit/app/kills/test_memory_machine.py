"""The machine without files says what the simulation's files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ibdra_adapters.simulation.machine import SimulatedMachine
from unit.app.kills.kinds import KINDS
from unit.app.kills.memory_machine import MemoryMachine
from unit.app.kills.site import profile_of


@pytest.mark.parametrize("kind", KINDS)
def test_memory_and_files_agree(tmp_path: Path, kind: str) -> None:
    """Also after a move, what the use cases read is the same, in whatever order."""
    profile = profile_of(KINDS[kind])
    memory, files = MemoryMachine(profile), SimulatedMachine(profile, tmp_path)

    for _ in range(2):
        one, other = memory.sysfs.read(), files.sysfs.read()
        for field in ("functions", "hcas", "netdevs"):
            assert sorted(getattr(other, field), key=str) == sorted(getattr(one, field), key=str)
        assert (other.isolation, other.warnings) == (one.isolation, one.warnings)
        assert set(files.sysfs.char_devices()) == set(memory.sysfs.char_devices())
        assert files.verbs.read() == memory.verbs.read()
        for name in ("mlx5_0", "mlx5_0v0"):
            assert files.sysfs.traffic_class(name, 1) == memory.sysfs.traffic_class(name, 1)
        assert files.sysfs.pkey_table("mlx5_0", 1) == memory.sysfs.pkey_table("mlx5_0", 1)
        for machine in (memory, files):
            kernel = machine.kernel
            netns = kernel.processes[kernel.start_process()]
            home = kernel.init_netns
            exclusive = profile.isolation == "exclusive"
            if exclusive and kernel.devices["mlx5_0v0"].netns == home:
                kernel.move_device("mlx5_0v0", source=home, target=netns)
            machine.sysfs.set_traffic_class("mlx5_0", 1, 128)
