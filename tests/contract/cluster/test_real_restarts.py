"""Pods in a real cluster while something is killed, refused, or waited for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.kubelet import RealKubelet
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.pod_user import LONG, OTHER_VF, PCI, VF, PodUser
from contract.cluster.real_driver import RealDriver

pytestmark = pytest.mark.real


@pytest.fixture
def user(admin: Admin, ibdra: RealDriver, namespace: str) -> Iterator[PodUser]:
    """Give a user whose pods are gone at the end, and everything of them."""
    before = ibdra.at_home()
    yield PodUser(admin, namespace)
    ibdra.ensure_running()
    admin.end_pods(namespace)
    ibdra.await_gone()
    assert before == ibdra.at_home()


def test_a_container_starts_again(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """A container that is killed starts again beside its devices, which nobody moves."""
    user.run("pod0")
    machine = ibdra.machine()
    user.kill_container("pod0")
    user.await_running("pod0", restarts=1)
    assert machine == ibdra.machine()
    assert [PCI[VF]] * 2 == _words(kubelet, user, "pod0", count=2)


def test_the_driver_is_killed(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """Pods go on, and start again by their marks; one that ends waits for the next driver."""
    user.run("pod0")
    away, left = ibdra.away(), ibdra.left()
    user.run("pod1", device=OTHER_VF)
    ibdra.kill()
    user.begin_deleting("pod1")
    user.kill_container("pod0")
    user.await_running("pod0", restarts=1)
    assert [PCI[VF]] * 2 == _words(kubelet, user, "pod0", count=2)
    assert 2 * len(left) == len(ibdra.left())
    ibdra.start()
    user.await_gone("pod1")
    assert (away, left) == (ibdra.away(), ibdra.left())
    assert f"{user.namespace}/pod0" not in ibdra.complaints()
    assert f"{user.namespace}/pod1" in ibdra.complaints()  # its namespace had died
    user.delete("pod0")
    assert [] == ibdra.left()


def test_the_kubelet_is_killed(user: PodUser, kubelet: RealKubelet, ibdra: RealDriver) -> None:
    """Its pods stay, the slices that it takes away come back, and its pods can be deleted."""
    user.run("pod0")
    machine, left, published = ibdra.machine(), ibdra.left(), ibdra.devices()
    before = {one["metadata"]["uid"] for one in ibdra.slices()}
    registrations = ibdra.registrations
    kubelet.stop_kubelet()
    kubelet.start_kubelet()
    wait_until(lambda: ibdra.registrations > registrations, what="the driver, taken again")
    wait_until(
        lambda: not before & {one["metadata"]["uid"] for one in ibdra.slices()},
        what="the old slices' end",
        seconds=LONG,
    )
    wait_until(lambda: published == ibdra.devices(), what="the slices", seconds=LONG)
    assert (machine, left) == (ibdra.machine(), ibdra.left())
    user.await_running("pod0")
    user.run("pod1", device=OTHER_VF)
    user.delete("pod0")
    user.delete("pod1")
    assert [] == ibdra.left()


def test_a_refused_config_is_told(user: PodUser, ibdra: RealDriver) -> None:
    """The kubelet's event says that it was refused, ours says why; nothing is left of it."""
    user.create("pod0", config={"pkey": 35516})

    def told() -> dict[str, str] | None:
        found = user.reasons("pod0")
        return found if {"FailedPrepareDynamicResources", "PrepareFailed"} <= set(found) else None

    reasons = wait_until(told, what="both events", last=lambda: user.reasons("pod0"))
    for reason in ("FailedPrepareDynamicResources", "PrepareFailed"):
        assert "0x8abc is not in the partition table" in reasons[reason]
    assert [] == ibdra.left()
    user.delete("pod0")


def test_the_second_pod_gets_the_device_when_the_first_is_gone(
    user: PodUser, ibdra: RealDriver
) -> None:
    """One device serves one pod: the other waits unscheduled, and has it afterwards."""
    first = user.run("pod0")
    user.create("pod1")
    wait_until(lambda: "FailedScheduling" in user.reasons("pod1"), what="the scheduler's word")
    assert "cannot allocate all claims" in user.reasons("pod1")["FailedScheduling"]
    user.delete("pod0")
    user.await_running("pod1")
    second = user.claim("pod1")
    results = [claim["status"]["allocation"]["devices"]["results"] for claim in (first, second)]
    assert [[VF]] * 2 == [[result["device"] for result in found] for found in results]
    assert 3 == len(ibdra.left())


def test_a_pod_is_deleted_by_force(user: PodUser, ibdra: RealDriver) -> None:
    """The API server forgets it at once; the node ends it all the same, and brings all home."""
    user.run("pod0")
    user.delete("pod0", grace=0)
    ibdra.await_gone()
    user.run("pod1")


def _words(kubelet: RealKubelet, user: PodUser, pod: str, *, count: int) -> list[str]:
    """Wait until a pod's containers have said so many words."""

    def look() -> list[str] | None:
        found = kubelet.logs_of(pod, namespace=user.namespace).split()
        return found if count == len(found) else None

    return wait_until(
        look,
        what=f"{count} words",
        last=lambda: kubelet.logs_of(pod, namespace=user.namespace),
    )
