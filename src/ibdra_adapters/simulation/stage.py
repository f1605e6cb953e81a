"""Pods on the simulated machine."""

from __future__ import annotations

from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_domain.ports.netlink import Netns


class SimulatedStage:
    """Fulfils the Stage port over the fake kernel."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self._profile = machine.profile
        self._kernel = machine.kernel

    @property
    def description(self) -> str:
        """Fulfil the port."""
        return self._profile.description

    def may_stay_pending(self, example: str) -> bool:
        """Fulfil the port."""
        return example in self._profile.pending

    def left_open(self) -> list[str]:
        """Fulfil the port."""
        found = [f"open namespace {netns}" for netns in self._kernel.handles]
        return found + [f"process {pid}" for pid in self._kernel.processes]

    def start_pod(self, *, host_network: bool) -> int:
        """Fulfil the port."""
        return self._kernel.start_process(self._kernel.init_netns if host_network else None)

    def end_pod(self, pid: int) -> None:
        """Fulfil the port."""
        self._kernel.end_process(pid)

    def open_node(self, path: str, *, netns: Netns) -> None:
        """Fulfil the port."""
        self._kernel.open_node(path, netns=netns.id)
