"""The driver's end on a simulated node: devices home, nothing left, and nothing lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from msgspec.structs import replace

from ibdra_adapters.host.fake import FakeLeftovers
from ibdra_adapters.kube.fake import FakeSlices
from ibdra_adapters.state.instances import FileArrivals
from ibdra_app.cleaning import Cleaning
from ibdra_domain.errors import CleanupRefused, KernelRefused, KubeNotFound, KubeUnavailable
from ibdra_domain.ports.netlink import Netns
from ibdra_domain.publication import DRIVER_NAME
from unit.app.app_node import NODE, OTHER_VF, VF, Node, ib_config, running_node
from unit.app.kills.blade import Blade, Killed, Moment, Step, Watched

FOLDERS = ("run", "state", "hook")


@pytest.fixture(name="node")
def _node(tmp_path: Path) -> Iterator[Node]:
    with running_node(tmp_path) as running:
        yield running


def installed(node: Node) -> None:
    """Put what an installation leaves: the hook's program, sockets, and others' files."""
    for name in (
        "hook/ibdra/bin/ibdra-hook-0123456789ab",
        f"kubelet/plugins_registry/{DRIVER_NAME}-uid-reg.sock",
        "kubelet/plugins_registry/gpu.example.com-reg.sock",
        f"kubelet/plugins/{DRIVER_NAME}/dra.sock",
        f"cdi/.{DRIVER_NAME}_x.json.7.tmp",
        "cdi/gpu.example.com_1.json",
        "run/hook.sock",
        "run/instances/00000000000000000001-00000000",
        "run/arriving/00000000000000000001-00000000",
    ):
        path = node.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (node.folder / "hook/ibdra/bin/ibdra-hook").symlink_to("ibdra-hook-0123456789ab")


def everything(node: Node) -> list[str]:
    """List all files, and the driver's own folders."""
    own = [node.folder / name for name in ("run", "state", "hook/ibdra")]
    files = [p for p in node.folder.rglob("*") if not p.is_dir() or p in own]
    return sorted(str(p.relative_to(node.folder)) for p in files)


THEIRS = ["cdi/gpu.example.com_1.json", "kubelet/plugins_registry/gpu.example.com-reg.sock"]


def cleaning(node: Node) -> Cleaning:
    """Give the use case, of a process that has just started."""
    fresh = node.restarted().container
    fresh.settings.override(node.container.settings())
    made: Cleaning = fresh.cleaning()
    return made


def test_an_installed_node_is_left_as_if_it_never_was(node: Node) -> None:
    """Dead pods' devices come home, claims are forgotten, and others' files stay."""
    installed(node)
    before = node.snapshot()
    claim, waiting = node.prepared(VF, config=ib_config(pkey=0x8001)), node.prepared(OTHER_VF)
    pid = node.kernel.start_process()
    node.attach(claim, pid)
    node.kernel.end_process(pid)
    (node.folder / f"cdi/{DRIVER_NAME}_orphan.json").write_text("{}")
    report = cleaning(node).clean()
    assert () == report.left
    assert {f"ended claim {c}" for c in (claim, waiting)} <= set(report.done)
    assert (before, THEIRS) == (node.snapshot(), everything(node))
    assert () == cleaning(node).plan().steps()
    assert () == cleaning(node).clean().done
    assert THEIRS == everything(node)


def test_a_living_pod_is_in_the_way_by_name(node: Node) -> None:
    """Nothing at all is done then; with force its devices are taken."""
    installed(node)
    before = node.snapshot()
    claim = node.prepared(VF)
    pid = node.kernel.start_process()
    node.attach(claim, pid, pod="jobs/train-0")
    files, moved = everything(node), node.snapshot()
    (left,) = cleaning(node).clean().left
    assert f"claim {claim} is in use: pod jobs/train-0 (process {pid}" in left.what
    assert "--force" in left.why
    assert (moved, files) == (node.snapshot(), sorted(everything(node)))
    plan = cleaning(node).plan()
    assert 1 == len(plan.in_the_way(force=False))
    assert files == everything(node)
    assert cleaning(node).clean(force=True).complete
    assert (before, THEIRS) == (node.snapshot(), everything(node))


