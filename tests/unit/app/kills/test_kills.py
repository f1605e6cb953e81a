"""The driver is killed at every step of every way; nothing is lost, and nothing is doubled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unit.app.kills.blade import CHANGING, Step, steps_of
from unit.app.kills.checks import (
    check_attached,
    check_free,
    check_held,
    check_over,
    check_recovered,
    check_wreck,
)
from unit.app.kills.kinds import KINDS
from unit.app.kills.site import Kind, Site, running_site
from unit.app.kills.ways import WAYS, Way, calls_of, fall

EVERY_CALL = "exclusive-newer"
"""Here the driver is killed also around calls that only look: nobody may catch it there."""
FEWEST = {
    "prepare": 9,
    "attach, first container": 20,
    "attach, second container": 2,
    "attach, after the driver's reset": 16,
    "attach, new sandbox after a dead one": 32,
    "attach, new sandbox while the old one dies": 32,
    "attach, refused for changed nodes": 26,
    "bring home": 12,
    "bring home, later": 14,
    "unprepare": 4,
    "unprepare, pod alive": 18,
    "unprepare, pod dead": 16,
    "recovery, pod died meanwhile": 16,
    "recovery, specs lost": 5,
}
"""The fewest steps that each way must have, so that this test cannot shrink unseen."""


def go_on(site: Site, *, ending: bool) -> None:
    """Have the kubelet and the runtime try again, use the claims, and end them."""
    check_held(site)
    if not ending:
        site.prepare()
        site.start_pods()
        site.attach()
        check_attached(site)
        check_held(site)
        site.end_pods()
    site.unprepare()
    site.end_pods()
    site.find_lost()
    check_over(site)
    check_free(site)
    check_over(site)


def survive(folder: Path, kind: Kind, way: Way, *deaths: Step) -> None:
    """Go a way, die at a step, die again at the steps of the starts after it, and go on."""
    with running_site(folder, kind) as site:
        way.arrange(site)
        fall(site, way.act, deaths[0])
        check_wreck(site)
        for death in deaths[1:]:
            fall(site, Site.recover, death)
            check_wreck(site)
        site.recover()
        check_recovered(site)
        go_on(site, ending=way.ending)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WAYS)
def test_a_kill_at_any_step_loses_nothing(
    room: Path, name: str, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Whenever the driver dies, its next start and everybody's next try put all right."""
    way, machine = WAYS[name], KINDS[kind]
    with running_site(room / "unharmed", machine) as site:
        calls = calls_of(way, site)
    steps = steps_of(calls, every=kind == EVERY_CALL)

    for number, step in enumerate(steps):
        survive(room / str(number), machine, way, step)

    record_property("killed at", ", ".join(map(str, steps)))
    print(  # noqa: T201 -- for a reader, with -s
        f"{name} / {kind}: killed at {len(steps)} steps: {', '.join(map(str, steps))}"
    )
    assert len(steps) >= FEWEST[name]


PAIRS = ["prepare", "attach, first container", "unprepare, pod alive", "bring home"]


@pytest.mark.parametrize("kind", ["exclusive-newer", "companion"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_kill_during_the_start_after_a_kill_loses_nothing(
    room: Path, name: str, kind: str
) -> None:
    """Whenever the driver dies, it may die again at any change of the start after that."""
    way, machine = WAYS[name], KINDS[kind]
    with running_site(room / "unharmed", machine) as site:
        steps = steps_of(calls_of(way, site), every=False)
    pairs = 0

    for number, first in enumerate(steps):
        with running_site(room / f"{number}", machine) as site:
            way.arrange(site)
            fall(site, way.act, first)
            seconds = steps_of(calls_of(Way(lambda _: None, Site.recover), site), every=False)
        for again, second in enumerate(seconds):
            survive(room / f"{number}-{again}", machine, way, first, second)
            pairs += 1

    print(  # noqa: T201 -- for a reader, with -s
        f"{name} / {kind}: killed twice at {pairs} pairs of steps"
    )
    assert pairs >= 2 * FEWEST[name]


def test_what_changes_is_what_is_counted_as_changing(room: Path) -> None:
    """Every call that the ways make is known to look only, or to change something."""
    looking = {
        *("claims.get", "namespaces.host", "namespaces.process", "namespaces.find"),
        *("rdma.isolation", "rdma.names", "links.list", "verbs.read", "events.wait"),
        *("sysfs.read", "sysfs.char_devices", "sysfs.traffic_class", "sysfs.pkey_table"),
        "sysfs.rdma_devices",
        *("cdi.read", "cdi.keys", "marks.claims"),
    }
    seen = set()
    for way in WAYS.values():
        for kind in KINDS.values():
            with running_site(room / "machine", kind) as site:
                seen |= set(calls_of(way, site))

    assert seen <= looking | CHANGING
    assert CHANGING <= seen | {"links.remove"}
