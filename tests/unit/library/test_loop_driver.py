"""The example of a driver for another device, on a node in memory and a sysfs made up."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custom_driver import loop_driver
from custom_driver.loop_driver import DRIVER, LoopDriver, discover
from ibdra_app import library as dra
from unit.docs.pages import ROOT, typed_lines

FOLDER = Path(loop_driver.__file__).parent
FILES = (FOLDER / "device-class.yaml", FOLDER / "one-loop-device.yaml")
Json = dict[str, Any]


def make_loop(sysfs: Path, number: int, *, block_size: int = 512) -> Path:
    """Add a loop device to a tree; give its folder."""
    folder = sysfs / f"block/loop{number}"
    (folder / "queue").mkdir(parents=True)
    (folder / "queue/logical_block_size").write_text(f"{block_size}\n")
    return folder


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Make a machine: 0 is left to the host, 1 has an image, 2 and 10 are to be had, 3 is odd."""
    root = tmp_path / "sys"
    for number in (0, 10, 2):
        make_loop(root, number)
    (make_loop(root, 1) / "loop").mkdir()
    make_loop(root, 3, block_size=4096)
    return root


class Bench:
    """A node with the driver; a new driver is a restart of its program."""

    def __init__(self, folder: Path, sysfs: Path) -> None:
        self.node = dra.EmbeddedNode.below(folder)
        self.state = folder / "state"
        self.sysfs = sysfs

    def driver(self) -> LoopDriver:
        claims = dra.in_memory(self.node.api, driver=DRIVER, node=self.node.name).claims
        return LoopDriver(
            claims, self.node.name, cdi=self.node.cdi_folder, state=self.state, sysfs=self.sysfs
        )

    async def run(self, check: Callable[[Bench, Json], Any]) -> None:
        """Have the driver there, and a pod's manifests applied."""
        driver = self.driver()
        async with (
            self.node,
            self.node.with_driver(DRIVER, dra.OneByOne(driver), devices=driver.look()),
        ):
            *_, pod = self.node.apply(*FILES)
            await check(self, pod)


@pytest.fixture
def bench(short_path: Path, sysfs: Path) -> Bench:
    """Give a node that has nothing yet."""
    return Bench(short_path, sysfs)


def test_it_is_short_enough_to_read() -> None:
    """The whole driver, with its demo, is under 150 lines."""
    lines = [line for path in FOLDER.glob("*.py") for line in path.read_text().splitlines()]
    assert len(lines) < 150


def test_discovers_in_order_what_selectors_see(sysfs: Path) -> None:
    """By number, with the block size, and whether there is an image."""
    found = {
        name: [attribute.value for attribute in device.attributes.values()]
        for name, device in discover(sysfs).items()
    }
    assert [
        ("loop0", [0, 512, True]),
        ("loop1", [1, 512, False]),
        ("loop2", [2, 512, True]),
        ("loop3", [3, 4096, True]),
        ("loop10", [10, 512, True]),
    ] == list(found.items())


async def test_a_pod_gets_a_device_and_leaves_no_trace(bench: Bench) -> None:
    """The first that the class and the claim accept, as a node and a variable."""

    async def check(bench: Bench, pod: Json) -> None:
        running = await bench.node.start(pod)
        assert "" == running.why_not
        (container,) = running.containers
        assert ("/dev/loop2 (b 7:2)",) == container.device_nodes
        assert {"LOOP_DEVICE_DISK": "/dev/loop2"} == container.env
        await bench.node.end(running)
        assert [] == list(bench.node.cdi_folder.glob("*.json"))

    await bench.run(check)
    assert () == bench.node.left()
    assert [] == list((bench.state / "claims").iterdir())


async def test_two_pods_have_two_devices_and_the_third_waits(bench: Bench) -> None:
    """The scheduler gives each its own; what is left does not fit."""

    async def check(bench: Bench, pod: Json) -> None:
        pods = [pod | {"metadata": {**pod["metadata"], "name": f"pod{n}"}} for n in range(3)]
        running = [await bench.node.start(one) for one in pods]
        nodes = [container.device_nodes for one in running for container in one.containers]
        assert [("/dev/loop2 (b 7:2)",), ("/dev/loop10 (b 7:10)",)] == nodes
        assert running[2].why_not.startswith("request disk: 0 of the 1 devices asked for fit")
        for one in running[:2]:
            await bench.node.end(one)

    await bench.run(check)
    assert () == bench.node.left()


async def test_asked_again_it_gives_the_same_answer(bench: Bench) -> None:
    """Also after a restart, with the CDI file gone and an image attached by the pod."""

    async def check(bench: Bench, pod: Json) -> None:
        bound = bench.node.bind(pod)
        assert not isinstance(bound, str)
        (claim,) = bound.refs.values()
        first = bench.driver().prepare(claim)
        (spec,) = bench.node.cdi_folder.iterdir()
        before = spec.read_bytes()
        spec.unlink()
        (bench.sysfs / "block/loop2/loop").mkdir()
        assert first == bench.driver().prepare(claim)
        assert before == spec.read_bytes()

    await bench.run(check)


