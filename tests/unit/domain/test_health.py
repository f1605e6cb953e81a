"""What is told of a device that goes up and down, and when."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ibdra_domain.health import (
    CALM,
    HEALTHY,
    LONGEST_CALM,
    UNKNOWN,
    WINDOW,
    Course,
    Reason,
    TaintEffect,
    Verdict,
    calm_time,
    observe,
    taints_of,
    verdict_of,
)
from ibdra_domain.health_words import describe
from ibdra_domain.identifiers import ZERO_GUID
from ibdra_domain.inventory import IbDevice, Presence
from ibdra_domain.kube_objects import DeviceTaint
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import HealthStatus
from unit.domain.domain_facts import a_device, a_vf, an_hca_port

GOOD = a_vf()
AWAY = a_vf(presence=Presence.AWAY)


def bad(reason: Reason) -> Verdict:
    """Give the verdict with a reason."""
    return Verdict(HealthStatus.UNHEALTHY, reason)


def at(state: PortState | None, physical: str | None = "LinkUp") -> IbDevice:
    """Give the VF with its port in a state."""
    return a_vf(link=an_hca_port(state=state, physical_state=physical))


DOWN = at(PortState.DOWN, "Polling")


def course_of(*looks: tuple[float, IbDevice]) -> Course:
    """Look at a device at these times."""
    course = None
    for now, device in looks:
        course = observe(course, device, now=now)
    assert course is not None
    return course


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (at(PortState.ACTIVE), HEALTHY),
        (at(PortState.ACTIVE_DEFER), HEALTHY),
        (at(PortState.DOWN), bad(Reason.PORT_DOWN)),
        (at(PortState.INIT), bad(Reason.PORT_NOT_ACTIVE)),
        (at(PortState.ARMED), bad(Reason.PORT_NOT_ACTIVE)),
        (at(None), UNKNOWN),
        (a_vf(node_guid=ZERO_GUID), bad(Reason.ZERO_GUID)),
        (replace(DOWN, node_guid=ZERO_GUID), bad(Reason.ZERO_GUID)),
        (a_vf(presence=Presence.GONE), bad(Reason.GONE)),
    ],
    ids=["active", "defer", "down", "init", "armed", "unread", "zero", "zero and down", "gone"],
)
def test_the_first_look_is_told_at_once(device: IbDevice, expected: Verdict) -> None:
    """There is nothing to compare it with; graver reasons hide lesser ones."""
    course = course_of((0, device))
    assert expected == verdict_of(device) == course.told
    assert device.link == course.shown
    assert course.next_look is None


def test_a_fall_is_told_at_once_with_its_link() -> None:
    """Nobody should be given a port that is down."""
    course = course_of((0, GOOD), (100, DOWN))
    assert bad(Reason.PORT_DOWN) == course.told
    assert DOWN.link == course.shown


def test_a_port_that_is_back_is_told_after_a_calm_time() -> None:
    """Until then the slices do not change, state and link alike."""
    back = course_of((0, GOOD), (100, DOWN), (101, GOOD))
    assert bad(Reason.PORT_DOWN) == back.told
    assert DOWN.link == back.shown
    assert 101 + CALM == back.next_look
    early = observe(back, GOOD, now=101 + CALM - 0.01)
    assert back.told == early.told
    late = observe(early, GOOD, now=101 + CALM)
    assert (HEALTHY, GOOD.link, None) == (late.told, late.shown, late.next_look)


def test_another_way_to_be_down_is_told_after_a_calm_time() -> None:
    """A port on its way up passes many states."""
    course = course_of((0, GOOD), (100, DOWN), (101, at(PortState.INIT)))
    assert (bad(Reason.PORT_DOWN), PortState.DOWN) == (course.told, course.shown.state)
    course = observe(course, at(PortState.INIT), now=101 + CALM)
    assert (bad(Reason.PORT_NOT_ACTIVE), PortState.INIT) == (course.told, course.shown.state)


def test_the_second_fall_is_flapping() -> None:
    """It is told so at once, and as what it is after a longer calm."""
    course = course_of((0, GOOD), (100, DOWN), (101, GOOD), (102, DOWN))
    assert bad(Reason.FLAPPING) == course.told
    assert 102 + 2 * CALM == course.next_look
    course = observe(course, DOWN, now=102 + 2 * CALM)
    assert bad(Reason.PORT_DOWN) == course.told
    assert course.next_look is None


def test_falls_long_ago_are_forgotten() -> None:
    """Two falls in a day are two falls."""
    course = course_of((0, GOOD), (1, DOWN), (2, GOOD), (20, GOOD), (1 + WINDOW, DOWN))
    assert bad(Reason.PORT_DOWN) == course.told
    assert 1 == len(course.falls)


def test_the_calm_time_doubles_up_to_a_minute() -> None:
    """A port that fell ten times must be quiet for longer than one that fell once."""
    times = [calm_time(falls) for falls in range(8)]
    assert [CALM, CALM, 10, 20, 40, LONGEST_CALM, LONGEST_CALM, LONGEST_CALM] == times


def test_what_is_graver_is_told_at_once() -> None:
    """Also of a device that is bad already; what is less grave waits."""
    gone = a_vf(presence=Presence.GONE)
    course = course_of((0, GOOD), (100, DOWN), (100.1, gone))
    assert bad(Reason.GONE) == course.told
    course = observe(course, DOWN, now=100.2)
    assert bad(Reason.GONE) == course.told
    assert bad(Reason.PORT_DOWN) == observe(course, DOWN, now=100.2 + CALM).told


def test_a_state_that_cannot_be_read_changes_nothing() -> None:
    """A device that is just going away must not look bad, nor good."""
    assert bad(Reason.PORT_DOWN) == course_of((0, DOWN), (100, at(None))).told
    course = course_of((0, GOOD), (100, at(None)))
    assert (HEALTHY, GOOD.link) == (course.told, course.shown)
    assert HEALTHY == course_of((0, at(None)), (0.1, GOOD)).told


def test_other_facts_of_a_good_link_are_shown_at_once() -> None:
    """A new LID is no reason to wait."""
    moved = a_vf(link=an_hca_port(lid=77))
    assert 77 == course_of((0, GOOD), (1, moved)).shown.lid


def test_a_good_link_that_changes_its_state_is_shown_when_it_is_calm() -> None:
    """ActiveDefer comes and goes with link errors."""
    defer = at(PortState.ACTIVE_DEFER)
    course = course_of((0, GOOD), (1, defer))
    assert (HEALTHY, PortState.ACTIVE) == (course.told, course.shown.state)
    assert PortState.ACTIVE_DEFER is observe(course, defer, now=1 + CALM).shown.state


def test_a_device_out_of_sight_is_as_it_was() -> None:
    """In a pod's namespace nobody on the host sees its port, and what is remembered is older."""
    course = course_of((0, GOOD), (100, DOWN), (200, AWAY))
    assert bad(Reason.PORT_DOWN) == course.told
    assert DOWN.link == course.shown
    assert HEALTHY == course_of((0, AWAY)).told


