"""The contracts of the kube ports, held by a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.proxy import Wire
from contract.cluster.real_cluster import RealCluster
from contract.kube.test_claim_status import *  # noqa: F403 -- the contracts are these tests
from contract.kube.test_kube_contract import *  # noqa: F403
from contract.kube.test_kube_reports import *  # noqa: F403
from contract.kube.test_kube_watch import *  # noqa: F403
from contract.kube.test_publishing import *  # noqa: F403


@pytest.fixture(scope="module")
def wire(control_plane: ControlPlane) -> Iterator[Wire]:
    """Give a way to the API server that a test can cut."""
    host, _, port = control_plane.url.removeprefix("https://").partition(":")
    with Wire((host, int(port))) as made:
        yield made


@pytest.fixture
def cluster(
    admin: Admin, control_plane: ControlPlane, wire: Wire, tmp_path: Path
) -> Iterator[RealCluster]:
    """Give the real server, with nothing of an earlier test on it."""
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{wire.port}"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    for name in ("ns", "other"):  # which the contracts speak of
        if admin.find("Namespace", name) is None:
            admin.create_namespace(name)
    made = RealCluster(admin, wire, kubeconfig, version=control_plane.version)
    made.clean()
    yield made
    made.client.close()
    made.clean()