async def test_a_device_is_not_given_twice(bench: Bench) -> None:
    """Two claims with one device, as after a force-deletion: the second is refused."""

    async def check(bench: Bench, pod: Json) -> None:
        bound = bench.node.bind(pod)
        assert not isinstance(bound, str)
        (claim,) = bound.claims.values()
        (holder,) = bound.refs.values()
        twin = bench.node.api.create(
            claim | {"metadata": {"namespace": "loop-test", "name": "twin"}}
        )
        second = dra.ClaimRef(namespace="loop-test", name="twin", uid=twin["metadata"]["uid"])
        bench.driver().prepare(holder)
        with pytest.raises(dra.DeviceRefused, match="loop2 is another claim's"):
            bench.driver().prepare(second)
        bench.driver().unprepare(holder)
        assert "loop2" == bench.driver().prepare(second)[0].device

    await bench.run(check)


async def test_a_record_that_cannot_be_read_holds_everything(bench: Bench) -> None:
    """Nobody knows what it names; the way out is its claim's unprepare."""

    async def check(bench: Bench, pod: Json) -> None:
        bound = bench.node.bind(pod)
        assert not isinstance(bound, str)
        (claim,) = bound.refs.values()
        (bench.state / "claims").mkdir(parents=True)
        (bench.state / "claims/another.json").write_text("{")
        with pytest.raises(dra.DeviceRefused):
            bench.driver().prepare(claim)
        bench.driver().unprepare(dra.ClaimRef(namespace="x", name="y", uid="another"))
        assert bench.driver().prepare(claim)

    await bench.run(check)


async def test_what_the_pod_left_is_detached(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """And while that fails, the claim is not forgotten."""
    image = bench.sysfs / "block/loop2/loop"
    told = []

    def stubborn(name: str) -> None:
        told.append(name)
        if len(told) == 1:
            raise dra.DeviceRefused(f"{name} keeps its image", remedy="pull")
        image.rmdir()

    monkeypatch.setattr(loop_driver, "detach", stubborn)

    async def check(bench: Bench, pod: Json) -> None:
        running = await bench.node.start(pod)
        image.mkdir()
        assert ("loop2 keeps its image: pull",) == await bench.node.unprepare(running.bound)
        assert 1 == len(list((bench.state / "claims").iterdir()))
        await bench.node.end(running)

    await bench.run(check)
    assert ["loop2", "loop2"] == told
    assert () == bench.node.left()


def test_detaching_what_cannot_be_opened_is_an_error_that_can_be_told() -> None:
    """It reaches the pod's events, not the log as a bug."""
    with pytest.raises(dra.DeviceRefused, match="loop-none keeps its image: losetup -d loop-none"):
        loop_driver.detach("loop-none")


async def test_a_device_that_is_gone_or_busy_is_refused(bench: Bench) -> None:
    """The slice may be older than the machine."""

    async def check(bench: Bench, pod: Json) -> None:
        (bench.sysfs / "block/loop2/loop").mkdir()
        running = await bench.node.start(pod)
        assert "loop2 is gone or in use: see losetup --list" == running.why_not
        await bench.node.end(running)

    await bench.run(check)
    assert () == bench.node.left()


def test_the_demo_shows_a_pod_and_nothing_left(sysfs: Path) -> None:
    """``--demo`` needs no cluster."""
    (line,) = typed_lines("examples/custom_driver/README.md", program="python examples/")[:1]
    command = [*shlex.split(line.replace("python", sys.executable, 1)), f"--sysfs={sysfs}"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    assert [
        "pod0 runs",
        "  ctr0: /dev/loop2 (b 7:2)",
        "  ctr0: LOOP_DEVICE_DISK=/dev/loop2",
        "left over: nothing",
    ] == done.stdout.splitlines()


async def test_it_is_served_until_it_is_told_to_stop(bench: Bench) -> None:
    """Registered and published; the slices stay."""
    stop = asyncio.Event()
    kube = dra.in_memory(bench.node.api, driver=DRIVER, node=bench.node.name)
    driver = bench.driver()
    plugin = dra.KubeletPlugin(DRIVER, dra.OneByOne(driver), kubelet_dir=bench.node.kubelet_folder)
    serving = asyncio.create_task(
        dra.serve(plugin, look=driver.look, kube=kube, node=bench.node.name, stop=stop)
    )
    async with bench.node:
        while not bench.node.api.list("ResourceSlice"):  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.01)
        await bench.node.register()
        assert plugin.is_registered
        stop.set()
        await serving
    (left,) = bench.node.api.list("ResourceSlice")
    assert 5 == len(left["spec"]["devices"])
    assert () == bench.node.left()
