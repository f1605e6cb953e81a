"""What the kubelet is told of devices' health, over real unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from contract.kubelet.test_kubelet_contract import NAME, Driver
from ibdra_adapters.kubelet import FakeKubelet, KubeletPlugin, health, health_wire
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import DeviceHealth, HealthStatus

SECONDS = 20.0
GOOD = DeviceHealth(
    pool="node-1", device="pci-1", status=HealthStatus.HEALTHY, updated=1_767_225_600, timeout=60
)
BAD = replace(GOOD, device="pci-2", status=HealthStatus.UNHEALTHY, message="port 1 is Down")
LATER = replace(GOOD, device="pci-3", status=HealthStatus.UNKNOWN, timeout=0)


class Source:
    """Devices' health as the test says it is."""

    def __init__(self, *devices: DeviceHealth) -> None:
        self.devices = devices
        self.subscribers: list[Callable[[], object]] = []

    def health(self) -> tuple[DeviceHealth, ...]:
        return self.devices

    def subscribe(self, changed: Callable[[], object]) -> Callable[[], None]:
        self.subscribers.append(changed)
        return lambda: self.subscribers.remove(changed)

    async def change(self, *devices: DeviceHealth) -> None:
        """Change it, and tell so from another thread."""
        self.devices = devices
        for subscriber in list(self.subscribers):
            await asyncio.to_thread(subscriber)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a kubelet's folder with a short path."""
    return tmp_path_factory.mktemp("k")


@pytest.fixture(params=["v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"])
async def kubelet(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[FakeKubelet]:
    """Give a kubelet that knows one version of the health service only."""
    async with FakeKubelet(folder, health_versions=[request.param]) as fake:
        yield fake


async def test_the_whole_list_comes_at_once_and_at_every_change(
    kubelet: FakeKubelet, folder: Path
) -> None:
    """In both versions, with every field; a device that left is missing from the next list."""
    source = Source(GOOD, BAD)
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=source):
        await kubelet.register()
        async with asyncio.timeout(SECONDS), aclosing(kubelet.watch_health()) as lists:
            assert (GOOD, BAD) == await anext(lists)
            await source.change(GOOD, BAD, LATER)
            assert (GOOD, BAD, LATER) == await anext(lists)
            await source.change(LATER)
            assert (LATER,) == await anext(lists)
            await source.change()
            assert () == await anext(lists)


