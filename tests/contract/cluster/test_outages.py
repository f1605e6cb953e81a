"""An API server that is away, slow, or has lost our slices; a kubelet and drivers that change."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from contract.cluster.charts import RELEASE
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import Api
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.driver_node import DriverNode
from contract.cluster.pods import a_claim, a_pod, on_one, request
from contract.cluster.test_scheduling import simulated
from ibdra_domain.link import PortState

Json = dict[str, Any]
OnNode = Callable[..., DriverNode]
AWAY = 30.0
"""Seconds that the API server is away."""

MANY = Path(__file__).parents[3] / "benchmarks" / "1024-vfs.toml"


def allocated(
    admin: Admin, node: DriverNode, namespace: str, name: str, device: str
) -> dict[str, Json]:
    """Have the scheduler give a device to a pod; give the pod's claims."""
    admin.create(a_claim(name, request(selectors=[on_one(device)]), namespace=namespace))
    pod = admin.create(a_pod(name, name, namespace=namespace, node=node.node))
    return node.claims_of(pod)


def none_at_once(name: str, *, account: str) -> tuple[Json, Json]:
    """Describe rules of API priority and fairness by which an account has one call at a time."""
    api = "flowcontrol.apiserver.k8s.io/v1"
    level = {
        "apiVersion": api,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    what = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    everywhere = {"clusterScope": True, "namespaces": ["*"]}
    who = {"namespace": name.removeprefix("busy-"), "name": account}
    subject = {"kind": "ServiceAccount", "serviceAccount": who}
    schema = {
        "apiVersion": api,
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": name},
            "matchingPrecedence": 1000,
            "rules": [{"subjects": [subject], "resourceRules": [what | everywhere]}],
        },
    }
    return level, schema


@pytest.mark.parametrize("lost", ["one", "all"])
def test_slices_deleted_behind_our_back_come_back(on_node: OnNode, lost: str) -> None:
    """Somebody's deletion, or a kubelet's at its start, is seen and put right at once."""
    node = on_node()
    before = node.devices()
    uids = {s["metadata"]["uid"] for s in node.slices()}
    for one in node.slices()[: None if lost == "all" else 1]:
        node.admin.delete("ResourceSlice", one["metadata"]["name"])
    node.await_slices(
        lambda found: len(found) == len(uids) and {s["metadata"]["uid"] for s in found} != uids,
        what="the slices back",
    )
    assert before == node.devices()


def test_slices_belong_to_their_node(on_node: OnNode, admin: Admin) -> None:
    """They go with it: the garbage collector of the cluster sees to that."""
    node = on_node()
    uid = admin.get("Node", node.node)["metadata"]["uid"]
    for one in node.slices():
        (owner,) = one["metadata"]["ownerReferences"]
        assert ("Node", node.node, uid, True) == (
            *(owner["kind"], owner["name"]),
            *(owner["uid"], owner["controller"]),
        )


def test_prepares_while_the_api_server_is_away(
    on_node: OnNode, admin: Admin, control_plane: ControlPlane, namespace: str
) -> None:
    """Half a minute of it: what is prepared answers at once, what is not fails with a reason."""
    node = on_node()
    old = allocated(admin, node, namespace, "old", "0000:18:00.1")
    new = allocated(admin, node, namespace, "new", "0000:18:00.2")
    (prepared,) = node.prepare(*old.values()).values()
    assert isinstance(prepared, tuple)
    control_plane.stop_api_server()
    try:
        until = time.monotonic() + AWAY
        while (started := time.monotonic()) < until:
            assert [prepared] == list(node.prepare(*old.values()).values())
            assert time.monotonic() - started < 5, "an answer from the records waits for nobody"
            (refused,) = node.prepare(*new.values()).values()
            assert isinstance(refused, str)
            assert "API server" in refused
            time.sleep(1)
        assert [None] == list(node.unprepare(*old.values()).values())
    finally:
        control_plane.start_api_server()
        admin.await_controllers()
    (answer,) = node.prepare(*new.values()).values()
    assert isinstance(answer, tuple)
    assert [None] == list(node.unprepare(*new.values()).values())
    assert [] == node.left()
    hca = simulated(node, "0000:40:00.0")
    down = replace(hca.ports[0], state=PortState.DOWN)
    node.machine.change(replace(hca, ports=(down,)))
    node.await_slices(
        lambda _: (
            node.devices()["pci-0000-40-00-0-port1"]["attributes"]["portState"]
            == {"string": "Down"}
        ),
        what="publishing goes on",
    )


