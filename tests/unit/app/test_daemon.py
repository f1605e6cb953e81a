"""The node agent's life: what is served when, what it sees by itself, what it leaves."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ibdra_adapters.kubelet import FakeKubelet
from ibdra_app.container import wired
from ibdra_app.daemon import Daemon
from ibdra_app.settings import Settings
from ibdra_domain.container_edits import node_numbers
from ibdra_domain.errors import KernelRefused, KubeletFailed
from ibdra_domain.hardware import IsolationDemand, RdmaIsolation
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.vf_wishes import PfOverride
from unit.app.app_node import NODE, VF, Node, ib_config, running_node

SECONDS = 60.0


@pytest.fixture
def node() -> Iterator[Node]:
    """Start a node in a folder whose path leaves room for sockets' names."""
    with TemporaryDirectory(prefix="ib") as folder, running_node(Path(folder)) as running:
        yield running


async def eventually(look: Callable[[], bool]) -> None:
    """Wait until a look is true; the test's own time limit ends it otherwise."""
    async with asyncio.timeout(SECONDS):
        while not look():  # noqa: ASYNC110 -- what is looked at has no event of its own
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(daemon: Daemon) -> AsyncIterator[asyncio.Event]:
    """Run a daemon until the block ends; give what stops it."""
    stop = asyncio.Event()
    task = asyncio.create_task(daemon.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(SECONDS):
            await task


async def ask_hook(node: Node, claim: ClaimRef, pid: int) -> dict[str, object]:
    """Ask what the program on the host asks, at the daemon's socket."""
    record = node.container.ledger().get(claim.uid)
    nodes = node_numbers(record.prepared) if record else "-"
    reader, writer = await asyncio.open_unix_connection(str(node.folder / "run/hook.sock"))
    state = {"ociVersion": "1.2.0", "id": "ctr0", "status": "creating", "pid": pid}
    document = {"version": 1, "claim": claim.uid, "nodes": nodes, "state": state}
    writer.write(json.dumps(document).encode())
    writer.write_eof()
    answer: dict[str, object] = json.loads(await reader.read())
    writer.close()
    return answer


async def test_a_claims_whole_way_over_the_sockets(node: Node) -> None:
    """Prepared by the kubelet, attached by the hook, unprepared; and nothing is left."""
    before = node.snapshot()
    daemon = node.container.daemon()
    claim, pid = node.claim(VF, config=ib_config(mtu=2048)), node.kernel.start_process()
    async with running(daemon), FakeKubelet(node.folder / "kubelet") as kubelet:
        await daemon.ready.wait()
        await kubelet.register()
        answers = await kubelet.prepare([claim])
        assert not isinstance(answers[claim.uid], str)
        assert {"version": 1, "attached": True} == await ask_hook(node, claim, pid)
        assert {"ib0v0": (2044, True)} == node.interfaces(pid)
        assert (claim.uid,) == node.container.marks().claims()
        node.kernel.end_process(pid)
        assert {claim.uid: None} == await kubelet.unprepare([claim])
    assert before == node.snapshot()
    assert [] == node.files()
    assert () == node.container.marks().claims()
    assert not (node.folder / "run/hook.sock").exists()
    assert [] == [p for p in (node.folder / "kubelet").rglob("*") if p.is_socket()]


async def test_a_dead_pods_device_comes_home_by_itself(node: Node) -> None:
    """Nobody calls: the kernel's events say so, and the device is as it was."""
    before = node.snapshot()
    daemon = node.container.daemon()
    claim, pid = node.prepared(VF, config=ib_config(mtu=2048)), node.kernel.start_process()
    async with running(daemon):
        await daemon.ready.wait()
        assert (await ask_hook(node, claim, pid))["attached"] is True
        node.kernel.end_process(pid)

        def attached() -> bool:
            record = node.container.ledger().get(claim.uid)
            assert record is not None
            return record.attachment is not None

        await eventually(lambda: not attached())
        assert before == node.snapshot()


async def test_what_changes_is_published(node: Node) -> None:
    """A device that is gone leaves the slices, without anybody asking."""
    daemon = node.container.daemon()
    async with running(daemon):
        await daemon.ready.wait()

        def published() -> set[str]:
            return {
                d.name for s in node.container.kube().slices.list() for d in s.spec.devices or ()
            }

        await eventually(lambda: VF in published())
        node.kernel.remove_device("mlx5_0v0")
        await eventually(lambda: VF not in published())


async def test_it_says_once_what_kind_of_machine_it_is_on(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, not at every look."""
    caplog.set_level("INFO")
    async with running(node.container.daemon()):
        await eventually(lambda: node.container.publishing().published)
        node.container.publishing().look()
    assert 1 == caplog.text.count("this machine: bare metal")


async def test_a_refusal_reaches_the_runtime_with_its_reason(node: Node) -> None:
    """A claim that was never prepared does not start a container."""
    daemon = node.container.daemon()
    async with running(daemon):
        await daemon.ready.wait()
        unknown = ClaimRef(namespace="jobs", name="x", uid="no-such-uid")
        answer = await ask_hook(node, unknown, node.kernel.start_process())
    assert answer["attached"] is False
    assert "claim no-such-uid is not prepared on this node" in str(answer["reason"])
    assert 1 == node.container.counts().all()["attach", "AttachRefused"]


async def test_vfs_are_made_before_the_kubelet_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The first slices have them; a PF that has another number of VFs is left, and said so."""
    with TemporaryDirectory(prefix="ib") as folder:
        base = Path(folder)
        settings = Settings(
            node=NODE,
            simulate="dgx-h100",
            kubelet_folder=base / "kubelet",
            cdi_folder=base / "cdi",
            state_folder=base / "state",
            run_folder=base / "run",
            pf_vfs=(PfOverride("mlx5_0", 5), PfOverride("mlx5_4", 3)),
        )
        with wired(settings) as container:
            machine = container.machine()
            pf = next(h for h in machine.hcas.values() if h.name == "mlx5_4")
            machine.sriov.set_num_vfs(pf.pci, 0)
            daemon = container.daemon()
            async with running(daemon):
                await daemon.ready.wait()
                slices = container.kube().slices
                await eventually(lambda: bool(slices.list()))
                published = [d for s in slices.list() for d in s.spec.devices or ()]
    parents = [
        d.attributes["parentDevice"].string for d in published if "parentDevice" in d.attributes
    ]
    assert 3 == parents.count("mlx5_4")
    assert "VFs of 0000:18:00.0 (mlx5_0): refused" in caplog.text


async def test_until_it_isolates_as_demanded_nothing_is_served(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not ready while the kernel refuses the mode, ready when it does not any more."""
    monkeypatch.setattr("ibdra_app.daemon.ASK_AGAIN", 0.02)
    node.kernel.isolation = RdmaIsolation.SHARED
    pid = node.kernel.start_process()  # a second namespace: the mode cannot be switched
    daemon = node.container.daemon(demand=IsolationDemand.EXCLUSIVE)
    async with running(daemon), FakeKubelet(node.folder / "kubelet") as kubelet:
        await eventually(lambda: "not ready" in caplog.text)
        assert not daemon.ready.is_set()
        assert () == await kubelet.register()
        assert not (node.folder / "run/hook.sock").exists()
        assert "options ib_core netns_mode=0" in caplog.text
        node.kernel.end_process(pid)
        await daemon.ready.wait()
        assert RdmaIsolation.EXCLUSIVE is node.kernel.isolation
        assert 1 == len(await kubelet.register())


async def test_a_node_without_rdma_is_served_all_the_same(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no mode to ask for, there is an empty or old slice, and a driver that answers."""

    def refuse() -> RdmaIsolation:
        raise KernelRefused("no ib_core", remedy="load it", errno=errno.EPROTONOSUPPORT)

    daemon = node.container.daemon()
    monkeypatch.setattr(node.container.kernel().rdma, "isolation", refuse)
    async with running(daemon):
        await daemon.ready.wait()


async def test_a_socket_that_cannot_be_served_ends_it_with_nothing_left(node: Node) -> None:
    """The error is raised, and what was started before is stopped."""
    (node.folder / "kubelet").mkdir()
    (node.folder / "kubelet/plugins").write_text("a file where a folder should be")
    with pytest.raises(KubeletFailed):
        await node.container.daemon().run(asyncio.Event())
    assert not (node.folder / "run/hook.sock").exists()


async def test_a_stop_before_the_start_is_over_is_a_stop(node: Node) -> None:
    """SIGTERM may come at any time."""
    stop = asyncio.Event()
    stop.set()
    daemon = node.container.daemon()
    async with asyncio.timeout(SECONDS):
        await daemon.run(stop)
    assert not daemon.ready.is_set()
