"""The whole node agent on a real kernel: ``ibdra run``, its hook program, a kubelet's calls.

Why: everything else here tests parts in one process.  This is the daemon as it is shipped,
killed as the kernel kills.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.virtual_node import inside
from contract.virtual_node.guests import HOOK
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import ClaimRef

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
PROGRAM = Path(sys.executable).with_name("ibdra")
UID = "0f6b2c7e-1f4e-4f0e-9f57-3a0c7b0c9e11"
CLAIM = ClaimRef(namespace="jobs", name="fabric", uid=UID)
PKEY, MTU = 0x8001, 2048
_SECONDS = 120.0


class Node:
    """The daemon's folders, its process, and what a kubelet and a runtime do with it."""

    def __init__(self, folder: Path, vf: Path) -> None:
        self.folder = folder
        self.vf = vf
        self._daemon: subprocess.Popen[bytes] | None = None
        config = {
            "apiVersion": "ib.resource.sigs.k8s.io/v1alpha1",
            "kind": "IbConfig",
            "pkey": PKEY,
            "mtu": MTU,
            "trafficClass": 128,
        }
        driver = "ib.sigs.k8s.io"
        device = f"pci-{vf.name.replace(':', '-').replace('.', '-')}-port1"
        result = {"request": "hca", "driver": driver, "pool": "node-a", "device": device}
        opaque = {"driver": driver, "parameters": config}
        devices = {
            "results": [result],
            "config": [{"source": "FromClaim", "requests": ["hca"], "opaque": opaque}],
        }
        claim = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"namespace": CLAIM.namespace, "name": CLAIM.name, "uid": CLAIM.uid},
            "spec": {},
            "status": {"allocation": {"devices": devices}},
        }
        path = folder / "claims" / CLAIM.namespace / f"{CLAIM.name}.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(claim))

    def start(self) -> None:
        """Start the daemon."""
        options = {
            "--node": "node-a",
            "--kube": "memory",
            "--claims": self.folder / "claims",
            "--kubelet-dir": self.folder / "kubelet",
            "--cdi-dir": self.folder / "cdi",
            "--state-dir": self.folder / "state",
            "--run-dir": self.folder / "run",
            "--hook": HOOK,
        }
        words = [str(word) for pair in options.items() for word in pair]
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen([str(PROGRAM), "run", *words], stderr=log)

    def end(self, number: int) -> int:
        """Send the daemon a signal, and wait for its end."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return 0
        daemon.send_signal(number)
        return daemon.wait(_SECONDS)

    def kubelet(self, what: str) -> Any:
        """Register as a kubelet does, and have the claim prepared or unprepared."""

        async def call() -> Any:
            async with FakeKubelet(self.folder / "kubelet") as kubelet:
                until = time.monotonic() + _SECONDS
                while not kubelet.plugins and time.monotonic() < until:
                    with contextlib.suppress(KubeletFailed):
                        await kubelet.register()
                    await asyncio.sleep(0.5)  # registering costs an emulated processor dearly
                assert kubelet.plugins, self.log()
                return (await getattr(kubelet, what)([CLAIM]))[CLAIM.uid]

        return asyncio.run(call())

    def spec(self) -> dict[str, Any]:
        """Read the claim's CDI spec, as a runtime does."""
        (path,) = (self.folder / "cdi").glob("*.json")
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def hook(self, pid: int) -> subprocess.CompletedProcess[str]:
        """Run the spec's hook for a container."""
        (hook,) = self.spec()["containerEdits"]["hooks"]
        state = {"ociVersion": "1.2.0", "id": "ctr0", "status": "creating", "pid": pid}
        return subprocess.run(
            [hook["path"], *hook["args"][1:]],
            input=json.dumps(state),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )

    def published(self) -> int:
        """Tell how many devices the daemon published last."""
        return int(re.findall(r"(\d+) devices published", self.log())[-1])

    def log(self) -> str:
        """Give what the daemon said."""
        return (self.folder / "daemon.log").read_text()


@contextlib.contextmanager
def a_pod() -> Iterator[int]:
    """Run a process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    comm = Path(f"/proc/{process.pid}/comm")
    inside.eventually(lambda: comm.read_text() == "sleep\n")
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def seen_by(pid: int) -> tuple[str, dict[str, Any]]:
    """Give the RDMA devices and the IPoIB interfaces of a process' namespace."""
    enter = ["nsenter", "--net", f"--target={pid}"]
    rdma = subprocess.check_output([*enter, "rdma", "dev"], text=True)
    links = json.loads(subprocess.check_output([*enter, "ip", "-j", "link"], text=True))
    return rdma, {x["ifname"]: x for x in links if x["link_type"] == "infiniband"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give the first HCA a VF in the partition, and run the daemon beside it."""
    function = inside.physical_functions()[0]
    with inside.virtual(function, 1) as (vf,):
        inside.write(vf / "stub_pkeys", "0xffff 0x8001")
        inside.run(f"ip link set {inside.parent_netdev(vf)} up")
        made = Node(tmp_path, vf)
        made.start()
        try:
            yield made
        finally:
            made.end(signal.SIGKILL)


def test_a_claims_way_through_the_death_of_the_daemon(node: Node) -> None:
    """Prepared, attached, killed, restarted, taken back; and the container restarts meanwhile."""
    netdev, device = inside.parent_netdev(node.vf), inside.rdma_device(node.vf)
    tc = inside.RDMA / device / "tc/1/traffic_class"
    before = (inside.read(Path("/sys/class/net", netdev, "mtu")), inside.read(tc))
    prepared = node.kubelet("prepare")
    assert not isinstance(prepared, str), prepared + node.log()
    with a_pod() as pod:
        done = node.hook(pod)
        if "device nodes" in done.stderr:  # the runtime tries again, and reads the spec anew
            done = node.hook(pod)
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
        again = node.hook(pod)
        assert (0, "") == (again.returncode, again.stderr)
        # A container of another pod does not, and says why.
        with a_pod() as stranger:
            refused = node.hook(stranger)
        assert 1 == refused.returncode
        assert "the ibdra daemon does not answer" in refused.stderr
        node.start()
        assert not isinstance(node.kubelet("prepare"), str)  # from the record, unchanged
        with a_pod() as stranger:
            refused = node.hook(stranger)
        assert 1 == refused.returncode
        assert "is attached to process" in refused.stderr
    # The pod ends; whether kubelet or watcher is first to see it, the device comes home.
    assert node.kubelet("unprepare") is None, node.log()
    assert device == inside.rdma_device(node.vf)
    assert netdev == inside.parent_netdev(node.vf)
    assert before == (inside.read(Path("/sys/class/net", netdev, "mtu")), inside.read(tc))
    assert [] == [p for f in ("cdi", "state") for p in (node.folder / f).iterdir()]
    assert [] == list((node.folder / "run/attached").iterdir())
    # A VF that comes is published, and one that goes is not any more.
    with inside.virtual(inside.physical_functions()[1], 1):
        inside.eventually(lambda: node.published() == 4)
    inside.eventually(lambda: node.published() == 3)
    assert 0 == node.end(signal.SIGTERM)
    assert [] == [p for f in ("kubelet", "run") for p in (node.folder / f).rglob("*.sock")]
