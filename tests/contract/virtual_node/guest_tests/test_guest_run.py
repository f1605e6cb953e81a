"""The whole node agent on a real kernel: ``ibdra run``, its hook program, a kubelet's calls.

Why: everything else here tests parts in one process.  This is the daemon as it is shipped,
killed as the kernel kills.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.virtual_node import inside
from contract.virtual_node.agent import MTU, PKEY, Node, a_pod, seen_by
from ibdra_domain.ports.driver import ClaimRef

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
UID = "0f6b2c7e-1f4e-4f0e-9f57-3a0c7b0c9e11"
CLAIM = ClaimRef(namespace="jobs", name="fabric", uid=UID)


@pytest.fixture(name="vf")
def _vf() -> Iterator[Path]:
    """Give the first HCA a VF in the partition."""
    with inside.virtual(inside.physical_functions()[0], 1) as (vf,):
        inside.write(vf / "stub_pkeys", "0xffff 0x8001")
        inside.run(f"ip link set {inside.parent_netdev(vf)} up")
        yield vf


@pytest.fixture(name="node")
def _node(tmp_path: Path, vf: Path) -> Iterator[Node]:
    """Run the daemon beside it."""
    made = Node(tmp_path, {CLAIM: vf})
    made.start()
    try:
        yield made
    finally:
        made.end(signal.SIGKILL)


def test_a_claims_way_through_the_death_of_the_daemon(node: Node, vf: Path) -> None:
    """Prepared, attached, killed, restarted, taken back; and the container restarts meanwhile."""
    netdev, device = inside.parent_netdev(vf), inside.rdma_device(vf)
    tc = inside.RDMA / device / "tc/1/traffic_class"
    before = (inside.read(Path("/sys/class/net", netdev, "mtu")), inside.read(tc))
    (prepared,) = node.kubelet("prepare", CLAIM)
    assert not isinstance(prepared, str), prepared + node.log()
    with a_pod() as pod:
        done = node.attach(CLAIM, pod)
        assert (0, "") == (done.returncode, done.stderr), node.log()
        rdma, links = seen_by(pod)
        child = f"{netdev}.{PKEY:04x}"
        assert {netdev: (MTU - 4, True), child: (MTU - 4, True)} == {
            name: (link["mtu"], "UP" in link["flags"]) for name, link in links.items()
        }
        if inside.MODE == "exclusive":
            assert 1 == rdma.count("node_guid")
            assert f": {device}: " in rdma
            assert device not in inside.rdma_devices()
        # The daemon dies.  A restarted container of the pod starts all the same.
        assert -signal.SIGKILL == node.end(signal.SIGKILL)
        again = node.hook(CLAIM, pod)
        assert (0, "") == (again.returncode, again.stderr)
        # A container of another pod does not, and says why.
        with a_pod() as stranger:
            refused = node.hook(CLAIM, stranger)
        assert 1 == refused.returncode
        assert "the ibdra daemon does not answer" in refused.stderr
        node.start()
        (prepared,) = node.kubelet("prepare", CLAIM)
        assert not isinstance(prepared, str)  # from the record, unchanged
        with a_pod() as stranger:
            refused = node.hook(CLAIM, stranger)
        assert 1 == refused.returncode
        assert "is attached to process" in refused.stderr
    # The pod ends; whether kubelet or watcher is first to see it, the device comes home.
    assert [None] == node.kubelet("unprepare", CLAIM), node.log()
    assert device == inside.rdma_device(vf)
    assert netdev == inside.parent_netdev(vf)
    assert before == (inside.read(Path("/sys/class/net", netdev, "mtu")), inside.read(tc))
    assert [] == [p for f in ("cdi", "state") for p in (node.folder / f).iterdir()]
    assert [] == list((node.folder / "run/attached").iterdir())
    # A VF that comes is published, and one that goes is not any more.
    with inside.virtual(inside.physical_functions()[1], 1):
        inside.eventually(lambda: node.published() == 4)
    inside.eventually(lambda: node.published() == 3)
    assert 0 == node.end(signal.SIGTERM)
    assert [] == [p for f in ("kubelet", "run") for p in (node.folder / f).rglob("*.sock")]
