"""A claim that asks for more MTU than the fabric's IPoIB broadcast group has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ibdra_adapters.simulation.profile import Profile
from unit.app.app_node import ib_config
from unit.app.kills.checks import check_over
from unit.app.kills.kinds import VF
from unit.app.kills.site import Kind, Site, profile_of, running_site

CONFIG = ib_config(mtu=4096, pkey=0x8001)
KINDS = {
    "exclusive-older": Kind("exclusive", follows=False, devices=(VF,), config=CONFIG),
    "exclusive-newer": Kind("exclusive", follows=True, devices=(VF,), config=CONFIG),
    "shared": Kind("shared", follows=False, devices=(VF,), config=CONFIG),
}
LOWERED = (
    "interface {} has MTU 2044, not the 4092 that was asked for, as the fabric's IPoIB broadcast "
    "group has a smaller one: ask the subnet manager's administrator to raise the group's "
    "(OpenSM: mtu=5 in partitions.conf)"
)


def small_groups(kind: Kind) -> Profile:
    """Describe a machine whose ports are at 4096, on a fabric whose groups have 2048."""
    profile = profile_of(kind)
    hcas = tuple(
        msgspec.structs.replace(
            hca,
            ports=tuple(msgspec.structs.replace(port, broadcast_mtu=2048) for port in hca.ports),
        )
        for hca in profile.hcas
    )
    return msgspec.structs.replace(profile, hcas=hcas)


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Give a node on that fabric, with one claim prepared."""
    kind = KINDS[request.param]
    with running_site(tmp_path / "machine", kind, small_groups(kind)) as running:
        running.create_claims()
        running.prepare()
        running.start_pods()
        yield running


def mtus(site: Site) -> dict[str, int]:
    """Give the MTUs of the pod's interfaces that are up."""
    pod = site.kernel.processes[site.pods[site.claims[0].uid]]
    return {x.link.name: x.link.mtu for x in site.kernel.links_of(pod) if x.link.up}


def is_whole(site: Site) -> bool:
    """Tell whether the driver takes the claim for whole."""
    container = site.node.container
    return container.attaching().is_whole(container.ledger().all()[site.claims[0].uid])


def test_the_container_starts_with_what_the_group_has_and_it_is_told(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each interface, with whom to ask; the claim is whole, and goes home as it was."""
    site.attach()

    assert {"ib0v0": 2044, "ib0v0.8001": 2044} == mtus(site)
    for name in mtus(site):
        assert 1 == caplog.text.count(LOWERED.format(name))
    assert is_whole(site)
    assert () == site.node.container.recovery().run()
    site.end_pods()
    site.unprepare()
    check_over(site)


def test_an_mtu_that_falls_after_the_attach_refuses_no_container(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The join ended late: the next container is told what the first could not know."""
    site.kernel.join_delay = 60.0
    site.attach()
    assert 4092 == mtus(site)["ib0v0.8001"]
    assert LOWERED.format("ib0v0.8001") not in caplog.text
    site.kernel.let_time_pass(60.0)
    assert {"ib0v0": 2044, "ib0v0.8001": 2044} == mtus(site)
    assert is_whole(site)

    site.attach()

    assert {"ib0v0": 2044, "ib0v0.8001": 2044} == mtus(site)
    for name in mtus(site):
        assert LOWERED.format(name) in caplog.text
    site.kernel.join_delay = 0.0
    site.unprepare()
    site.end_pods()
    check_over(site)


def test_an_mtu_that_a_pod_changed_is_put_right_where_it_is_too_high(site: Site) -> None:
    """A lower one is as the kernel's: it is left, as setting it would take the carrier away."""
    site.attach()
    pod = site.kernel.processes[site.pods[site.claims[0].uid]]
    link = next(x for x in site.kernel.links_of(pod) if x.below is None)
    site.kernel.change(link, mtu=4093)
    assert not is_whole(site)
    site.attach()
    assert 2044 == mtus(site)["ib0v0"]
    site.kernel.set_mtu(link, 1500)
    assert is_whole(site)
    site.attach()
    assert 1500 == mtus(site)["ib0v0"]


def test_an_mtu_noted_before_the_port_had_joined_keeps_nothing_from_home(site: Site) -> None:
    """It cannot be had again; the group's is what the host has now."""
    home = site.kernel.init_netns
    link = next(x for x in site.kernel.links_of(home) if x.link.name == "ib0v0")
    site.kernel.change(link, mtu=4092)
    site.attach()
    site.end_pods()

    site.unprepare()

    check_over(site)
