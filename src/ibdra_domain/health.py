"""Port facts over time -> the health of each device, and the taint that says so.

Why: a scheduler must not hand out a port that is down, and a pod's status should say why its
job hangs.  But every word about it is written to the API server, so a port that flaps must
not make one write a change.  Hence two rules: what is bad is told at once; everything
else is told when it has been so for a calm time, which grows with every fall.  The
attributes of the link follow the same rules, for they are in the same slices.

Source: IBA 1.7, 7.2 (port states); KEP-4680 (health), KEP-5055 (taints).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ibdra_domain.hardware import HcaPort
from ibdra_domain.inventory import IbDevice, Presence
from ibdra_domain.kube_objects import DeviceTaint
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import HealthStatus

TAINT = "ib.sigs.k8s.io/unhealthy"
CALM = 5.0
LONGEST_CALM = 60.0
"""Seconds: after the first fall, twice as long after each further one, up to the longest."""
WINDOW = 300.0
"""Seconds for which a fall is remembered."""
FLAPPING = 2
"""Falls within the window that are flapping."""
_MOST_FALLS = 8


class TaintEffect(StrEnum):
    """What an unhealthy device's taint does; with ``None`` there is no taint."""

    NO_SCHEDULE = "NoSchedule"
    NO_EXECUTE = "NoExecute"
    NONE = "None"


class Reason(StrEnum):
    """Why a device is unhealthy: the taint's value."""

    PORT_DOWN = "port-down"
    PORT_NOT_ACTIVE = "port-not-active"
    FLAPPING = "flapping"
    ZERO_GUID = "zero-guid"
    GONE = "gone"


_GRAVITY: Mapping[Reason | None, int] = {
    None: 0,
    Reason.PORT_NOT_ACTIVE: 1,
    Reason.PORT_DOWN: 1,
    Reason.FLAPPING: 1,
    Reason.ZERO_GUID: 2,
    Reason.GONE: 3,
}
OF_THE_PORT = frozenset({Reason.PORT_DOWN, Reason.PORT_NOT_ACTIVE})


class Verdict(msgspec.Struct, frozen=True):
    """How a device is; the reason is there if it is unhealthy."""

    status: HealthStatus
    reason: Reason | None = None


HEALTHY = Verdict(HealthStatus.HEALTHY)
UNKNOWN = Verdict(HealthStatus.UNKNOWN)
_STATES: Mapping[PortState, Verdict] = {
    PortState.ACTIVE: HEALTHY,
    PortState.ACTIVE_DEFER: HEALTHY,  # the link recovers, and nothing is dropped yet
    PortState.ARMED: Verdict(HealthStatus.UNHEALTHY, Reason.PORT_NOT_ACTIVE),
    PortState.INIT: Verdict(HealthStatus.UNHEALTHY, Reason.PORT_NOT_ACTIVE),
    PortState.DOWN: Verdict(HealthStatus.UNHEALTHY, Reason.PORT_DOWN),
}


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """One device over time: what is told of it, what was last seen, and since when.

    ``told`` and ``shown`` go into slices and to the kubelet.  ``own`` is the device's last
    verdict from its own facts; ``seen`` may be its PF's while it is out of sight.
    """

    told: Verdict
    shown: HcaPort
    seen: Verdict
    link: HcaPort
    own: Verdict
    now: float
    since: float
    falls: tuple[float, ...] = ()

    @property
    def next_look(self) -> float | None:
        """When more can be told without anything happening; None if there is no more to tell."""
        if (self.told, self.shown) == (self.seen, self.link):
            return None
        return self.since + calm_time(len(self.falls))


def calm_time(falls: int) -> float:
    """Give the seconds for which a device must stay as it is after so many falls."""
    return float(min(CALM * 2 ** max(falls - 1, 0), LONGEST_CALM))


