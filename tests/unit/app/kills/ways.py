"""The ways that a driver can be killed on: what was before, and what it was doing.

Why: a way is told in two functions, so that each can be run once to count its calls and
then again for every step of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ibdra_domain.errors import AttachRefused
from unit.app.kills.blade import Killed, Step
from unit.app.kills.site import SPARE, Site


class Way(NamedTuple):
    """What is done unharmed, what the driver is killed at, and whether it was the claim's end."""

    arrange: Callable[[Site], None]
    act: Callable[[Site], None]
    ending: bool = False


def _prepared(site: Site) -> None:
    site.create_claims()
    site.prepare()
    site.start_pods()


def _attached(site: Site) -> None:
    _prepared(site)
    site.attach()


def _dead(site: Site) -> None:
    _attached(site)
    site.end_pods()


def _dying(site: Site) -> None:
    site.kernel.return_delay = 0.1
    _dead(site)


def _new_sandbox(site: Site) -> None:
    _dead(site)
    site.start_pods()


def _new_sandbox_at_once(site: Site) -> None:
    _dying(site)
    site.start_pods()


def _renumbered(site: Site) -> None:
    """Free the lowest minors, which the next that is made anew gets."""
    _prepared(site)
    site.machine.pull_out(SPARE)
    site.lost.append(SPARE)
    if site.kind.isolation == "shared":  # no move makes anything anew
        for name in {_rdma(site, claim.uid) for claim in site.claims}:
            site.reset(name)


def _reset(site: Site) -> None:
    _attached(site)
    for claim in site.claims:
        rdma = _rdma(site, claim.uid)
        site.reset(rdma)
        site.reset_to[claim.uid] = site.above(rdma)


def _died_while_down(site: Site) -> None:
    _dying(site)
    site.start_driver()


def _lost_specs(site: Site) -> None:
    _prepared(site)
    for path in (site.folder / "cdi").iterdir():
        path.unlink()
    site.start_driver()


def _refused(site: Site) -> None:
    changed = 0
    for claim in site.claims:
        pid = site.pods[claim.uid]
        try:
            site.node.attach(claim, pid, nodes=site.told_nodes(claim))
        except AttachRefused as refused:
            assert "device nodes" in str(refused)  # noqa: PT017 -- the second of two may be right
            changed += 1
    assert changed


def _bring_home(site: Site) -> None:
    assert site.node.container.detaching().bring_home()


def _bring_home_later(site: Site) -> None:
    assert not site.node.container.detaching().bring_home()
    site.kernel.let_time_pass(1)
    site.kernel.let_time_pass(1)
    assert site.node.container.detaching().bring_home()


WAYS = {
    "prepare": Way(Site.create_claims, Site.prepare),
    "attach, first container": Way(_prepared, Site.attach),
    "attach, second container": Way(_attached, Site.attach),
    "attach, after the driver's reset": Way(_reset, Site.attach),
    "attach, new sandbox after a dead one": Way(_new_sandbox, Site.attach),
    "attach, new sandbox while the old one dies": Way(_new_sandbox_at_once, Site.attach),
    "attach, refused for changed nodes": Way(_renumbered, _refused),
    "bring home": Way(_dead, _bring_home),
    "bring home, later": Way(_dying, _bring_home_later),
    "unprepare": Way(_prepared, Site.unprepare, ending=True),
    "unprepare, pod alive": Way(_attached, Site.unprepare, ending=True),
    "unprepare, pod dead": Way(_dying, Site.unprepare, ending=True),
    "recovery, pod died meanwhile": Way(_died_while_down, Site.recover),
    "recovery, specs lost": Way(_lost_specs, Site.recover),
}


def _rdma(site: Site, uid: str) -> str:
    record = site.node.container.ledger().get(uid)
    assert record is not None
    return record.prepared.moving[0].device.rdma_device


def calls_of(way: Way, site: Site) -> list[str]:
    """Go a way unharmed; give the calls of what it did."""
    way.arrange(site)
    site.blade.arm()
    way.act(site)
    site.blade.disarm()
    return site.blade.calls


def fall(site: Site, act: Callable[[Site], None], step: Step) -> None:
    """Do something, die at a step of it, and have a new process started that knows nothing."""
    site.blade.arm(step)
    try:
        act(site)
    except Killed:
        assert site.blade.fallen
        site.start_driver()
        return
    raise AssertionError(f"nobody died at {step}: {site.blade.calls}")
