"""However a port changes: few writes, times that only grow, and the truth in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.hardware import HcaPort
from ibdra_domain.health import CALM, LONGEST_CALM, Course, Verdict, observe, verdict_of
from ibdra_domain.identifiers import ZERO_GUID
from ibdra_domain.inventory import IbDevice, Presence
from ibdra_domain.link import PortState
from ibdra_domain.ports.driver import HealthStatus
from unit.domain.domain_facts import NODE_GUID, a_vf, an_hca_port

BURST = 10.0
MOST_WRITES = 4

ports = st.builds(
    lambda state, physical: a_vf(link=an_hca_port(state=state, physical_state=physical)),
    st.sampled_from(PortState),
    st.sampled_from(["LinkUp", "Polling", "Disabled"]),
)
devices = st.builds(
    lambda state, guid, presence: a_vf(
        link=an_hca_port(state=state), node_guid=guid, presence=presence
    ),
    st.sampled_from([None, *PortState]),
    st.sampled_from([NODE_GUID, ZERO_GUID]),
    st.sampled_from(Presence),
)
times = st.lists(st.floats(0, BURST), min_size=1, max_size=100).map(sorted)


def written(before: Course, after: Course) -> bool:
    """Tell whether a slice is written."""
    return (before.told, before.shown) != (after.told, after.shown)


def calmed(course: Course, device: IbDevice) -> tuple[Course, int]:
    """Look whenever it says, until there is no more to tell; give the writes."""
    writes = 0
    for _ in range(10):
        if course.next_look is None:
            return course, writes
        after = observe(course, device, now=course.next_look)
        writes += written(course, after)
        course = after
    raise AssertionError("it never comes to rest")


@given(times, st.data())
def test_a_burst_is_four_writes_and_ends_with_the_truth(
    moments: list[float], data: st.DataObject
) -> None:
    """A hundred changes of a port in ten seconds, whenever they come."""
    course = observe(None, a_vf(), now=-2 * LONGEST_CALM)
    writes = 0
    device = a_vf()
    for now in moments:
        # Time does not stand still between: what is due is told.
        while course.next_look is not None and course.next_look < now:
            after = observe(course, device, now=course.next_look)
            writes += written(course, after)
            course = after
        device = data.draw(ports)
        after = observe(course, device, now=now)
        writes += written(course, after)
        course = after
    course, more = calmed(course, device)
    assert writes + more <= MOST_WRITES
    assert (verdict_of(device), device.link) == (course.told, course.shown)


@given(st.lists(st.tuples(st.floats(0, 1000), devices, st.integers(0, 3)), min_size=1))
def test_nothing_grave_is_ever_told_late(looks: list[tuple[float, IbDevice, int]]) -> None:
    """Whatever is seen: a bad device is told bad, its times only grow, and it comes to rest."""
    course: Course | None = None
    for now, device, falls in looks:
        after = observe(course, device, now=now, unseen_falls=falls)
        if after.seen.status is HealthStatus.UNHEALTHY:
            assert after.told.status is HealthStatus.UNHEALTHY
        assert after.since <= after.now
        assert sorted(after.falls) == list(after.falls)
        if course is not None:
            assert course.now <= after.now
            assert course.since <= after.since
        if after.next_look is not None:
            assert after.now <= after.next_look <= after.now + LONGEST_CALM
        course = after
    assert course is not None
    course, writes = calmed(course, looks[-1][1])
    assert writes <= 1
    assert (course.seen, course.link) == (course.told, course.shown)


@given(st.lists(ports, min_size=2))
def test_a_port_that_changes_slowly_is_told_as_it_is(looks: list[IbDevice]) -> None:
    """With a calm minute between, every look is told: flapping hides nothing for ever."""
    course: Course | None = None
    told: list[tuple[Verdict, HcaPort]] = []
    now = 0.0
    for device in looks:
        course = observe(course, device, now=now)
        now += LONGEST_CALM + CALM
        course = observe(course, device, now=now)
        told.append((course.told, course.shown))
    assert [(verdict_of(d), d.link) for d in looks] == told
