"""The oldest release with the gate on that makes it look at counters: of another shape there."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.driver_node import DriverNode

pytestmark = pytest.mark.real
_OLDEST = building.kubernetes_minors()[-1]
_LATER_SHAPE = tuple(map(int, _OLDEST.split("."))) >= (1, 35)


def test_devices_are_published_whatever_shape_counters_have(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kubernetes 1.34 refuses counter sets in slices of their own, so it gets none."""
    try:
        wanted = ControlPlane(_OLDEST, feature_gates={"DRAPartitionableDevices": True})
    except building.Lacking as reason:
        pytest.skip(str(reason))
    with wanted as plane, caplog.at_level(logging.WARNING):
        admin = Admin.of(plane.kubeconfig)
        admin.register_node("node-a")
        with DriverNode(admin, "node-a", tmp_path, kubeconfig=plane.kubeconfig) as node:
            slices = node.await_slices(
                lambda found: 40 == sum(len(s["spec"].get("devices") or ()) for s in found),
                what="everything published",
            )
    counted = any("sharedCounters" in s["spec"] for s in slices)
    consumers = [d for s in slices for d in s["spec"].get("devices", ()) if "consumesCounters" in d]
    assert (_LATER_SHAPE, _LATER_SHAPE) == (counted, bool(consumers))
    said = [line for line in caplog.messages if "refuses counters" in line]
    assert _LATER_SHAPE == (not said)
