"""``serve``: what a driver's program does from start to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ibdra_app import library as dra
from ibdra_app import serving

DRIVER, NODE = "thing.example.com", "demo-node"


class Nothing:
    """A driver that has nothing to do."""

    def prepare(self, claim: dra.ClaimRef) -> tuple[dra.PreparedDevice, ...]:
        del claim
        return ()

    def unprepare(self, claim: dra.ClaimRef) -> None:
        del claim


class Program:
    """A driver's program on a node in memory."""

    def __init__(self, folder: Path) -> None:
        self.node = dra.EmbeddedNode.below(folder, name=NODE)
        self.kube = dra.in_memory(self.node.api, driver=DRIVER, node=NODE)
        self.devices: list[str] = ["a"]
        self.failing = 0
        self.looks = 0
        self.stop = asyncio.Event()

    def look(self) -> list[dra.Device]:
        self.looks += 1
        if self.failing:
            self.failing -= 1
            raise dra.KubeUnavailable("not now", remedy="wait")
        return [dra.Device(name=name) for name in self.devices]

    def published(self) -> list[str]:
        slices = self.node.api.list("ResourceSlice")
        return [d["name"] for one in slices for d in one["spec"].get("devices", ())]

    def start(
        self, *, succession: dra.Succession | None = None, by_signal: bool = False
    ) -> asyncio.Task[None]:
        plugin = dra.KubeletPlugin(
            DRIVER, dra.OneByOne(Nothing()), kubelet_dir=self.node.kubelet_folder
        )
        return asyncio.create_task(
            dra.serve(
                plugin,
                look=self.look,
                kube=self.kube,
                node=NODE,
                stop=None if by_signal else self.stop,
                succession=succession,
            )
        )


@pytest.fixture
def program(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Give a program that is impatient."""
    monkeypatch.setattr(serving, "AGAIN", 0.02)
    monkeypatch.setattr(serving, "LOOK_EVERY", 0.1)
    return Program(short_path)


async def until(true: Callable[[], object]) -> None:
    """Wait for something, at most ten seconds."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 -- what is waited for tells nobody
            await asyncio.sleep(0.01)


async def test_devices_are_published_as_they_come_and_go(program: Program) -> None:
    """Every look counts; the slices stay at the end, the sockets do not."""
    serving_task = program.start()
    await until(lambda: program.published() == ["a"])
    program.devices = ["a", "b"]
    await until(lambda: program.published() == ["a", "b"])
    program.stop.set()
    await serving_task
    assert ["a", "b"] == program.published()
    assert () == program.node.left()


async def test_slices_that_somebody_deletes_come_back(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the watch, not by the next look: the kubelet deletes them whenever it starts."""
    monkeypatch.setattr(serving, "LOOK_EVERY", 60.0)
    serving_task = program.start()
    await until(lambda: program.published() == ["a"])
    (one,) = program.node.api.list("ResourceSlice")
    program.node.api.delete("ResourceSlice", "", one["metadata"]["name"])
    await until(lambda: program.published() == ["a"])
    program.stop.set()
    await serving_task


async def test_a_look_that_fails_is_tried_again(program: Program) -> None:
    """Whatever of ours it raises; the driver is registered all the while."""
    program.failing = 3
    serving_task = program.start()
    await until(lambda: program.published() == ["a"])
    assert program.looks >= 4
    program.stop.set()
    await serving_task


async def test_a_bug_in_look_ends_it_with_nothing_left(program: Program) -> None:
    """It is not swallowed, and the sockets go."""
    program.devices = None  # type: ignore[assignment]  # what the bug is
    with pytest.raises(TypeError):
        await program.start()
    assert () == program.node.left()


async def test_only_the_leading_process_publishes(program: Program) -> None:
    """In a rolling update the newer one does; when it goes, the older one again."""
    shared: list[dra.FakeSuccession] = []
    serving_task = program.start(succession=dra.FakeSuccession(shared))
    await until(lambda: program.published() == ["a"])
    newer = dra.FakeSuccession(shared)
    newer.enter()
    program.devices = ["b"]
    looks = program.looks
    await asyncio.sleep(0.3)
    assert program.looks <= looks + 1
    assert ["a"] == program.published()
    newer.leave()
    await until(lambda: program.published() == ["b"])
    program.stop.set()
    await serving_task
    assert [] == shared


async def test_without_a_stop_sigterm_ends_it(program: Program) -> None:
    """As a container runtime ends a pod."""
    serving_task = program.start(by_signal=True)
    await until(lambda: program.published() == ["a"])
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(10):
        await serving_task
    loop = asyncio.get_running_loop()
    assert not any(loop.remove_signal_handler(n) for n in (signal.SIGTERM, signal.SIGINT))


async def test_two_programs_that_disagree_do_not_fill_the_server(
    program: Program, short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each puts right what the other wrote, but rests first, and longer each time."""
    monkeypatch.setattr(serving, "LOOK_EVERY", 60.0)
    other = Program(short_path / "o")
    other.kube = program.kube
    other.devices = ["b"]
    tasks = [program.start(), other.start()]
    await until(program.published)
    before = len(program.node.api.calls)
    await asyncio.sleep(1.5)
    assert len(program.node.api.calls) - before < 100
    for one in (program, other):
        one.stop.set()
    await asyncio.gather(*tasks)
