"""Medians, and ratios of things measured in turns, so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

Work = Callable[[], object]


def medians(works: Mapping[str, Work], *, rounds: int = 7) -> dict[str, float]:
    """Run all works in turns, after one round to warm up; seconds by name."""
    samples: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            spent = time.perf_counter() - start
            if turn:
                samples[name].append(spent)
    return {name: statistics.median(values) for name, values in samples.items()}


def percentile(samples: list[float], percent: int) -> float:
    """Give a percentile of samples, by nearest rank."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def tell(what: str, samples: list[float]) -> None:
    """Print a row of calls' percentiles; samples are seconds."""
    row(
        what,
        f"p50 {percentile(samples, 50) * 1e3:.1f} ms",
        f"p99 {percentile(samples, 99) * 1e3:.1f} ms, {len(samples)} calls",
    )


def row(what: str, value: str, note: str = "") -> None:
    """Print one line of the report."""
    print(f"{what:<58} {value:>14}  {note}")
