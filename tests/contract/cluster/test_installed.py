"""The chart at work: installed by the documentation's line, updated, and removed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contract.cluster.charts import Helm
from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import ApiError
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.installed_chart import AGENT, PATIENCE, WEBHOOK, InstalledChart
from contract.cluster.page_lines import Shell
from contract.cluster.pod_user import OTHER_VF, PCI, VF, PodUser, a_template
from contract.image.built import NoImage, built_image
from unit.docs.pages import typed_lines

Json = dict[str, Any]
pytestmark = pytest.mark.real

_PYTHON = "/usr/lib/ibdra/bin/python"


@pytest.fixture(scope="module")
def chart(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InstalledChart]:
    """Have the chart installed on a node of its own, or skip the test."""
    try:
        built_image()
        kubelet = RealKubelet(control_plane, f"real-{uuid4().hex[:8]}", usual_folders=True)
        helm = Helm(tmp_path_factory.mktemp("helm"), kubeconfig=control_plane.kubeconfig)
    except (building.Lacking, NoImage) as reason:
        pytest.skip(str(reason))
    with kubelet:
        try:
            with InstalledChart(control_plane, kubelet, helm) as installed:
                yield installed
        finally:
            # Left there, it would be taken for a node that is ready.
            Admin.of(control_plane.kubeconfig).delete("Node", kubelet.name)


@pytest.fixture
def user(chart: InstalledChart, namespace: str) -> Iterator[PodUser]:
    """Give a user whose pods are gone at the end, and everything of them."""
    yield PodUser(chart.admin, namespace)
    chart.admin.end_pods(namespace)


def in_agent(chart: InstalledChart, program: str) -> str:
    """Run a Python program in the agent's container."""
    done = chart.kubectl(
        *("exec", f"--namespace={chart.namespace}", f"daemonset/{AGENT}", "--container=agent"),
        *("--", _PYTHON, "-c", program),
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def status_in_agent(chart: InstalledChart) -> dict[str, str]:
    """Read what the kernel says of a process in the agent's container (proc(5))."""
    said = in_agent(chart, "print(open('/proc/self/status').read())")
    return dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)


def devices(chart: InstalledChart) -> dict[str, Json]:
    """Give the published devices by name."""
    return {each["name"]: each for s in chart.slices() for each in s["spec"].get("devices") or ()}


def test_the_agent_publishes_with_no_more_rights_than_named(chart: InstalledChart) -> None:
    """Three capabilities, system calls filtered, nothing to gain; and every device is published."""
    assert 40 == len(devices(chart))
    (owner,) = {s["metadata"]["ownerReferences"][0]["name"] for s in chart.slices()}
    assert chart.kubelet.name == owner
    status = status_in_agent(chart)
    net_admin, sys_ptrace, sys_admin = 12, 19, 21  # linux/capability.h
    assert f"{1 << net_admin | 1 << sys_ptrace | 1 << sys_admin:016x}" == status["CapEff"]
    assert ("2", "1") == (status["Seccomp"], status["NoNewPrivs"])


def test_a_pod_gets_a_device_and_gives_it_back(chart: InstalledChart, user: PodUser) -> None:
    """The hook that the chart put on the host is run, and asks the agent in its container."""
    before = chart.files()
    user.run("pod0")
    assert PCI[VF] == chart.kubelet.logs_of("pod0", namespace=user.namespace).strip()
    claim = user.claim("pod0")
    chart.admin.wait_for(
        "ResourceClaim",
        claim["metadata"]["name"],
        lambda c: "Attached" in str(c["status"].get("devices")),
        namespace=user.namespace,
    )
    user.delete("pod0")
    wait_until(lambda: before == chart.files(), what="nothing of it", last=chart.files)


def test_the_webhook_refuses_by_its_reason(chart: InstalledChart, namespace: str) -> None:
    """Asked through its Service, with the certificate that Helm made."""
    bad = a_template("bad", namespace=namespace, device=VF, config={"mtu": 123})
    with pytest.raises(ApiError, match=r"denied the request.*mtu"):
        chart.admin.create(bad)
    chart.admin.create(a_template("good", namespace=namespace, device=VF, config={"mtu": 4096}))


