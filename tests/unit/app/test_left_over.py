"""Home, but not as it was: what the kernel or another interface stands in the way of."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from pytest_mock import MockerFixture

from ibdra_adapters.netlink.fake_devices import FakeLink
from ibdra_domain.errors import KernelRefused
from unit.app.app_node import refusals
from unit.app.kills.checks import check_free
from unit.app.kills.kinds import OTHER_VF, PORT_1, PORT_2, VF
from unit.app.kills.site import SPARE, Kind, Site, running_site

MODES = {
    "exclusive-older": ("exclusive", False),
    "exclusive-newer": ("exclusive", True),
    "shared": ("shared", False),
}


@pytest.fixture(params=["exclusive-older", "exclusive-newer"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Give a node with a claim prepared, where a device that moves gets a new interface."""
    isolation, follows = MODES[request.param]
    kind = Kind(isolation, follows=follows, devices=(VF,), config=None)
    with running_site(tmp_path / "machine", kind) as running:
        running.create_claims()
        running.prepare()
        running.start_pods()
        yield running


def link_of(site: Site, rdma_device: str, port: int = 1) -> FakeLink:
    """Give a port's own interface, wherever it is."""
    return next(
        x
        for x in site.kernel.links.values()
        if (x.rdma, x.port, x.below) == (rdma_device, port, None)
    )


def name_taken(site: Site, name: str) -> None:
    """Let the spare HCA's interface have a name."""
    site.kernel.change(link_of(site, SPARE), name=name)


def test_a_connected_modes_mtu_keeps_no_claim(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The interface is made anew in datagram mode, to which 65520 is EINVAL: told, with the way."""
    link = link_of(site, "mlx5_0v0")
    link.link = replace(link.link, mtu=65520)
    site.attach()
    site.end_pods()

    site.unprepare()

    home = link_of(site, "mlx5_0v0").link
    assert ("ib0v0", 4092, True) == (home.name, home.mtu, home.up)
    assert [] == site.node.files()
    assert 1 == caplog.text.count(
        "interface ib0v0 is home with MTU 4092 and had 65520 before, which the kernel gives in "
        "connected mode only: `echo connected > /sys/class/net/ib0v0/mode`, then "
        "`ip link set ib0v0 mtu 65520`"
    )
    check_free(site)


def test_a_name_that_a_stranger_has_keeps_no_claim(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Another HCA's driver was reset meanwhile, and the kernel gave its interface the name."""
    site.attach()
    name_taken(site, "ib0v0")
    site.end_pods()

    site.unprepare()

    home = link_of(site, "mlx5_0v0").link
    assert ("ib1", 4092, True) == (home.name, home.mtu, home.up)
    assert "ib0v0" == link_of(site, SPARE).link.name
    assert [] == site.node.files()
    assert 1 == caplog.text.count(
        "interface ib1 is home and was ib0v0 before, which another one is now: rename that one, "
        "then `ip link set ib1 down`, `ip link set ib1 name ib0v0`, `ip link set ib0v0 up`"
    )
    check_free(site)


def test_what_is_as_it_was_is_not_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The usual way home."""
    site.attach()
    site.end_pods()
    site.unprepare()
    assert site.original == site.snapshot()
    assert "is home" not in caplog.text


def test_another_refusal_of_the_kernel_is_tried_again(site: Site, mocker: MockerFixture) -> None:
    """Only EINVAL says that the MTU is none; and what is not about the MTU stays a failure."""
    link = link_of(site, "mlx5_0v0")
    link.link = replace(link.link, mtu=2044)
    site.attach()
    site.end_pods()
    for code in (errno.EIO, errno.EINVAL):
        refused = KernelRefused("no", remedy="none", errno=code)
        mocker.patch.object(site.machine.links, "configure", side_effect=refused)
        assert [refused] == site.node.unprepare(*site.claims)
    mocker.stopall()
    site.unprepare()
    assert "ib0v0" == link_of(site, "mlx5_0v0").link.name
    assert 2044 == link_of(site, "mlx5_0v0").link.mtu


def test_a_device_that_is_not_home_keeps_its_claim(site: Site, mocker: MockerFixture) -> None:
    """Whatever the kernel says: it would be lost."""
    site.attach()
    refused = KernelRefused("no", remedy="none", errno=errno.EINVAL)
    mocker.patch.object(site.machine.rdma, "move", side_effect=refused)
    assert ["no (EINVAL): none"] == refusals(site.node.unprepare(*site.claims))
    assert [] != site.node.files()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first", [VF, OTHER_VF])
def test_who_cannot_have_his_name_takes_none_that_another_comes_home_to(
    tmp_path: Path, mode: str, first: str
) -> None:
    """Else one stranger would cost every device of the node its name, one after the other."""
    isolation, follows = MODES[mode]
    kind = Kind(isolation, follows=follows, devices=(VF, OTHER_VF), config=None)
    with running_site(tmp_path / "machine", kind) as site:
        for rdma, name in (("mlx5_0v0", "ib7"), ("mlx5_0v1", "ib1")):
            site.kernel.change(link_of(site, rdma), name=name)
        site.create_claims()
        site.prepare()
        site.start_pods()
        site.attach()
        name_taken(site, "ib7")
        claims = dict(zip(kind.devices, site.claims, strict=True))
        for device in (first, OTHER_VF if first == VF else VF):
            for pid in site._processes_beside(site.pods[claims[device].uid]):
                site.kernel.end_process(pid)
            assert [None] == site.node.unprepare(claims[device])

        assert "ib1" == link_of(site, "mlx5_0v1").link.name
        assert link_of(site, "mlx5_0v0").link.up
        assert [] == site.node.files()


@pytest.mark.parametrize("names", [("ib3", "ib2"), ("ib1", "ib2")])
def test_names_of_one_claim_that_wait_for_each_other_are_all_put_back(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    """The kernel gave each the other's; a stranger in the way of one is not in the other's."""
    kind = Kind("exclusive", follows=False, devices=(), config=None)
    with running_site(tmp_path / "machine", kind) as site:
        for port in (1, 2):
            site.kernel.change(link_of(site, "mlx4_0", port), name=f"spare{port}")
        for port, name in enumerate(names, 1):
            site.kernel.change(link_of(site, "mlx4_0", port), name=name)
        before = site.snapshot()
        site.claims = [site.node.claim(PORT_1, PORT_2)]
        site.prepare()
        site.start_pods()
        site.attach()
        site.end_pods()
        site.unprepare()
        assert before == site.snapshot()
