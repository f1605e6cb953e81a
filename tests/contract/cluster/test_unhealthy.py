"""A port that is down: the scheduler of a real cluster lets it be, unless it is tolerated."""

from __future__ import annotations

from msgspec.structs import replace

from contract.cluster.pods import on_one, request
from contract.cluster.test_scheduling import Jobs, given, jobs, simulated
from ibdra_domain.link import PortState

__all__ = ["jobs"]  # the fixture
PF_CLASS = "pf.ib.sigs.k8s.io"
NAME = "pci-0000-18-00-0-port1"


def test_a_tainted_device_is_avoided(jobs: Jobs) -> None:
    """Where the server keeps taints; where not, a selector on portState has to do."""
    hca = simulated(jobs.node, "0000:18:00.0")
    down = replace(hca.ports[0], state=PortState.DOWN)
    jobs.node.machine.change(replace(hca, ports=(down, *hca.ports[1:])))
    jobs.node.await_slices(
        lambda _: jobs.node.devices()[NAME]["attributes"]["portState"] == {"string": "Down"},
        what="the port down",
    )
    taints = jobs.node.devices()[NAME].get("taints", [])
    one = request(device_class=PF_CLASS, selectors=[on_one("0000:18:00.0")])
    if not jobs.node.container.publisher().keeps.taints:
        assert [] == taints
        running = jobs.runs("anybody", one)
        assert [NAME] == given(running)
        jobs.end(running)
        return
    (taint,) = taints
    assert ("ib.sigs.k8s.io/unhealthy", "NoSchedule") == (taint["key"], taint["effect"])
    assert taint["timeAdded"]
    assert "cannot allocate all claims" in jobs.why_pending(jobs.wants("anybody", one))
    tolerations = [{"key": taint["key"], "operator": "Exists", "effect": "NoSchedule"}]
    patient = request(
        device_class=PF_CLASS, selectors=[on_one("0000:18:00.0")], tolerations=tolerations
    )
    running = jobs.runs("patient", patient)
    assert [NAME] == given(running)
    jobs.end(running)