def test_what_the_page_says_can_be_seen(chart: InstalledChart) -> None:
    """The commands of "See that it works", one after another."""
    lines = typed_lines("docs/user/install.md", "## See that it works")
    # This machine has no HCA; the doctor sees that, whatever the agent simulates.
    said = [chart.run(line, fails="ibdra doctor" in line) for line in lines]
    rolled_out, slices, doctor, applied = said
    try:
        assert "successfully rolled out" in rolled_out
        assert f"ib.sigs.k8s.io   {chart.kubelet.name}" in slices
        errors = [line for line in doctor.splitlines() if line.startswith("error: ")]
        absent = ("there is no HCA", "ib_core is not loaded", "ib_uverbs is not loaded")
        assert [] == [line for line in errors if not any(each in line for each in absent)]
        assert "pod/pod0 created" in applied
        chart.admin.wait_for(
            "Pod", "pod0", lambda pod: pod["status"]["phase"] == "Running", namespace="ib-test1"
        )
    finally:
        chart.admin.end_pods("ib-test1")
        chart.admin.delete("Namespace", "ib-test1")


def test_the_namespace_allows_the_agent(chart: InstalledChart) -> None:
    """Where pod security is enforced, the page's label lets the agent in; less does not."""
    (label,) = typed_lines("docs/user/install.md", program="kubectl label")
    tried = [*label.split(), "--overwrite", "--dry-run=server"]
    refusing = chart.kubectl(*(word.replace("privileged", "baseline") for word in tried[1:]))
    assert "violate the new PodSecurity enforce level" in refusing.stderr
    chart.run(label)
    labels = chart.admin.get("Namespace", chart.namespace)["metadata"]["labels"]
    assert "privileged" == labels["pod-security.kubernetes.io/enforce"]
    assert "" == chart.kubectl(*tried[1:]).stderr


def test_its_rights_are_enough_to_move_an_interface(chart: InstalledChart, user: PodUser) -> None:
    """Of the real kernel, into the namespace of a pod's process, and back."""
    user.run("pod0")
    program = _MOVE.replace("POD", str(chart.pid_of("pod0", namespace=user.namespace)))
    assert ["there", "home"] == in_agent(chart, program).split()


_MOVE = """
import errno
from pyroute2 import IPRoute
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rtnetlink import LinuxLinks

spaces, links, name = LinuxNamespaces(), LinuxLinks(), "ibdra-moved"
host, pod = spaces.host(), spaces.of_process(POD)
found = spaces.find(pod.id)
assert found is not None and host.id != pod.id

def index_in(netns):
    return next((one.index for one in links.list(netns) if one.name == name), None)

with IPRoute() as route:
    route.link("add", ifname=name, kind="veth", peer="ibdra-peer")
try:
    links.move(index_in(host), source=host, target=found)
    print("there" if index_in(host) is None else "not moved")
    links.configure(index_in(pod), netns=pod, mtu=1400, up=True)
    links.move(index_in(pod), source=pod, target=host)
    print("home" if index_in(pod) is None else "not home")
finally:
    for netns in (host, pod):
        if index_in(netns) is not None:
            links.remove(index_in(netns), netns=netns)
"""


def test_an_update_leaves_pods_and_slices_alone(chart: InstalledChart, user: PodUser) -> None:
    """The new agent takes over: it ends what the old one began, and prepares what comes."""
    before = chart.files()
    user.run("pod0")
    old, published = chart.agent(), {s["metadata"]["uid"] for s in chart.slices()}
    chart.upgrade("--set", "kubeletPlugin.verbose=true,kubeletPlugin.privileged=true")
    chart.await_ready()
    new = chart.agent()
    assert old != new
    assert published == {s["metadata"]["uid"] for s in chart.slices()}
    user.await_running("pod0", restarts=0)
    user.run("pod1", device=OTHER_VF)
    user.delete("pod0")
    user.delete("pod1")
    wait_until(lambda: same_but_names(before, chart.files()), what="nothing", last=chart.files)
    assert "prepared" in chart.log_of(new)
    assert "0" == status_in_agent(chart)["Seccomp"]  # privileged now, as the operator asked


def same_but_names(before: dict[str, list[str]], now: dict[str, list[str]]) -> bool:
    """Tell whether there are as many files in each folder: an agent's are named by its pod."""
    return {name: len(files) for name, files in before.items()} == {
        name: len(files) for name, files in now.items()
    }


