"""Shared mode: partitions' interfaces that a pod made itself, on an interface that it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ibdra_domain.ports.driver import ClaimRef
from unit.app.app_node import ib_config
from unit.app.kills.checks import check_over
from unit.app.kills.kinds import PORT_1, VF
from unit.app.kills.site import Kind, Site, running_site

KIND = Kind("shared", follows=False, devices=(VF,), config=ib_config(pkey=0x8001))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Give a node in shared mode with one claim attached."""
    with running_site(tmp_path / "machine", KIND) as running:
        running.create_claims()
        running.prepare()
        running.start_pods()
        running.attach()
        yield running


def make_child(site: Site, claim: ClaimRef, name: str) -> None:
    """Make a partition's interface, as a pod with NET_ADMIN may."""
    pod = site.kernel.processes[site.pods[claim.uid]]
    parent = next(x.link for x in site.kernel.links_of(pod) if x.below is None)
    site.kernel.add_child(parent.index, name=name, pkey=0x8002, netns=pod)


@pytest.mark.parametrize("ended", [True, False], ids=["pod ended", "pod alive"])
@pytest.mark.parametrize("name", ["mine.8002", "ib2", "ib1"])
def test_a_pods_own_partitions_do_not_outlive_its_claim(
    site: Site, name: str, *, ended: bool
) -> None:
    """Else they were the host's, and no pod would get the HCA again."""
    make_child(site, site.claims[0], name)
    if ended:
        site.end_pods()

    site.unprepare()

    site.end_pods()
    check_over(site)
    (again,) = [site.node.prepared(VF)]
    site.node.attach(again, site.kernel.start_process())


def test_a_partition_on_a_sibling_that_never_left_stays(tmp_path: Path) -> None:
    """Port 2 is the host's all the while that a pod has port 1."""
    kind = Kind("shared", follows=False, devices=(PORT_1,), config=None)
    with running_site(tmp_path / "machine", kind) as site:
        site.create_claims()
        site.prepare()
        site.start_pods()
        site.attach()
        home = site.kernel.init_netns
        sibling = next(x.link for x in site.kernel.links_of(home) if x.link.name == "ib3")
        site.kernel.add_child(sibling.index, name="storage", pkey=0x8001, netns=home)
        make_child(site, site.claims[0], "mine")
        site.end_pods()

        site.unprepare()

        children = [x.link.name for x in site.kernel.links.values() if x.below is not None]
        assert ["storage"] == children


def test_a_partition_of_the_host_is_not_touched_for_a_pod_on_its_network(tmp_path: Path) -> None:
    """Nothing was moved, so nothing there is a pod's."""
    kind = Kind("shared", follows=False, devices=(VF,), config=None)
    with running_site(tmp_path / "machine", kind) as site:
        site.create_claims()
        site.prepare()
        home = site.kernel.init_netns
        site.node.attach(site.claims[0], site.kernel.start_process(home))
        parent = next(x.link for x in site.kernel.links_of(home) if x.link.name == "ib0v0")
        site.kernel.add_child(parent.index, name="storage", pkey=0x8001, netns=home)

        site.unprepare()

        assert "storage" in [x.link.name for x in site.kernel.links_of(home)]
