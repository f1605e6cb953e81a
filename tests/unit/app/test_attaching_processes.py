"""Whose process it is that a container's start is about."""

from __future__ import annotations

import errno
import threading

import pytest

from ibdra_adapters.netlink.fake import FakeNamespaces
from ibdra_domain.errors import AttachRefused, KernelRefused
from ibdra_domain.ports.netlink import Process
from unit.app.app_node import VF, Node


def test_a_number_that_became_anothers_gets_nothing(node: Node) -> None:
    """While a start waits its container may end, and its number go to another tenant's."""
    before = node.snapshot()
    claim, pid = node.prepared(VF), node.kernel.start_process()
    waits, errors = threading.Event(), []
    take_hold = FakeNamespaces.process

    def process(namespaces: FakeNamespaces, pid: int) -> Process:
        found = take_hold(namespaces, pid)
        waits.set()
        return found

    def start() -> None:
        try:
            node.attach(claim, pid)
        except KernelRefused as error:
            errors.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeNamespaces, "process", process)
        thread = threading.Thread(target=start)
        with node.container.ledger().lock:
            thread.start()
            assert waits.wait(30)
            node.kernel.end_process(pid)
            node.kernel.start_process(pid=pid)
        thread.join()

    assert [errno.ESRCH] == [error.errno for error in errors]
    assert {} == node.interfaces(pid)
    assert before == node.snapshot()


def test_a_pod_on_the_hosts_network_keeps_its_device_from_the_claims_next_pod(node: Node) -> None:
    """A move would take from it what it has open, and nobody tells when it ends."""
    claim = node.prepared(VF)
    on_host = node.kernel.start_process(node.kernel.init_netns)
    node.attach(claim, on_host)
    before = node.snapshot()

    with pytest.raises(AttachRefused, match="in use by a pod on the host's network"):
        node.attach(claim, node.kernel.start_process())

    assert before == node.snapshot()
    node.attach(claim, on_host)
    assert [None] == node.unprepare(claim)