def test_an_update_that_cannot_work_ends_at_the_old_agent(
    chart: InstalledChart, user: PodUser
) -> None:
    """The new agent does not start, the old one serves on, and a rollback is the way out."""
    old = chart.agent()
    chart.upgrade("--set-json", 'kubeletPlugin.extraArgs=["--no-such-option"]')

    def fails() -> bool:
        new = [pod for pod in chart.pods("kubelet-plugin") if pod["metadata"]["name"] != old]
        return "No such option" in "".join(chart.log_of(pod["metadata"]["name"]) for pod in new)

    wait_until(fails, what="a new agent that does not start", seconds=PATIENCE, last=chart.state)
    user.run("pod0")
    assert old in [pod["metadata"]["name"] for pod in chart.pods("kubelet-plugin")]
    chart.roll_back()
    chart.await_ready()
    assert old == chart.agent()
    user.delete("pod0")


@pytest.fixture
def shell(
    control_plane: ControlPlane, chart: InstalledChart, user: PodUser, tmp_path: Path
) -> Shell:
    """Have a pod with a device, which the lines are about."""
    user.run("pod0")
    names = {"NODE": chart.kubelet.name, "POD": "pod0", "DRIVER-POD": chart.agent()}
    return Shell(control_plane, tmp_path, names, namespace=user.namespace)


def test_the_lines_of_health_run(shell: Shell, chart: InstalledChart) -> None:
    """No device has a taint of its port's; the kubelet tells of the pod's; nothing was logged."""
    taints, allocated, logged = typed_lines("docs/user/health.md", program="kubectl")
    assert "" == shell.run(taints).strip()
    told = tuple(map(int, chart.minor.split("."))) >= (1, 36)  # before, behind a feature gate
    assert told == ("Healthy" in shell.run(allocated))
    assert "" == shell.run(logged, codes=(0, 1))


def test_the_lines_of_troubleshooting_run(shell: Shell) -> None:
    """Who has which device."""
    (devices,) = typed_lines("docs/user/troubleshooting.md", program="kubectl")
    assert VF in shell.run(devices)


def test_the_lines_of_webhook_run(shell: Shell, chart: InstalledChart) -> None:
    """Let pass, kept, off, and on again."""
    lines = [f"{line} " for line in typed_lines("docs/user/webhook.md", program="kubectl")]
    patch, keep, off, on = (line.replace(" ibdra ", f" {WEBHOOK} ") for line in lines)
    shell.run(patch)
    kind = "ValidatingWebhookConfiguration"
    assert "Ignore" == chart.admin.get(kind, WEBHOOK)["webhooks"][0]["failurePolicy"]
    shell.run(keep)
    shell.run(off)
    assert chart.admin.find(kind, WEBHOOK) is None
    shell.run(on)
    assert chart.admin.find(kind, WEBHOOK) is not None


def test_the_lines_of_simulation_run(shell: Shell, chart: InstalledChart) -> None:
    """An example's pod, its log and its claim."""
    apply, log, claim, delete = typed_lines("docs/user/simulation.md", program="kubectl")
    shell.run(apply.replace("kubectl apply", "kubectl apply --server-side --force-conflicts"))
    chart.admin.wait_for(
        "Pod", "pod0", lambda pod: pod["status"]["phase"] == "Running", namespace="ib-test1"
    )
    assert "IB_DEVICE_VF_PORT=1" in shell.run(log)
    assert "reason: Attached" in shell.run(claim)
    shell.run(delete)


def test_it_is_removed_as_the_page_says(chart: InstalledChart, user: PodUser) -> None:
    """A pod that has a device holds up its node's cleanup; then nothing of the driver stays."""
    no_classes, clean, status, said, remove = typed_lines(
        "docs/user/uninstall.md", "## Installed with Helm"
    )
    user.run("pod0")
    chart.run(no_classes)
    assert not [c for c in chart.admin.list("DeviceClass") if "ib.sigs" in c["metadata"]["name"]]
    chart.run(clean)
    wait_until(
        lambda: f"is in use: pod {user.namespace}/pod0" in chart.run(said, fails=None),
        what="a cleanup that refuses",
        seconds=PATIENCE,
        last=chart.state,
    )
    assert devices(chart)
    chart.run(clean.replace("cleanup=true", "cleanup=false"))
    chart.run(status)
    user.delete("pod0")
    chart.run(clean)
    chart.run(status)
    assert [] == chart.slices()
    assert [] == [file for files in chart.files().values() for file in files]
    chart.run(remove)
    chart.await_no_pods()
    assert "" == chart.run("helm list --short --namespace dra-ib-driver")
    wait_until(lambda: not chart.objects(), what="nothing of the release", last=chart.objects)
