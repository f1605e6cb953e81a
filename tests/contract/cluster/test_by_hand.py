"""A node where ibdra is installed without Helm, by the lines of the pages and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.page_lines import NodeShell
from contract.cluster.pod_user import OTHER_VF, VF, PodUser
from contract.hook.hook_runs import NEEDS_CC, build
from unit.docs.pages import typed_lines

pytestmark = pytest.mark.real
PATIENCE = 60.0
_ABSENT = (
    *("there is no HCA", "ib_core is not loaded", "ib_uverbs is not loaded"),
    "the kernel does not tell its RDMA isolation mode",
)
"""What a machine without HCAs lacks."""
_SPEC = "ib.sigs.k8s.io_UID.json"


@pytest.fixture(scope="module")
def node(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealKubelet]:
    """Have a node with the folders that every node has, or skip the test."""
    if build(tmp_path_factory.mktemp("hook")) is None:
        pytest.skip(NEEDS_CC)
    try:
        made = RealKubelet(control_plane, f"real-{uuid4().hex[:8]}", usual_folders=True)
    except building.Lacking as reason:
        pytest.skip(str(reason))
    admin = Admin.of(control_plane.kubeconfig)
    with made:
        yield made
    for each in admin.list("ResourceSlice", fields=f"spec.nodeName={made.name}"):
        admin.delete("ResourceSlice", each["metadata"]["name"])
    admin.delete("Node", made.name)


@pytest.fixture
def shell(node: RealKubelet, control_plane: ControlPlane) -> NodeShell:
    """Give root's shell on the node."""
    return NodeShell(node, control_plane.kubeconfig)


@pytest.fixture
def user(admin: Admin, namespace: str, classes: None) -> Iterator[PodUser]:
    """Give a user whose pods are gone at the end."""
    del classes
    yield PodUser(admin, namespace)
    admin.end_pods(namespace)


def await_line(log: Path, text: str) -> None:
    """Wait until an agent has said something."""
    wait_until(lambda: text in log.read_text(), what=text, seconds=PATIENCE, last=log.read_text)


def start_line(shell: NodeShell) -> str:
    """Install the hook as the page has it; give the line that starts the simulation's agent."""
    install, run = typed_lines("docs/user/simulation.md", "## On a cluster node")[:2]
    shell.run(install)
    return run


def files(node: RealKubelet, *folders: str) -> list[str]:
    """List the files in the node's folders, locks left out."""
    return sorted(
        path.name
        for folder in folders
        for path in node.on_node(folder).rglob("*")
        if not path.is_dir()
    )


def test_an_agent_is_taken_by_the_kubelet(node: RealKubelet, shell: NodeShell) -> None:
    """Hook and agent of the page on a node that has no HCA: it serves, and ends when told."""
    install, run = typed_lines("docs/user/running.md", "## Start it")
    shell.run(install)
    assert node.on_node("/opt/ibdra/bin/ibdra-hook").is_symlink()
    with shell.running(run) as log:
        await_line(log, "kubelet registered driver")
    assert [] == files(node, "/var/lib/kubelet/plugins_registry")


def test_what_an_agent_has_done_can_be_seen(
    node: RealKubelet, shell: NodeShell, user: PodUser
) -> None:
    """Records, marks and CDI specs are where the page looks, and the hook answers by hand."""
    looks = typed_lines("docs/user/running.md", "## See what it has done")
    (mark,) = typed_lines("docs/user/hook.md", "## While the daemon is down")
    version, by_hand = typed_lines("docs/user/hook.md", "## Try it by hand")
    with shell.running(start_line(shell)) as log:
        await_line(log, "kubelet registered driver")
        uid = user.run("pod0")["metadata"]["uid"]
        assert all(uid in shell.run(look) for look in looks)
        marked = [line.split()[0] for line in shell.run(mark, {"UID": uid}).splitlines()]
        assert ["ibdra", "boot", "netns", "nodes"] == marked
        assert shell.run(version).startswith("ibdra-hook ")
        *refused, code = shell.run(by_hand, {"UID": str(uuid4())}).splitlines()
        assert "1" == code
        assert "is not prepared on this node" in "".join(refused)
        user.delete("pod0")
    assert [] == [name for name in files(node, "/var/lib/ibdra", "/run/cdi") if uid in name]


def test_the_doctor_finds_an_agents_node_fit_but_for_its_hcas(shell: NodeShell) -> None:
    """There are none on this machine, and nothing else is wrong."""
    (line,) = typed_lines("docs/user/doctor.md")
    with shell.running(start_line(shell)) as log:
        await_line(log, "kubelet registered driver")
        said = shell.run(line, codes=(1,)).splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert errors
    assert [] == [line for line in errors if not any(each in line for each in _ABSENT)]


def test_a_claim_whose_pod_is_gone_is_undone_by_hand(shell: NodeShell, user: PodUser) -> None:
    """Its record and its CDI spec are removed; the next agent knows nothing of it."""
    (remove,) = typed_lines("docs/user/troubleshooting.md", "## Undo by hand", program="rm")
    start = start_line(shell)
    with shell.running(start) as log:
        await_line(log, "kubelet registered driver")
        uid = user.run("pod0")["metadata"]["uid"]
    user.begin_deleting("pod0", grace=1)
    wait_until(lambda: not user.has_process("pod0"), what="its end", seconds=PATIENCE)
    shell.run(remove, {each: each.replace("UID", uid) for each in ("UID.json", _SPEC)})
    with shell.running(start) as log:
        user.await_gone("pod0")
        user.run("pod1", device=VF)
        user.delete("pod1")
    assert "ERROR" not in log.read_text()


def test_it_is_removed_as_the_pages_say(
    admin: Admin, node: RealKubelet, shell: NodeShell, user: PodUser
) -> None:
    """Looked at first, then cleaned up: no slice, no file; a hook that is put back goes too."""
    look, clean = typed_lines("docs/user/uninstall.md", "## On one node, by hand")
    with shell.running(start_line(shell)) as log:
        await_line(log, "kubelet registered driver")
        user.run("pod0", device=OTHER_VF)
        user.delete("pod0")
    owned = f"spec.nodeName={node.name}"
    folders = ("/opt/ibdra", "/run/ibdra", "/var/lib/ibdra", "/run/cdi")
    before = files(node, *folders)
    shell.run(look, codes=(0, 1))
    assert before == files(node, *folders)
    assert admin.list("ResourceSlice", fields=owned)
    shell.run(clean)
    assert [] == files(node, *folders)
    assert [] == list(admin.list("ResourceSlice", fields=owned))

    for line in typed_lines("docs/user/hook.md", "## Install it"):
        shell.run(line)
    assert files(node, "/opt/ibdra")
    prepared, remove = typed_lines("docs/user/hook.md", "## Remove it")
    assert "No such file" in shell.run(prepared, codes=(2,))
    # On this node the two folders are mounts, which cannot be removed: only what is in them is.
    said = shell.run(remove, codes=(0, 1))
    assert all("Device or resource busy" in line for line in said.splitlines())
    assert [] == files(node, "/opt/ibdra", "/run/ibdra")
