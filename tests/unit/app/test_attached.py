"""What is looked at before a container starts: whole, on the host's network, given nodes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ibdra_domain.errors import AttachRefused
from ibdra_domain.records import ClaimRecord
from unit.app.kills.checks import check_attached, check_over
from unit.app.kills.kinds import VF
from unit.app.kills.site import Kind, Site, running_site


@pytest.fixture(params=["exclusive", "shared"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """Give a node with one claim, prepared, that asks for nothing special."""
    kind = Kind(request.param, follows=False, devices=(VF,), config=None)
    with running_site(tmp_path / "machine", kind) as running:
        running.create_claims()
        running.prepare()
        running.start_pods()
        yield running


def record_of(site: Site) -> ClaimRecord:
    """Give the claim's record."""
    return site.node.container.ledger().all()[site.claims[0].uid]


def on_host(site: Site) -> int:
    """Start a process on the host's network."""
    return site.kernel.start_process(site.kernel.init_netns)


def test_a_claim_is_whole_only_while_all_of_it_is_there(site: Site) -> None:
    """Not before it is attached, not without its name, not after its namespace has died."""
    attaching = site.node.container.attaching()
    assert not attaching.is_whole(record_of(site))
    site.attach()
    assert attaching.is_whole(record_of(site))
    netns = site.kernel.processes[site.pods[site.claims[0].uid]]
    link = next(iter(site.kernel.links_of(netns)))
    site.kernel.change(link, name="mine")
    assert not attaching.is_whole(record_of(site))
    site.kernel.change(link, name="ib0v0", up=True)
    assert attaching.is_whole(record_of(site))
    site.end_pods()
    assert not attaching.is_whole(record_of(site))
    assert {} == site.kernel.handles


def test_a_claim_with_other_nodes_than_recorded_is_not_whole(site: Site) -> None:
    """Its device may be in place and yet have other minors, or none at all."""
    site.attach()
    attaching, record = site.node.container.attaching(), record_of(site)
    (port,) = record.prepared.ports
    (node,) = port.char_devices
    other = replace(port, char_devices=(replace(node, minor=node.minor + 1),))
    changed = replace(record, prepared=replace(record.prepared, ports=(other,)))
    assert not attaching.is_whole(changed)
    site.machine.pull_out("mlx5_0v0")
    assert not attaching.is_whole(record)


def test_a_container_on_the_hosts_network_is_written_down(site: Site) -> None:
    """Nothing moves, but the record says that the device may be in use; once is enough."""
    claim = site.claims[0]
    assert not record_of(site).on_host_network
    site.node.attach(claim, on_host(site))
    written = record_of(site)
    assert written.on_host_network
    assert written.attachment is None
    site.node.attach(claim, on_host(site))
    assert written == record_of(site)
    site.api.delete("ResourceClaim", claim.namespace, claim.name)
    assert () == site.node.container.recovery().forget_orphans()
    site.unprepare()
    check_over(site)


def test_a_pod_on_the_hosts_network_does_not_get_what_another_holds(site: Site) -> None:
    """The holder is named; after its end the device is home before the container starts."""
    site.kernel.return_delay = 0.1
    site.attach()
    with pytest.raises(AttachRefused, match="is attached to pod jobs/trainer"):
        site.node.attach(site.claims[0], on_host(site))
    assert not record_of(site).on_host_network

    site.end_pods()
    site.node.attach(site.claims[0], on_host(site))

    assert site.original == site.snapshot()
    assert record_of(site).on_host_network
    assert record_of(site).attachment is None


def test_a_container_with_an_older_specs_nodes_is_refused_and_the_pod_keeps_its_own(
    site: Site,
) -> None:
    """The runtime read the spec before it was corrected; its next try reads it anew."""
    site.attach()
    claim = site.claims[0]
    netns = site.kernel.processes[site.pods[claim.uid]]
    before = site.snapshot()
    with pytest.raises(AttachRefused, match=r"container late was given the device nodes 231:1 of"):
        site.node.attach(claim, site.kernel.start_process(netns), nodes="231:1", container="late")
    assert before == site.snapshot()
    assert {} == site.marks()  # what a container was refused, no helper lets start
    site.node.attach(claim, site.kernel.start_process(netns), nodes=site.told_nodes(claim))
    check_attached(site)


@pytest.mark.parametrize("nodes", ["", "right"])
def test_a_runtime_that_tells_no_nodes_or_the_right_ones_is_believed(
    site: Site, nodes: str
) -> None:
    """A hook of an older spec has no numbers among its arguments."""
    claim = site.claims[0]
    told = site.told_nodes(claim) if nodes else ""
    site.node.attach(claim, site.kernel.start_process(), nodes=told)
    assert record_of(site).attachment is not None


def test_nodes_are_compared_on_the_hosts_network_too(site: Site) -> None:
    """Also where nothing moves, numbers may be older than the machine's."""
    with pytest.raises(AttachRefused, match="was given the device nodes 231:1"):
        site.node.attach(site.claims[0], on_host(site), nodes="231:1")
    assert not record_of(site).on_host_network


def test_marks_that_cannot_be_put_keep_no_container_from_starting(site: Site) -> None:
    """They serve restarts while the driver is down, nothing else."""
    site.fake_marks.broken = True
    site.node.attach(site.claims[0], site.kernel.start_process())
    assert record_of(site).attachment is not None