def test_a_server_with_too_many_requests_is_asked_again(
    on_node: OnNode, admin: Admin, namespace: str, agents_kubeconfig: Path
) -> None:
    """A server's real 429: the claim is refused with it, and prepared once the server can."""
    node = on_node(kubeconfig=agents_kubeconfig)
    claims = allocated(admin, node, namespace, "busy", "0000:18:00.1")
    level, schema = none_at_once(f"busy-{namespace}", account=f"{RELEASE}-kubelet-plugin")
    admin.create(level)
    admin.create(schema)
    try:

        def is_refused() -> bool:
            # A call that is alone is served whatever the limit: one that is under way takes
            # the only place.  A new one each time: the server takes some moments to take its
            # rules to heart, and a call stays in the level that it began in.
            with Api(agents_kubeconfig).under_way(f"/api/v1/namespaces/{namespace}/events"):
                (answer,) = node.prepare(*claims.values()).values()
            if isinstance(answer, str):
                assert "429" in answer or "too many requests" in answer.lower()
                return True
            assert [None] == list(node.unprepare(*claims.values()).values())
            return False

        wait_until(is_refused, what="a 429")
    finally:
        admin.delete("FlowSchema", schema["metadata"]["name"])
        admin.delete("PriorityLevelConfiguration", level["metadata"]["name"])

    def is_prepared() -> bool:
        (answer,) = node.prepare(*claims.values()).values()
        return isinstance(answer, tuple)

    wait_until(is_prepared, what="the claim prepared")
    assert [None] == list(node.unprepare(*claims.values()).values())


def test_a_thousand_devices_are_published_whole(on_node: OnNode) -> None:
    """All slices of the pool have one generation and the count of them all."""
    node = on_node(str(MANY))

    def is_whole(found: list[Json]) -> bool:
        pools = {
            (s["spec"]["pool"]["generation"], s["spec"]["pool"]["resourceSliceCount"])
            for s in found
        }
        return len(pools) == 1 and {len(found)} == {count for _, count in pools}

    node.await_slices(is_whole, what="a whole pool")
    assert 1016 <= len(node.devices())


def test_a_driver_that_starts_again_knows_everything(
    on_node: OnNode, admin: Admin, namespace: str
) -> None:
    """Nothing is published anew, and a prepared claim is answered from its record."""
    node = on_node()
    claims = allocated(admin, node, namespace, "job", "0000:18:00.1")
    before = node.prepare(*claims.values())
    versions = [s["metadata"]["resourceVersion"] for s in node.slices()]
    node.restart()
    assert before == node.prepare(*claims.values())
    assert versions == [s["metadata"]["resourceVersion"] for s in node.slices()]
    assert [None] == list(node.unprepare(*claims.values()).values())


def test_a_rolling_update_has_two_drivers_for_a_while(
    on_node: OnNode, admin: Admin, namespace: str
) -> None:
    """Each knows what the other prepared, the newer publishes, and the older takes over again."""
    node = on_node(instance="old-pod")
    claims = allocated(admin, node, namespace, "job", "0000:18:00.1")
    (by_old,) = node.prepare(*claims.values()).values()
    newer = node.start_driver(replace(node.settings, instance="new-pod"))
    try:
        node.register()
        assert 2 == len(node.kubelet.plugins)
        assert [by_old] == list(node.prepare(*claims.values()).values())
        others = allocated(admin, node, namespace, "other", "0000:18:00.2")
        (by_new,) = node.prepare(*others.values()).values()
        assert isinstance(by_new, tuple)
        with node.container.ledger().lock:
            known = node.container.ledger().all()
        assert {c["metadata"]["uid"] for c in (*claims.values(), *others.values())} == known.keys()
        assert not node.container.succession().leads()
        assert newer.container.succession().leads()
    finally:
        newer.stop()
    assert node.container.succession().leads()
    node.register()
    for pod in (claims, others):
        assert [None] == list(node.unprepare(*pod.values()).values())
    assert [] == node.left()


def test_a_kubelets_wiped_folders_are_filled_again(
    on_node: OnNode, admin: Admin, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kubelet that comes to an empty registry finds the driver there in a moment."""
    monkeypatch.setattr("ibdra_adapters.kubelet.plugin.LOOK", 0.1)
    node = on_node()
    claims = allocated(admin, node, namespace, "job", "0000:18:00.1")
    node.restart()  # so that it looks as often as the test wants
    shutil.rmtree(node.settings.kubelet_folder)
    paths = node.container.plugin().paths
    wait_until(lambda: paths.plugin.exists() and paths.registration.exists(), what="the sockets")
    node.register()
    (answer,) = node.prepare(*claims.values()).values()
    assert isinstance(answer, tuple)