async def test_without_a_change_the_list_comes_again(
    kubelet: FakeKubelet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet would take the devices for unknown."""
    monkeypatch.setattr(health, "LONGEST_SILENCE", 0.05)
    source = Source(GOOD)
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=source):
        await kubelet.register()
        async with asyncio.timeout(SECONDS), aclosing(kubelet.watch_health()) as lists:
            assert [(GOOD,)] * 3 == [await anext(lists) for _ in range(3)]


@pytest.mark.parametrize(
    ("timeouts", "v1", "v1alpha1"),
    [((), 15, 15), ((0,), 15, 15), ((60, 60), 30, 15), ((600,), 30, 15), ((60, 10), 5, 5)],
    ids=["no device", "default", "a minute", "long", "short"],
)
def test_it_is_told_again_in_half_the_time_the_kubelet_waits(
    timeouts: tuple[int, ...], v1: float, v1alpha1: float
) -> None:
    """Kubelets before 1.36 wait 30 seconds, whatever they are told."""
    devices = [replace(GOOD, timeout=timeout) for timeout in timeouts]
    assert v1 == health.silence(devices, version=health_wire.V1)
    assert v1alpha1 == health.silence(devices, version=health_wire.V1ALPHA1)


async def test_every_watcher_is_told(folder: Path) -> None:
    """Two kubelets never watch, but one that hung up and came back may look like two."""
    source = Source(GOOD)
    async with (
        KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=source),
        FakeKubelet(folder) as one,
        FakeKubelet(folder) as two,
        asyncio.timeout(SECONDS),
    ):
        await one.register()
        await two.register()
        async with aclosing(one.watch_health()) as first, aclosing(two.watch_health()) as second:
            assert (GOOD,) == await anext(first) == await anext(second)
            await source.change(BAD)
            assert (BAD,) == await anext(first) == await anext(second)


async def test_who_hangs_up_is_forgotten(kubelet: FakeKubelet, folder: Path) -> None:
    """Streams come and go for as long as a node runs."""
    source = Source(GOOD)
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=source):
        await kubelet.register()
        async with asyncio.timeout(SECONDS):
            for _ in range(3):
                async with aclosing(kubelet.watch_health()) as lists:
                    assert (GOOD,) == await anext(lists)
            while source.subscribers:  # noqa: ASYNC110 -- it has no event of its own
                await asyncio.sleep(0.01)


async def test_stopping_ends_the_stream_at_once(kubelet: FakeKubelet, folder: Path) -> None:
    """A stream never ends by itself: the grace of a stop would be waited out."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=Source(GOOD))
    await plugin.start()
    await kubelet.register()
    async with asyncio.timeout(SECONDS), aclosing(kubelet.watch_health()) as lists:
        assert (GOOD,) == await anext(lists)
        async with asyncio.timeout(5):
            await plugin.stop(grace=60)
        assert [] == [devices async for devices in lists]


async def test_a_plugin_that_starts_again_tells_again(folder: Path) -> None:
    """As it does when its socket was taken away."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=Source(GOOD))
    for _ in range(2):
        async with plugin, FakeKubelet(folder) as kubelet, asyncio.timeout(SECONDS):
            await kubelet.register()
            async with aclosing(kubelet.watch_health()) as lists:
                assert (GOOD,) == await anext(lists)


async def test_it_is_announced_after_the_claims_service_newest_first(folder: Path) -> None:
    """The kubelet takes the first version of each service that it knows."""
    async with (
        KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=Source()) as plugin,
        FakeKubelet(folder) as kubelet,
        FakeKubelet(folder, health_versions=()) as old,
    ):
        (found,) = await kubelet.register()
        assert ("v1.DRAPlugin", "v1.DRAResourceHealth") == (found.version, found.health_version)
        (found,) = await old.register()
        assert found.health_version is None
        info = await plugin._registration.get_info(None, None)  # type: ignore[arg-type] # unused
        assert [
            "v1.DRAPlugin",
            "v1beta1.DRAPlugin",
            "v1.DRAResourceHealth",
            "v1alpha1.DRAResourceHealth",
        ] == info.supported_versions


async def test_a_driver_without_health_announces_none(kubelet: FakeKubelet, folder: Path) -> None:
    """The kubelet would ask every five seconds."""
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder):
        (found,) = await kubelet.register()
        assert found.health_version is None
        with pytest.raises(KubeletFailed, match="tells nothing of its devices' health"):
            await anext(kubelet.watch_health())


async def test_a_source_that_fails_ends_the_stream(
    kubelet: FakeKubelet, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kubelet takes the devices for unknown then, and asks again."""

    class Broken(Source):
        def health(self) -> tuple[DeviceHealth, ...]:
            raise ValueError("a bug")

    source = Broken()
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder, health=source):
        await kubelet.register()
        with pytest.raises(KubeletFailed, match=r"NodeWatchResources ended, UNKNOWN"):
            await anext(kubelet.watch_health())
    assert [] == source.subscribers
    assert "a bug" in caplog.text


def test_a_message_that_is_no_utf8_is_escaped() -> None:
    """And a status of a later version is unknown to us."""
    response = health_wire.V1.response([replace(BAD, message="\udcff is bad")])
    (read,) = health_wire.read_health(response)
    assert r"\udcff is bad" == read.message
    response.devices[0].health = 7  # type: ignore[assignment] # of a later kubelet
    assert HealthStatus.UNKNOWN is health_wire.read_health(response)[0].status
