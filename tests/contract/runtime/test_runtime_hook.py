"""The whole wire under a real runtime: spec, hook, socket, answer, mark."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.hook.hook_runs import FakeHook, Helper, boot_id, netns_of
from contract.runtime.conftest import ZERO, Prepared
from contract.runtime.podman import Podman
from ibdra_adapters.hook.marks import MarkFolder
from ibdra_adapters.hook.server import HookServer
from ibdra_domain.errors import AttachRefused
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.ports.runtime import ContainerStart

pytestmark = pytest.mark.real
Prepare = Callable[..., Prepared]
DOWN = "the ibdra daemon does not answer at"


class Attaching:
    """A hook that looks where each container is, and leaves a mark as the driver does."""

    def __init__(self, marks: Path) -> None:
        self.marks = MarkFolder(marks, boot_id=boot_id())
        self.seen: dict[str, NetnsId] = {}
        self.starts: list[ContainerStart] = []

    def attach(self, start: ContainerStart) -> None:
        """Fulfil the port."""
        self.starts.append(start)
        self.seen[start.claim] = netns_of(start.pid)
        self.marks.put(start.claim, netns=self.seen[start.claim], nodes=start.nodes)


@pytest.fixture
def attaching(helper: Helper) -> Attaching:
    """Give a hook that attaches."""
    return Attaching(helper.marks)


def refusing(start: ContainerStart) -> None:
    """Say no."""
    raise AttachRefused(f"claim {start.claim} is attached to another pod", remedy="wait for “it”")


async def test_a_container_gets_what_its_claim_has(
    podman: Podman, helper: Helper, prepare: Prepare, attaching: Attaching
) -> None:
    """Environment, device nodes, and a hook that names the container's process."""
    claim = prepare(ZERO)
    script = "readlink /proc/self/ns/net; env; stat -c '%n %t:%T %a' /dev/infiniband/*; "
    script += ": < /dev/infiniband/uverbs0 && echo opened"
    async with HookServer(helper.socket, hook=attaching):
        ran = await asyncio.to_thread(podman.run, "sh", "-c", script, devices=claim.devices)
    assert (0, "") == (ran.code, ran.err)
    (start,) = attaching.starts
    assert (claim.uid, claim.nodes) == (start.claim, start.nodes)
    assert "1:5" == claim.nodes
    assert f"net:[{attaching.seen[claim.uid].inode}]" == ran.lines[0]
    assert netns_of(os.getpid()) != attaching.seen[claim.uid]
    assert {"NCCL_IB_HCA==mlx5_0:1", "IB_DEVICE_HCA_IBDEV=mlx5_0"} <= set(ran.lines)
    assert {"/dev/infiniband/rdma_cm 1:7 666", "/dev/infiniband/uverbs0 1:5 666"} <= set(ran.lines)
    assert "opened" == ran.lines[-1]


async def test_a_refusal_stops_the_container(
    podman: Podman, helper: Helper, prepare: Prepare
) -> None:
    """The runtime's error has the reason; nothing of the container ran."""
    claim = prepare()
    async with HookServer(helper.socket, hook=FakeHook(refusing)):
        ran = await asyncio.to_thread(podman.run, "sh", "-c", "echo ran", devices=claim.devices)
    assert 0 != ran.code
    assert "ran\n" not in ran.out
    reason = f"claim {claim.uid} is attached to another pod: wait for “it”"
    assert f"ibdra: claim {claim.uid}: {reason}" in ran.err


async def test_without_a_daemon_nothing_starts(podman: Podman, prepare: Prepare) -> None:
    """The hook fails closed, and says what to do."""
    claim = prepare()
    ran = await asyncio.to_thread(podman.run, "sh", "-c", "echo ran", devices=claim.devices)
    assert 0 != ran.code
    assert "ran\n" not in ran.out
    assert f"ibdra: claim {claim.uid}: {DOWN}" in ran.err


def test_a_hung_daemon_stops_the_container_in_time(
    podman: Podman, helper: Helper, prepare: Prepare
) -> None:
    """Within the hook's own deadline, before the runtime kills it without a word."""
    claim = prepare(deadline=2)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(helper.socket))
        hung.listen()
        began = time.monotonic()
        ran = podman.run("sh", "-c", "echo ran", devices=claim.devices)
        took = time.monotonic() - began
    assert 0 != ran.code
    assert "ran\n" not in ran.out
    assert "did not answer" in ran.err
    assert "within 2 s" in ran.err
    assert 1.9 < took < 20


