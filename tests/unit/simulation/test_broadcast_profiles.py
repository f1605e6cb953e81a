"""A profile's IPoIB broadcast group: the simulated machine has it, also when it is kept."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ibdra_adapters.simulation.kept import keep
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import load_profile


def a_machine(folder: Path) -> SimulatedMachine:
    """Make a machine whose ports are at 4096 and whose broadcast groups have 2048."""
    profile = load_profile("dgx-h100")
    hcas = tuple(
        msgspec.structs.replace(
            hca,
            ports=tuple(msgspec.structs.replace(port, broadcast_mtu=2048) for port in hca.ports),
        )
        for hca in profile.hcas
    )
    return SimulatedMachine(msgspec.structs.replace(profile, hcas=hcas), folder)


def mtus(machine: SimulatedMachine) -> set[int]:
    """Give the MTUs of its interfaces."""
    return {x.link.mtu for x in machine.kernel.links.values()}


def test_a_profiles_broadcast_group_limits_its_interfaces(tmp_path: Path) -> None:
    """And what has joined, or was asked for, is still so in the next process."""
    first = a_machine(tmp_path / "first")
    assert {2044} == mtus(first)
    for link in first.kernel.links.values():
        first.kernel.set_mtu(link, 4092)
    keep(first, tmp_path / "machine.json", namespaces=first.namespaces)
    next_one = a_machine(tmp_path / "next")

    keep(next_one, tmp_path / "machine.json", namespaces=next_one.namespaces)

    kept = next_one.kernel.links.values()
    assert {(2044, 4092, True)} == {(x.link.mtu, x.asked_mtu, x.joined) for x in kept}
