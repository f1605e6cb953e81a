"""How the devices are, from look to look; told to whoever listens.

Why: one memory of every device's course, fed by each look at the machine, is what slices
and the kubelet are both told from: they never contradict each other.  It has no thread of
its own; whoever looks asks it when the next look is due, for what is calm again has no
event.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import islice

from msgspec.structs import replace

from ibdra_domain.health import UNKNOWN, Course, Verdict, observe
from ibdra_domain.health_words import describe
from ibdra_domain.identifiers import DeviceName, PciAddress
from ibdra_domain.inventory import IbDevice, Inventory, Presence
from ibdra_domain.link_errors import LinkErrors, count, unseen_falls
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus
from ibdra_domain.ports.sysfs import PortCounters

_log = logging.getLogger(__name__)

COUNT_EVERY = 25.0
"""Seconds between two readings of a port's counters: each asks the HCA's firmware."""
STALE = 120.0
"""Seconds without a look after which nothing is known any more."""
TIMEOUT = 60
"""Seconds the kubelet waits for news."""
_MOST_LINES = 8

_Place = tuple[PciAddress, int]


class Monitoring:
    """Keeps the health of a node's devices; fulfils DeviceHealthSource.

    Parameters
    ----------
    counters:
        What ports count.
    pool:
        The pool the devices are published in.
    clock, wall:
        Monotonic seconds, and Unix time.
    """

    def __init__(
        self,
        *,
        counters: PortCounters,
        pool: str,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._counters = counters
        self._pool = pool
        self._clock = clock
        self._wall = wall
        self._courses: dict[DeviceName, Course] = {}
        self._errors: dict[_Place, LinkErrors] = {}
        self._told: tuple[DeviceHealth, ...] = ()
        self._looked: float | None = None
        self._subscribers: list[Callable[[], object]] = []
        self._lock = threading.RLock()

    def look(self, inventory: Inventory) -> None:
        """Take note of what the machine is like now, and tell what changed."""
        with self._lock:
            now = self._clock()
            fell = self._count(inventory, now)
            ports = {(device.pci, device.port): device for device in inventory.devices}
            before, self._courses = self._courses, {}
            for device in inventory.devices:
                place = (device.hardware, device.port)
                self._courses[device.name] = observe(
                    before.get(device.name),
                    device,
                    now=now,
                    parent=ports.get(place) if device.parent_pci else None,
                    unseen_falls=fell.get(place, 0),
                )
            told = tuple(self._health_of(device) for device in inventory.devices)
            changed = _timeless(told) != _timeless(self._told)
            self._log_changes(before, told)
            self._told, self._looked = told, now
            subscribers = list(self._subscribers) if changed else []
        for subscriber in subscribers:
            subscriber()

    def verdict(self, device: IbDevice) -> Verdict:
        """Give what is told of a device."""
        course = self._courses.get(device.name)
        return course.told if course else UNKNOWN

    def as_told(self, device: IbDevice) -> IbDevice:
        """Give the device with the link that is shown of it."""
        course = self._courses.get(device.name)
        return replace(device, link=course.shown) if course else device

    def due(self) -> float | None:
        """Give the seconds until a look can tell more; None if only an event can."""
        with self._lock:
            times = [c.next_look for c in self._courses.values() if c.next_look is not None]
            return max(min(times) - self._clock(), 0.0) if times else None

    def health(self) -> tuple[DeviceHealth, ...]:
        """Fulfil the port."""
        with self._lock:
            if self._looked is None or self._clock() - self._looked <= STALE:
                return self._told
            blind = "the driver cannot look at the node's devices: see its log"
            return tuple(
                replace(one, status=HealthStatus.UNKNOWN, message=blind) for one in self._told
            )

    def subscribe(self, changed: Callable[[], object]) -> Callable[[], None]:
        """Fulfil the port."""
        with self._lock:
            self._subscribers.append(changed)

        def unsubscribe() -> None:
            with self._lock:
                self._subscribers.remove(changed)

        return unsubscribe

    def _count(self, inventory: Inventory, now: float) -> dict[_Place, int]:
        """Read the counters of physical ports; give the falls nobody saw, by port."""
        fell: dict[_Place, int] = {}
        errors: dict[_Place, LinkErrors] = {}
        for device in inventory.devices:
            place = (device.pci, device.port)
            before = self._errors.get(place)
            if device.parent_pci is not None:
                continue
            if device.presence is not Presence.HERE or (before and now - before.at < COUNT_EVERY):
                if before is not None:
                    errors[place] = before
                continue
            counters = self._counters.error_counters(device.rdma_device, device.port)
            errors[place] = after = count(before, counters, now=now)
            fell[place] = unseen_falls(self._courses.get(device.name), before, after)
        self._errors = errors
        return fell

    def _health_of(self, device: IbDevice) -> DeviceHealth:
        course = self._courses[device.name]
        errors = self._errors.get((device.hardware, device.port))
        return DeviceHealth(
            pool=self._pool,
            device=device.name,
            status=course.told.status,
            message=describe(course, device, growing=errors.growing if errors else ()),
            updated=int(self._wall()),
            timeout=TIMEOUT,
        )

    def _log_changes(
        self, before: dict[DeviceName, Course], told: tuple[DeviceHealth, ...]
    ) -> None:
        lines = list(self._changes(before, told))
        for level, line in islice(lines, _MOST_LINES):
            _log.log(level, "%s", line)
        if len(lines) > _MOST_LINES:
            _log.warning("the health of %d more devices changed", len(lines) - _MOST_LINES)

    def _changes(
        self, before: dict[DeviceName, Course], told: tuple[DeviceHealth, ...]
    ) -> Iterator[tuple[int, str]]:
        """Say what is new of devices; PFs last in the inventory tell most, so they come first."""
        for one in reversed(told):
            name = DeviceName(one.device)
            old, new = before.get(name), self._courses[name].told
            if new == (old.told if old else replace(new, status=HealthStatus.HEALTHY, reason=None)):
                continue
            bad = new.status is not HealthStatus.HEALTHY
            words = f"{name} is {new.reason or new.status}" + (f": {one.message}" if bad else "")
            yield (logging.WARNING if bad else logging.INFO), words


def _timeless(told: tuple[DeviceHealth, ...]) -> list[tuple[str, HealthStatus, str]]:
    return [(one.device, one.status, one.message) for one in told]