async def test_a_pods_containers_share_its_claim(
    podman: Podman, helper: Helper, prepare: Prepare, attaching: Attaching
) -> None:
    """All in the sandbox's namespace; a second one, and a restart, need no daemon."""
    claim = prepare()
    assert 0 == podman.start("sandbox").code
    network = "container:sandbox"
    async with HookServer(helper.socket, hook=attaching):
        first = await asyncio.to_thread(
            podman.start, "first", devices=claim.devices, network=network
        )
    assert (0, "") == (first.code, first.err)
    assert netns_of(podman.pid("sandbox")) == attaching.seen[claim.uid]
    assert not helper.socket.exists()

    second = podman.run("sh", "-c", "echo ran", devices=claim.devices, network=network)
    assert (0, "ran\n") == (second.code, second.out), second.err
    before = podman.pid("first")
    again = podman.podman("restart", "--time", "0", "first")
    assert 0 == again.code, again.err
    assert before != podman.pid("first")
    assert 1 == len(attaching.starts)


async def test_another_pod_does_not_get_in_by_a_mark(
    podman: Podman, helper: Helper, prepare: Prepare, attaching: Attaching
) -> None:
    """Neither another sandbox nor the host's network; nor anybody once the mark is gone."""
    claim = prepare()
    for sandbox in ("sandbox", "stranger"):
        assert 0 == podman.start(sandbox).code
    async with HookServer(helper.socket, hook=attaching):
        first = await asyncio.to_thread(
            podman.run, "true", devices=claim.devices, network="container:sandbox"
        )
    assert 0 == first.code, first.err
    for network in ("container:stranger", "none", "host"):
        ran = podman.run("true", devices=claim.devices, network=network)
        assert 0 != ran.code
        assert DOWN in ran.err
    assert 0 == podman.run("true", devices=claim.devices, network="container:sandbox").code
    attaching.marks.remove(claim.uid)
    ran = podman.run("true", devices=claim.devices, network="container:sandbox")
    assert 0 != ran.code
    assert DOWN in ran.err


async def test_a_container_may_have_two_claims(
    podman: Podman, helper: Helper, prepare: Prepare, attaching: Attaching
) -> None:
    """Two specs, two hooks, one process; all nodes are there."""
    one, two = prepare(), prepare(ZERO, index=1)
    script = "stat -c '%n %t:%T' /dev/infiniband/*"
    async with HookServer(helper.socket, hook=attaching):
        ran = await asyncio.to_thread(
            podman.run, "sh", "-c", script, devices=(*one.devices, *two.devices)
        )
    assert 0 == ran.code, ran.err
    expected = ["/dev/infiniband/rdma_cm 1:7", "/dev/infiniband/uverbs0 1:3"]
    assert [*expected, "/dev/infiniband/uverbs1 1:5"] == ran.lines
    assert {one.uid, two.uid} == {start.claim for start in attaching.starts}
    assert 1 == len({start.pid for start in attaching.starts})
    assert ["1:3", "1:5"] == sorted(start.nodes for start in attaching.starts)


async def test_one_refused_claim_of_two_stops_the_container(
    podman: Podman, helper: Helper, prepare: Prepare
) -> None:
    """A container never starts with less than it asked for."""
    one, two = prepare(), prepare(ZERO, index=1)

    def answer(start: ContainerStart) -> None:
        if start.claim == two.uid:
            refusing(start)

    async with HookServer(helper.socket, hook=FakeHook(answer)):
        ran = await asyncio.to_thread(
            podman.run, "sh", "-c", "echo ran", devices=(*one.devices, *two.devices)
        )
    assert 0 != ran.code
    assert "ran\n" not in ran.out
    assert f"ibdra: claim {two.uid}: claim {two.uid} is attached to another pod" in ran.err


async def test_many_containers_at_once(
    podman: Podman, helper: Helper, prepare: Prepare, attaching: Attaching
) -> None:
    """Each in a namespace of its own, and each is told apart."""
    claims = [prepare() for _ in range(6)]
    async with HookServer(helper.socket, hook=attaching):
        rans = await asyncio.gather(
            *(
                asyncio.to_thread(
                    podman.run, "readlink", "/proc/self/ns/net", devices=claim.devices
                )
                for claim in claims
            )
        )
    assert [0] * 6 == [ran.code for ran in rans]
    assert [f"net:[{attaching.seen[claim.uid].inode}]" for claim in claims] == [
        ran.out.strip() for ran in rans
    ]
    assert 6 == len(set(attaching.seen.values()))


def test_what_is_asked_of_a_spec_that_is_gone_is_refused(podman: Podman, prepare: Prepare) -> None:
    """The runtime does not know the device any more."""
    claim = prepare()
    missing = claim.devices[0].replace(claim.uid, "0" * 36)
    ran = podman.run("true", devices=(missing,))
    assert 0 != ran.code
    assert missing in ran.err
