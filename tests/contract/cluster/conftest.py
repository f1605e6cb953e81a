"""Fixtures: a control plane of each release, an administrator, a namespace and a node.

Each release runs once for all tests that want it.  A test shares it with others: it has a
namespace and a node of its own, and removes what else it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from contract.cluster.charts import Helm, agent_kubeconfig, remove_rights
from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.driver_node import DriverNode
from contract.cluster.real_driver import RealDriver
from contract.hook.hook_runs import NEEDS_CC, build

EXAMPLES = Path(__file__).parents[3] / "examples"

RAN = pytest.StashKey[dict[str, list[str]]]()


@pytest.fixture(scope="session", params=building.kubernetes_minors())
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Give a running control plane of each release, or skip the test."""
    try:
        wanted = ControlPlane(request.param)
    except building.Lacking as reason:
        pytest.skip(str(reason))
    with wanted as running:
        _note(request.config, building.kubernetes(request.param))
        _note(request.config, building.etcd())
        yield running


@pytest.fixture
def admin(control_plane: ControlPlane) -> Admin:
    """Give somebody who may do everything."""
    return Admin.of(control_plane.kubeconfig)


@pytest.fixture
def namespace(admin: Admin) -> Iterator[str]:
    """Give a namespace of the test's own."""
    made = admin.create_namespace()
    yield made
    admin.delete_namespace(made)


@pytest.fixture
def node(admin: Admin) -> Iterator[str]:
    """Give a node that pods are bound to, though nothing runs there."""
    name = f"node-{uuid4().hex[:8]}"
    admin.register_node(name)
    yield name
    admin.delete("Node", name)


@pytest.fixture(scope="module")
def kubelet(request: pytest.FixtureRequest, control_plane: ControlPlane) -> Iterator[RealKubelet]:
    """Give a node where pods run, or skip the test."""
    try:
        wanted = RealKubelet(control_plane, f"real-{uuid4().hex[:8]}")
    except building.Lacking as reason:
        pytest.skip(str(reason))
    with wanted as running:
        _note(request.config, building.containerd())
        yield running
    Admin.of(control_plane.kubeconfig).delete("Node", running.name)


@pytest.fixture(scope="module")
def ibdra(
    control_plane: ControlPlane, kubelet: RealKubelet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealDriver]:
    """Have our driver run on the node with the kubelet, with the examples' classes."""
    hook = build(tmp_path_factory.mktemp("hook"))
    if hook is None:
        pytest.skip(NEEDS_CC)
    admin = Admin.of(control_plane.kubeconfig)
    admin.apply_manifests(EXAMPLES / "device-classes.yaml")
    kubeconfig = control_plane.kubeconfig
    with RealDriver(kubelet, admin, kubeconfig=kubeconfig, hook=hook) as running:
        yield running
    for each in running.slices():
        admin.delete("ResourceSlice", each["metadata"]["name"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the programs complained about with a test that failed on them."""
    report = yield
    for name in ("control_plane", "kubelet", "ibdra", "chart") if report.failed else ():
        running = getattr(item, "funcargs", {}).get(name)
        if running is None:
            continue
        with suppress(OSError):  # one that has ended cannot be asked
            report.sections.append((f"what {name} complained about", running.complaints()))
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which releases the tests ran on."""
    ran = config.stash.get(RAN, {})
    if ran:
        tests = sum(len(terminalreporter.stats.get(end, ())) for end in ("passed", "failed"))
        parts = ", ".join(f"{name} {' and '.join(versions)}" for name, versions in ran.items())
        terminalreporter.write_line(f"cluster: {parts}: {tests} tests")


def _note(config: pytest.Config, build: building.Build) -> None:
    """Remember what ran, for the summary."""
    versions = config.stash.setdefault(RAN, {}).setdefault(build.name.split()[0], [])
    if build.version not in versions:
        versions.append(build.version)


@pytest.fixture
def classes(admin: Admin) -> None:
    """Have the DeviceClasses of the examples."""
    admin.apply_manifests(EXAMPLES / "device-classes.yaml")


@pytest.fixture
def on_node(
    admin: Admin, control_plane: ControlPlane, node: str, classes: None, tmp_path: Path
) -> Iterator[Callable[..., DriverNode]]:
    """Give what runs our driver on the node: a call, with a profile and settings to change."""
    del classes
    with ExitStack() as stack:

        def run(profile: str = "dgx-h100", **changes: Any) -> DriverNode:
            made = DriverNode(
                admin,
                node,
                tmp_path,
                kubeconfig=changes.pop("kubeconfig", control_plane.kubeconfig),
                profile=profile,
                change=lambda settings: replace(settings, **changes),
            )
            running: DriverNode = stack.enter_context(made)
            count = len(running.container.discovery().take().devices)
            running.await_slices(
                lambda found: sum(len(s["spec"].get("devices") or ()) for s in found) == count,
                what="everything published",
            )
            return running

        yield run


@pytest.fixture
def helm(tmp_path: Path, request: pytest.FixtureRequest) -> Helm:
    """Give Helm without a cluster."""
    try:
        made = Helm(tmp_path)
    except building.Lacking as reason:
        pytest.skip(str(reason))
    _note(request.config, building.helm())
    return made


@pytest.fixture
def agents_kubeconfig(
    helm: Helm, admin: Admin, control_plane: ControlPlane, namespace: str, node: str
) -> Iterator[Path]:
    """Give what an agent's pod on the node would have, with the chart's rights."""
    yield agent_kubeconfig(helm, admin, control_plane, namespace=namespace, node=node)
    remove_rights(admin)