def test_a_device_that_does_not_come_home_keeps_its_record(node: Node) -> None:
    """The other claim ends; what the one that is left needs stays, and the next run ends it."""
    installed(node)
    before = node.snapshot()
    stuck, free = node.prepared(VF), node.prepared(OTHER_VF)
    pid = node.kernel.start_process()
    for claim in (stuck, free):
        node.attach(claim, pid)
    use_case = cleaning(node)
    move = node.container.machine().rdma.move
    refusal = KernelRefused("it is stuck", remedy="loosen it", errno=16)

    def but_one(name: str, **where: Netns) -> None:
        if name == "mlx5_0v0":
            raise refusal
        move(name, **where)

    with mock.patch.object(node.container.machine().rdma, "move", but_one):
        report = use_case.clean(force=True)
    assert [f"claim {stuck}", "the attach hook, the run folder and the state folder"] == [
        left.what for left in report.left
    ]
    assert [f"cdi/{DRIVER_NAME}_{stuck.uid}.json", f"state/{stuck.uid}.json"] == [
        f for f in node.files() if "gpu" not in f and ".tmp" not in f
    ]
    assert (node.folder / "hook/ibdra/bin/ibdra-hook").is_symlink()
    assert cleaning(node).clean(force=True).complete
    assert (before, THEIRS) == (node.snapshot(), everything(node))


def test_a_running_daemon_is_refused(node: Node) -> None:
    """Found by the instance that has entered; force does not help, and nothing is done."""
    claim = node.prepared(VF)
    running = node.container.succession()
    running.enter()
    for call in (cleaning(node).plan, cleaning(node).clean):
        with pytest.raises(CleanupRefused, match="daemon runs on this node"):
            call()
    with pytest.raises(CleanupRefused):
        cleaning(node).clean(force=True)
    assert 2 == len(node.files())
    running.leave()
    assert f"ended claim {claim}" in cleaning(node).clean().done


def test_a_hook_that_answers_is_a_running_daemon(node: Node) -> None:
    """Its socket is served before an instance has entered, and after."""
    fresh = node.restarted().container
    with pytest.raises(CleanupRefused):
        fresh.cleaning(answers=lambda: True).clean()


def test_records_that_cannot_be_read_are_kept_but_by_force(node: Node) -> None:
    """One set aside before and one that is bad now; neither is dropped unasked."""
    claim = node.prepared(VF)
    record = node.folder / f"state/{claim.uid}.json"
    record.write_bytes(record.read_bytes()[:-20])
    (node.folder / "state/old.corrupt").write_text("?")
    before = everything(node)
    report = cleaning(node).clean()
    assert 2 == len(report.left)
    assert before == everything(node)
    assert cleaning(node).clean(force=True).complete
    assert [] == everything(node)


@pytest.mark.parametrize("name", ["my_backup", "a.b", "0f6b (copy)"])
def test_what_is_no_record_at_all_goes_by_force(node: Node, name: str) -> None:
    """Somebody's copy in the folder of records: in the way by its name, then removed."""
    path = node.folder / f"state/{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    assert name in cleaning(node).clean().left[0].what
    assert path.exists()
    assert cleaning(node).clean(force=True).complete
    assert [] == everything(node)


def test_a_wrong_nodes_name_is_told(node: Node) -> None:
    """A node that the cluster does not know has no slices, and the true one's would stay."""

    def check() -> None:
        raise KubeNotFound("the cluster has no node x", remedy="give --node")

    fresh = node.restarted().container
    use_case: Cleaning = fresh.cleaning(slices=FakeSlices(node.api, driver=DRIVER_NAME, node="x"),
                                        check_node=check)  # fmt: skip
    report = use_case.clean()
    assert ["the cluster has no node x: give --node"] == [left.why for left in report.left]
    assert not report.complete


def test_after_a_reboot_records_are_history(node: Node) -> None:
    """Devices are home, whatever stands in the records, and no pod is in the way."""
    claim = node.prepared(VF)
    node.attach(claim, pid := node.kernel.start_process())
    record = node.container.ledger().get(claim.uid)
    assert record is not None
    node.kernel.end_process(pid)
    node.container.ledger().put(replace(record, boot_id="another"))
    moved = node.snapshot()
    assert () == cleaning(node).plan().in_the_way(force=False)
    assert cleaning(node).clean().complete
    assert moved == node.snapshot()


