"""The driver's end on a real kernel: killed with devices in pods, then cleaned up.

Why: an uninstall meets the worst node, one whose daemon died at work.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.virtual_node import inside
from contract.virtual_node.agent import Node, a_pod, seen_by
from contract.virtual_node.guests import HOOK
from ibdra_adapters.hook.install import install_hook
from ibdra_domain.ports.driver import ClaimRef
from unit.cli.cli_runs import run

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
CLAIMS = (
    ClaimRef(namespace="jobs", name="one", uid="0f6b2c7e-1f4e-4f0e-9f57-3a0c7b0c9e11"),
    ClaimRef(namespace="jobs", name="two", uid="0f6b2c7e-1f4e-4f0e-9f57-3a0c7b0c9e22"),
)


@pytest.fixture(name="vfs")
def _vfs() -> Iterator[list[Path]]:
    """Give the first HCA two VFs in the partition, their interfaces up."""
    with inside.virtual(inside.physical_functions()[0], 2) as found:
        for vf in found:
            inside.write(vf / "stub_pkeys", "0xffff 0x8001")
            inside.run(f"ip link set {inside.parent_netdev(vf)} up")
        yield found


def devices(vfs: list[Path]) -> list[tuple[str, str, str, bool, str]]:
    """Tell how the VFs are on the host, by their RDMA device and interface."""
    links = {x["ifname"]: x for x in json.loads(inside.run("ip -j link"))}
    found = []
    for vf in vfs:
        device, netdev = inside.rdma_device(vf), inside.parent_netdev(vf)
        assert device in inside.rdma_devices()
        tc = inside.read(inside.RDMA / device / "tc/1/traffic_class")
        link = links[netdev]
        found.append((device, netdev, str(link["mtu"]), "UP" in link["flags"], tc))
    return found


def left(folder: Path) -> list[str]:
    """List what lies in the driver's folders, and they themselves; the kubelet's stay."""
    own = ("run", "state", "cdi", "kubelet", "ibdra")
    found = [p for name in own if (folder / name).exists() for p in (folder / name).rglob("*")]
    own_folders = [folder / name for name in ("run", "state", "ibdra")]
    stay = {folder / "kubelet/plugins", folder / "kubelet/plugins_registry"}
    return sorted(str(p) for p in {*found, *own_folders} - stay if p.exists())


def test_a_killed_daemons_node_is_as_it_was(tmp_path: Path, vfs: list[Path]) -> None:
    """Two pods have a VF each: refused by name, then forced, then nothing of it is left."""
    hook = install_hook(HOOK, folder=tmp_path / "ibdra/bin").link
    node = Node(tmp_path, dict(zip(CLAIMS, vfs, strict=True)), hook=hook)
    before = devices(vfs)
    names = sorted(inside.links())
    node.start()
    with a_pod() as first, a_pod() as second:
        try:
            prepared = node.kubelet("prepare", *CLAIMS)
            assert [] == [p for p in prepared if isinstance(p, str)], node.log()
            for claim, pod in zip(CLAIMS, (first, second), strict=True):
                done = node.attach(claim, pod)
                assert (0, "") == (done.returncode, done.stderr), node.log()
            running = run("cleanup", *node.places(), "--force")
            assert 2 == running.code
            assert "the driver's daemon runs on this node: stop it first" in running.err
        finally:
            node.end(signal.SIGKILL)
        there = left(tmp_path)
        dry = run("cleanup", *node.places(), "--dry-run")
        refused = run("cleanup", *node.places())
        assert (1, 1, there) == (dry.code, refused.code, left(tmp_path))
        for claim, pod in zip(CLAIMS, (first, second), strict=True):
            assert f"claim {claim} is in use: process {pod} in net:[" in refused.out
            assert f"and end claim {claim}" in dry.out
        assert all(len(seen_by(pod)[1]) == 2 for pod in (first, second))

        forced = run("cleanup", *node.places(), "--force")
        assert 0 == forced.code, forced.out
        assert (before, []) == (devices(vfs), left(tmp_path)), forced.out
        assert names == sorted(inside.links())  # no pkey child either
        assert [{}, {}] == [seen_by(pod)[1] for pod in (first, second)]
        again = run("cleanup", *node.places())
        assert (0, "nothing of the driver is left; VFs stay as they are\n") == (
            again.code,
            again.out,
        )
        assert [] == left(tmp_path)
