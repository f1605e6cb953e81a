"""What watching over devices costs: at rest, and when a port flaps.  8 PFs and 1,024 VFs.

At rest the agent looks twice a minute, reads each physical port's counters as often, and
sends the whole list to the kubelet.  The first row is what a look cost before anything was
judged.  A port that flaps is looked at at its first change, then once a second, then when it
is calm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from ibdra_adapters.kubelet import health_wire
from ibdra_app.container import Container, wired
from ibdra_app.settings import Settings
from ibdra_app.watching import LONGEST_BURST, SLOW_POLL
from ibdra_domain.hardware import ErrorCounters
from ibdra_domain.link import PortState
from measure import row

ROUNDS = 7
CHANGES = 100
EVERY = 0.1
LOOKS_A_MINUTE = 60 / SLOW_POLL
PF = "mlx5_0"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Read it."""
        return self.now


def cpu(work: Callable[[], object], *, rounds: int = ROUNDS) -> float:
    """Give the median of the CPU seconds of some runs, after one to warm up."""
    samples = []
    for _ in range(rounds + 1):
        began = time.process_time()
        work()
        samples.append(time.process_time() - began)
    return sorted(samples[1:])[rounds // 2]


def at_rest(container: Container, clock: Clock) -> None:
    """Print what a minute costs when nothing happens."""
    publishing, monitoring = container.publishing(), container.monitoring()
    inventory = publishing.look()
    publishing.write(inventory)

    def look() -> None:
        clock.now += SLOW_POLL
        monitoring.look(inventory)
        monitoring.due()

    def tell() -> bytes:
        return health_wire.V1.response(monitoring.health()).SerializeToString()

    costs = {
        "the look itself: sysfs, libibverbs, inventory": cpu(container.discovery().take),
        "judging it, with the counters of 8 ports": cpu(look),
        "comparing it with the slices": cpu(lambda: publishing.write(inventory)),
        f"the list to the kubelet, {len(tell()) / 1024:.0f} KiB": cpu(tell),
    }
    print(f"at rest, {len(inventory.devices)} devices, CPU seconds a minute:")
    for what, seconds in costs.items():
        row(f"  {what}", f"{seconds * LOOKS_A_MINUTE:.3f} s")
    row("  in all", f"{sum(costs.values()) * LOOKS_A_MINUTE:.3f} s")


def flap(container: Container, clock: Clock, *, changes: int) -> tuple[int, int, float]:
    """Let a port change so often, look at each change and until it is calm; writes and cost."""
    machine, publishing = container.machine(), container.publishing()
    monitoring = container.monitoring()
    looks = writes = 0
    spent = last = 0.0

    def look() -> None:
        nonlocal looks, writes, spent
        began = time.process_time()
        writes += publishing.write(publishing.look()).count
        spent += time.process_time() - began
        looks += 1

    clock.now += 1000.0
    for number in range(changes):
        state = PortState.ACTIVE if number % 2 else PortState.DOWN
        machine.set_port_state(PF, state)
        clock.now += EVERY
        if clock.now - last >= LONGEST_BURST:
            last = clock.now
            look()
    clock.now += LONGEST_BURST
    look()
    while (due := monitoring.due()) is not None:
        clock.now += due
        look()
    return looks, writes, spent


def main() -> None:
    """Run the command line."""
    logging.disable(logging.CRITICAL)
    profile = Path(__file__).with_name("1024-vfs.toml")
    with wired(Settings(simulate=str(profile), node="node-a")) as container:
        clock = Clock()
        container.monitoring_clock.override(clock)
        for name in [f"mlx5_{n}" for n in range(8)]:
            container.machine().count(name, ErrorCounters(symbol_error=1, link_downed=1))
        at_rest(container, clock)
        print("a port flaps:")
        for changes in (2, CHANGES):
            looks, writes, spent = flap(container, clock, changes=changes)
            what = f"  {changes} changes in {changes * EVERY:g} s: {looks} looks"
            row(
                what, f"{writes} writes", f"{spent:.2f} CPU s, {spent / looks * 1000:.0f} ms a look"
            )


if __name__ == "__main__":
    main()