def test_slices_go_first_and_their_failure_holds_up_nothing(node: Node) -> None:
    """They are this node's only; an API server that is away is told as left."""
    node.container.publishing().look()
    slices = FakeSlices(node.api, driver=DRIVER_NAME, node=NODE)
    publishing = node.container.publishing()
    publishing.write(publishing.look())
    assert slices.list()
    node.prepared(VF)
    fresh = node.restarted().container
    use_case = fresh.cleaning(slices=slices)
    assert use_case.plan().steps()[0].startswith("delete ResourceSlice")
    node.api.fail_next = 1
    report = use_case.clean()
    assert ["ResourceSlices of this node"] == [left.what for left in report.left]
    assert [] == [f for f in everything(node) if f.startswith("state")]
    report = use_case.clean()
    assert report.complete
    assert report.done[0].startswith("deleted ResourceSlice")
    assert () == slices.list()
    node.api.fail_next = 1
    with pytest.raises(KubeUnavailable):
        use_case.plan()


def test_a_file_that_is_stuck_is_told(node: Node) -> None:
    """The rest goes."""
    leftovers = FakeLeftovers(["/a", "/b"])
    leftovers.stuck.add("/a")
    report = node.restarted().container.cleaning(leftovers=leftovers).clean()
    assert ["/a"] == [left.what for left in report.left]
    assert ["/a"] == leftovers.paths


@contextmanager
def a_fresh_node(folder: Path) -> Iterator[Node]:
    """Start a node in a folder of its own, and remove that."""
    folder.mkdir()
    with running_node(folder) as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def test_a_cleanup_killed_anywhere_is_finished_by_the_next(tmp_path: Path) -> None:
    """At every call it makes that changes something, before and after."""

    def run(folder: Path, step: Step | None) -> list[str]:
        with a_fresh_node(folder) as node:
            before = node.snapshot()
            claims = [node.prepared(VF), node.prepared(OTHER_VF)]
            pid = node.kernel.start_process()
            for claim in claims:
                node.attach(claim, pid)
            blade = Blade()
            fresh = node.restarted().container
            for name in ("cdi", "marks"):
                real = getattr(fresh, name)()
                getattr(fresh, name).override(Watched(name, real, blade))
            leftovers = Watched("leftovers", fresh.cleaning.kwargs["leftovers"](), blade)
            ledger = fresh.ledger()
            ledger._store = Watched("state", ledger._store, blade)
            kernel = fresh.kernel()
            fresh.kernel.override(
                kernel._replace(
                    rdma=Watched("rdma", kernel.rdma, blade),
                    links=Watched("links", kernel.links, blade),
                )
            )
            use_case = fresh.cleaning(leftovers=leftovers)
            blade.arm(step)
            if step is None:
                assert use_case.clean(force=True).complete
            else:
                with pytest.raises(Killed):
                    use_case.clean(force=True)
                turn = fresh.ledger().lock._turn
                assert turn is not None
                turn.give()  # a process that dies lets go of its locks
                assert cleaning(node).clean(force=True).complete
            assert before == node.snapshot()
            assert [] == everything(node)
            return blade.calls

    calls = run(tmp_path / "whole", None)
    changing = [
        (number, call)
        for number, call in enumerate(calls)
        if call.endswith((".remove", ".move", ".rename", ".configure", ".clear", ".save"))
    ]
    assert len(changing) > 5
    for number, call in changing:
        for moment in (Moment.BEFORE, Moment.AFTER):
            run(tmp_path / f"{number}-{moment.name}", Step(number, call, moment))


def test_an_agent_that_is_still_starting_is_a_daemon_that_runs(node: Node) -> None:
    """It waits for its isolation mode, say, and would put back what is removed."""
    starting = FileArrivals(node.folder / "run/arriving")
    starting.announce()
    try:
        with pytest.raises(CleanupRefused, match="runs on this node"):
            cleaning(node).plan()
    finally:
        starting.settle()