def test_the_pfs_port_tells_of_a_vf_out_of_sight() -> None:
    """They share the cable: with it down the VF is down, and up again after the calm."""
    pf, down = a_device(), a_device(link=an_hca_port(state=PortState.DOWN))
    course = observe(None, AWAY, now=0, parent=pf)
    course = observe(course, AWAY, now=100, parent=down)
    assert (bad(Reason.PORT_DOWN), AWAY.link) == (course.told, course.shown)
    assert "the port of its PF mlx5_0 is not Active" in describe(course, AWAY)
    course = observe(course, AWAY, now=101, parent=pf)
    assert HEALTHY == observe(course, AWAY, now=101 + CALM, parent=pf).told
    here = observe(None, GOOD, now=0, parent=down)
    assert HEALTHY == here.told


def test_falls_between_two_looks_are_flapping() -> None:
    """The link's counter saw them; the port was up at every look."""
    course = observe(course_of((0, GOOD)), GOOD, now=30, unseen_falls=1)
    assert HEALTHY == course.told
    course = observe(course, GOOD, now=60, unseen_falls=3)
    assert bad(Reason.FLAPPING) == course.told
    assert course.next_look == 60 + calm_time(4)
    assert HEALTHY == observe(course, GOOD, now=60 + calm_time(4)).told


def test_falls_that_are_known_of_do_not_begin_the_calm_anew() -> None:
    """The counter is read seldom, and tells late of what was seen."""
    course = course_of((0, GOOD), (1, DOWN), (2, GOOD), (3, DOWN), (4, GOOD))
    course = observe(course, GOOD, now=30, unseen_falls=5)
    assert 4 + LONGEST_CALM == course.next_look


def test_a_clock_that_goes_back_does_no_harm() -> None:
    """Times only grow."""
    course = course_of((100, GOOD), (50, DOWN))
    assert (100, 100, (100,)) == (course.now, course.since, course.falls)


def test_the_taint_has_the_reason_and_the_effect() -> None:
    """A healthy device has none, and with the effect None nobody has."""
    taint = DeviceTaint(key="ib.sigs.k8s.io/unhealthy", value="port-down", effect="NoSchedule")
    verdict = bad(Reason.PORT_DOWN)
    assert (taint,) == taints_of(verdict, TaintEffect.NO_SCHEDULE)
    assert "NoExecute" == taints_of(verdict, TaintEffect.NO_EXECUTE)[0].effect
    assert () == taints_of(verdict, TaintEffect.NONE)
    assert () == taints_of(HEALTHY, TaintEffect.NO_EXECUTE)
    assert () == taints_of(UNKNOWN, TaintEffect.NO_EXECUTE)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (GOOD, ""),
        (DOWN, "port 1 of mlx5_2 is Down (link: Polling)"),
        (at(PortState.DOWN, None), "port 1 of mlx5_2 is Down (link: unknown)"),
        (at(PortState.INIT), "port 1 of mlx5_2 is Init: check that a subnet manager"),
        (at(None), "the state of port 1 of mlx5_2 cannot be read"),
        (a_vf(node_guid=ZERO_GUID), "mlx5_2 has a GUID of zero"),
        (a_vf(presence=Presence.GONE), "PCI function 0000:3b:00.2 has left the machine"),
        (AWAY, "no trouble is known; it is in a pod's network namespace"),
    ],
    ids=["good", "down", "no phys", "init", "unread", "zero", "gone", "away"],
)
def test_a_message_says_what_and_why(device: IbDevice, words: str) -> None:
    """Nothing is said of a device that is well; every word is the same at the next look."""
    course = course_of((0, device))
    assert describe(course, device).startswith(words)
    assert bool(words) == bool(describe(course, device))
    assert describe(course, device) == describe(observe(course, device, now=9), device)


def test_a_message_names_flapping_and_errors() -> None:
    """Both are told of one device."""
    course = course_of((0, GOOD), (1, DOWN), (2, GOOD), (3, DOWN))
    words = describe(course, DOWN, growing=["symbol_error", "port_rcv_errors"])
    assert "went down more than once in 5 minutes" in words
    assert "the link has errors, symbol_error, port_rcv_errors grows fast" in words
