"""A port's error counters over time -> which of them grow fast.

Why: a bad cable shows in the counters weeks before the port goes down.  That is a word to a
person and no reason to take a port away that works, so it goes into the health message
only.  The message must not change with every number, so a counter is named for a while
after it last grew fast, without its value.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ibdra_domain.hardware import ErrorCounters
from ibdra_domain.health import Course

LIMITS: Mapping[str, float] = {
    "symbol_error": 60.0,
    "port_rcv_errors": 60.0,
    "link_error_recovery": 2.0,
    "local_link_integrity_errors": 2.0,
    "excessive_buffer_overrun_errors": 2.0,
}
"""Growth a minute that is still taken for normal; ``link_downed`` counts falls instead."""
REMEMBERED = 300.0
"""Seconds for which a counter is named after it last grew fast."""


GAP = 120.0
"""Seconds between two readings after which nobody can tell when a counter grew: a day in a pod
ends with the falls of that day, and they are not of now."""


class LinkErrors(msgspec.Struct, frozen=True, kw_only=True):
    """A port's counters at one time, and when each of them was last seen to grow fast."""

    counters: ErrorCounters
    at: float
    fast: tuple[tuple[str, float], ...] = ()

    @property
    def growing(self) -> tuple[str, ...]:
        """Name the counters to be told of."""
        return tuple(name for name, _ in self.fast)


def count(before: LinkErrors | None, counters: ErrorCounters, *, now: float) -> LinkErrors:
    """Add a reading; counters that were reset or are missing have not grown."""
    if before is None or now <= before.at:
        return LinkErrors(counters=counters, at=now, fast=before.fast if before else ())
    last = dict(before.fast)
    minutes = (now - before.at) / 60
    if now - before.at <= GAP:
        for name, limit in LIMITS.items():
            if _growth(before.counters, counters, name) / minutes > limit:
                last[name] = now
    fast = ((name, last[name]) for name in LIMITS if name in last)
    return LinkErrors(
        counters=counters, at=now, fast=tuple(f for f in fast if now - f[1] < REMEMBERED)
    )


def unseen_falls(course: Course | None, before: LinkErrors | None, after: LinkErrors) -> int:
    """Tell how often a link went down between two readings without a look that saw it.

    0 across a gap, whose falls may be old.
    """
    if before is None or after.at - before.at > GAP:
        return 0
    fell = _growth(before.counters, after.counters, "link_downed")
    noticed = sum(fall >= before.at for fall in course.falls) if course is not None else 0
    return max(fell - noticed, 0)


def _growth(before: ErrorCounters, after: ErrorCounters, name: str) -> int:
    old: int | None = getattr(before, name)
    new: int | None = getattr(after, name)
    return max(new - old, 0) if old is not None and new is not None else 0