def verdict_of(device: IbDevice) -> Verdict:
    """Judge a device by its facts of this moment."""
    if device.presence is Presence.GONE:
        return Verdict(HealthStatus.UNHEALTHY, Reason.GONE)
    if device.lacks_guid:
        return Verdict(HealthStatus.UNHEALTHY, Reason.ZERO_GUID)
    state = device.link.state
    return UNKNOWN if state is None else _STATES[state]


def observe(
    before: Course | None,
    device: IbDevice,
    *,
    now: float,
    parent: IbDevice | None = None,
    unseen_falls: int = 0,
) -> Course:
    """Add a look at a device to its course.

    Parameters
    ----------
    now:
        Seconds of a clock that never goes back.
    parent:
        The same port of its PF.  A VF that is out of sight is as the PF's port is, if that
        is down; else as it was last seen.
    unseen_falls:
        How often the port went down and came back between two looks, by its counter.
    """
    seen, own, link = _seen(before, device, parent)
    if before is None:
        return Course(told=seen, shown=link, seen=seen, link=link, own=own, now=now, since=now)
    now = max(now, before.now)
    fell = _is_bad(seen) and not _is_bad(before.seen)
    falls = (*before.falls, *(now,) * max(fell, min(unseen_falls, _MOST_FALLS)))
    falls = tuple(fall for fall in falls if now - fall < WINDOW)[-_MOST_FALLS:]
    surprising = unseen_falls > 0 and not _is_bad(before.told)  # else it is known to be bad
    same = (seen, *_key(link)) == (before.seen, *_key(before.link))
    since = before.since if same and not surprising else now
    after = Course(
        told=before.told,
        shown=before.shown,
        seen=seen,
        link=link,
        own=own,
        now=now,
        since=since,
        falls=falls,
    )
    told, shown = _tell(before, after, fell=fell or surprising)
    return msgspec.structs.replace(after, told=told, shown=shown)


def _seen(
    before: Course | None, device: IbDevice, parent: IbDevice | None
) -> tuple[Verdict, Verdict, HcaPort]:
    """Give what is to be taken for true of a device, its own part in that, and its link."""
    own, link = verdict_of(device), device.link
    away = device.presence is Presence.AWAY
    if before is not None and (away or own == UNKNOWN):
        own, link = before.own, before.link
    if away and parent is not None and parent.presence is Presence.HERE:
        above = verdict_of(parent)
        if above.reason in OF_THE_PORT:
            return above, own, link
    return own, own, link


def _tell(before: Course, after: Course, *, fell: bool) -> tuple[Verdict, HcaPort]:
    """Decide what is told, and which link is shown with it."""
    told, seen, falls = before.told, after.seen, len(after.falls)
    flapping = fell and falls >= FLAPPING
    if after.now >= after.since + calm_time(falls) or told == UNKNOWN:
        return seen, after.link
    if _GRAVITY[seen.reason] > _GRAVITY[told.reason]:
        if flapping and seen.reason in OF_THE_PORT:
            seen = Verdict(HealthStatus.UNHEALTHY, Reason.FLAPPING)
        return seen, after.link
    if flapping and _GRAVITY[told.reason] <= _GRAVITY[Reason.FLAPPING]:
        return Verdict(HealthStatus.UNHEALTHY, Reason.FLAPPING), before.shown
    if not _is_bad(told) and _key(after.link) == _key(before.shown):
        return told, after.link
    return told, before.shown


def _is_bad(verdict: Verdict) -> bool:
    return verdict.status is HealthStatus.UNHEALTHY


def _key(link: HcaPort) -> tuple[object, object]:
    return link.state, link.physical_state


def taints_of(verdict: Verdict, effect: TaintEffect) -> tuple[DeviceTaint, ...]:
    """Give the taint of an unhealthy device."""
    if effect is TaintEffect.NONE or verdict.reason is None:
        return ()
    return (DeviceTaint(key=TAINT, value=verdict.reason.value, effect=effect.value),)
