"""What the kubelet gets from a plugin, over real unix sockets."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from ibdra_adapters.kubelet import FakeKubelet, KubeletPlugin, sockets
from ibdra_domain.errors import ClaimRefused, IbdraError, InvalidIdentifier, KubeletFailed
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

NAME = "ib.example.org"
Prepared = Mapping[str, tuple[PreparedDevice, ...] | IbdraError]
Unprepared = Mapping[str, IbdraError | None]


def claim(number: int) -> ClaimRef:
    """Give a claim."""
    return ClaimRef(namespace="ns", name=f"claim-{number}", uid=f"uid-{number}")


def device(ref: ClaimRef, *, share_id: str | None = None) -> PreparedDevice:
    """Give the device that the driver below has for a claim."""
    return PreparedDevice(
        requests=("ib", "storage"),
        pool="node-1",
        device="pci-0000-3b-00-1-port1",
        cdi_ids=(f"{NAME}/claim={ref.uid}",),
        share_id=share_id,
    )


class Driver:
    """A driver that does its duty, and tells what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[ClaimRef, ...]] = []

    def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
        self.asked.append(tuple(claims))
        return {ref.uid: (device(ref),) for ref in claims}

    def unprepare(self, claims: Sequence[ClaimRef]) -> Unprepared:
        self.asked.append(tuple(claims))
        return dict.fromkeys((ref.uid for ref in claims), None)


class Scripted(Driver):
    """A driver that answers, or raises, whatever the test says."""

    def __init__(self, answer: Callable[[], object]) -> None:
        super().__init__()
        self.answer = answer

    def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
        super().prepare(claims)
        return self.answer()  # type: ignore[return-value] # the point is what is wrong with it

    def unprepare(self, claims: Sequence[ClaimRef]) -> Unprepared:
        super().unprepare(claims)
        return self.answer()  # type: ignore[return-value] # the point is what is wrong with it


def raising(error: Exception) -> Callable[[], object]:
    """Give an answer that is none."""

    def answer() -> object:
        raise error

    return answer


def sockets_in(folder: Path) -> list[Path]:
    """List the sockets below a folder, hidden ones too."""
    return sorted(path for path in folder.rglob("*") if path.is_socket())


def modes_in(folder: Path) -> dict[str, int]:
    """Give the access rights of all that is below a folder."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
    }


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a kubelet's folder with a short path."""
    return tmp_path_factory.mktemp("k")


@pytest.fixture(params=["v1.DRAPlugin", "v1beta1.DRAPlugin"])
async def kubelet(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[FakeKubelet]:
    """Give a kubelet that knows one version only."""
    async with FakeKubelet(folder, versions=[request.param]) as fake:
        yield fake


async def test_a_claim_is_prepared_and_unprepared(kubelet: FakeKubelet, folder: Path) -> None:
    """In both versions the driver's devices reach the kubelet whole."""
    driver = Driver()
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])
        assert {"uid-1": None} == await kubelet.unprepare([claim(1)])
    assert [(claim(1),), (claim(1),)] == driver.asked


async def test_asking_again_gives_the_same_answer(kubelet: FakeKubelet, folder: Path) -> None:
    """The plugin keeps nothing between calls that could change an answer."""
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder):
        await kubelet.register()
        first = await kubelet.prepare([claim(1), claim(2)])
        assert first == await kubelet.prepare([claim(1), claim(2)])
        gone = await kubelet.unprepare([claim(1), claim(2)])
        assert gone == await kubelet.unprepare([claim(1), claim(2)])


async def test_one_claims_error_leaves_the_others_alone(kubelet: FakeKubelet, folder: Path) -> None:
    """An IbdraError is its claim's error, word for word; the other claim has its devices."""
    refused = ClaimRefused("claim ns/claim-2 is gone", remedy="delete the pod")
    driver = Scripted(lambda: {"uid-1": (device(claim(1), share_id="s"),), "uid-2": refused})
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        expected = {
            "uid-1": (device(claim(1), share_id="s"),),
            "uid-2": "claim ns/claim-2 is gone: delete the pod",
        }
        assert expected == await kubelet.prepare([claim(1), claim(2)])
        driver.answer = lambda: {"uid-1": None, "uid-2": refused}
        assert {"uid-1": None, "uid-2": str(refused)} == await kubelet.unprepare(
            [claim(1), claim(2)]
        )


async def test_an_error_of_the_whole_call_is_every_claims_error(
    kubelet: FakeKubelet, folder: Path
) -> None:
    """A driver that raises an IbdraError has said it about each claim."""
    driver = Scripted(raising(ClaimRefused("the node is drained", remedy="wait")))
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        expected = dict.fromkeys(("uid-1", "uid-2"), "the node is drained: wait")
        assert expected == await kubelet.prepare([claim(1), claim(2)])
        assert expected == await kubelet.unprepare([claim(1), claim(2)])


async def test_a_bug_is_named_and_logged(
    kubelet: FakeKubelet, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The claim's error names the exception's type, the log has the traceback."""
    async with KubeletPlugin(
        NAME, Scripted(raising(ZeroDivisionError("oops"))), kubelet_dir=folder
    ):
        await kubelet.register()
        for verb, call in (("prepare", kubelet.prepare), ("unprepare", kubelet.unprepare)):
            caplog.clear()
            text = (await call([claim(1)]))["uid-1"]
            assert text == (
                f"claim ns/claim-1 (uid-1) hit a bug of the driver in {verb}, ZeroDivisionError: "
                "look in the driver's log for the traceback"
            )
            (record,) = (r for r in caplog.records if r.levelno == logging.ERROR)
            assert record.exc_info is not None
            assert ZeroDivisionError is record.exc_info[0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(None, "TypeError", id="no mapping"),
        pytest.param({"uid-1": "text"}, "TypeError", id="no tuple"),
        pytest.param({"uid-1": ("text",)}, "TypeError", id="no device"),
        pytest.param(
            {"uid-1": (PreparedDevice(requests=(), pool="\udcff", device="d", cdi_ids=()),)},
            "UnicodeEncodeError",
            id="no UTF-8",
        ),
        pytest.param(
            {"uid-1": (PreparedDevice(requests=(7,), pool="p", device="d", cdi_ids=()),)},  # type: ignore[arg-type] # the point is what is wrong with it
            "AttributeError",
            id="no text",
        ),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_the_claims_error(
    folder: Path, answer: object, kind: str
) -> None:
    """What a driver without type checks may return never breaks the whole call."""
    async with (
        KubeletPlugin(NAME, Scripted(lambda: answer), kubelet_dir=folder),
        FakeKubelet(folder) as kubelet,
    ):
        await kubelet.register()
        assert kind in str((await kubelet.prepare([claim(1)]))["uid-1"])
        assert "bug of the driver" in str((await kubelet.unprepare([claim(1)]))["uid-1"])


async def test_an_error_text_that_is_no_utf8_is_escaped(folder: Path) -> None:
    """A strange file name in an error reaches the kubelet readably."""
    error = ClaimRefused("file \udcff is bad", remedy="remove it")
    async with (
        KubeletPlugin(NAME, Scripted(lambda: {"uid-1": error}), kubelet_dir=folder),
        FakeKubelet(folder) as kubelet,
    ):
        await kubelet.register()
        expected = {"uid-1": r"file \udcff is bad: remove it"}
        assert expected == await kubelet.prepare([claim(1)])


async def test_a_claim_the_driver_forgot_gets_an_error(kubelet: FakeKubelet, folder: Path) -> None:
    """Every claim asked for stands in the answer, even if the driver left it out."""
    driver = Scripted(lambda: {"uid-1": (device(claim(1)),)})
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        prepared = await kubelet.prepare([claim(1), claim(2)])
        assert (device(claim(1)),) == prepared["uid-1"]
        assert "was left out of the driver's answer to prepare" in str(prepared["uid-2"])
        driver.answer = dict
        unprepared = await kubelet.unprepare([claim(1)])
        assert "was left out of the driver's answer to unprepare" in str(unprepared["uid-1"])


async def test_a_claim_nobody_asked_for_is_not_passed_on(
    kubelet: FakeKubelet, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unknown UID would make the kubelet drop the answer, so it is logged and dropped."""
    driver = Scripted(lambda: {"uid-1": (), "uid-9": ()})
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        assert {"uid-1": ()} == await kubelet.prepare([claim(1)])
        driver.answer = lambda: {"uid-1": None, "uid-9": None}
        assert {"uid-1": None} == await kubelet.unprepare([claim(1)])
    assert 2 == caplog.text.count("claim uid-9, its answer is dropped")


async def test_a_claim_named_twice_is_handled_once(kubelet: FakeKubelet, folder: Path) -> None:
    """Duplicates in one call reach the driver as one claim."""
    driver = Driver()
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        await kubelet.prepare([claim(1), claim(2), claim(1)])
        await kubelet.unprepare([claim(1), claim(1)])
    assert [(claim(1), claim(2)), (claim(1),)] == driver.asked


async def test_one_uid_with_two_names_is_refused(kubelet: FakeKubelet, folder: Path) -> None:
    """Which claim is meant is not guessed."""
    driver = Driver()
    other = ClaimRef(namespace="ns", name="other", uid="uid-1")
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        prepared = await kubelet.prepare([claim(1), other, claim(2)])
    assert "stands for ns/other (uid-1) and ns/claim-1 (uid-1)" in str(prepared["uid-1"])
    assert [(claim(2),)] == driver.asked


@pytest.mark.parametrize(
    "bad",
    [
        ClaimRef(namespace="ns", name="claim", uid=""),
        ClaimRef(namespace="ns", name="", uid="uid"),
        ClaimRef(namespace="", name="claim", uid="uid"),
    ],
    ids=["uid", "name", "namespace"],
)
async def test_a_nameless_claim_is_refused(folder: Path, bad: ClaimRef) -> None:
    """A claim that cannot be looked up never reaches the driver."""
    driver = Driver()
    async with (
        KubeletPlugin(NAME, driver, kubelet_dir=folder),
        FakeKubelet(folder) as kubelet,
    ):
        await kubelet.register()
        prepared = await kubelet.prepare([bad, claim(1)])
        assert "has no UID, name or namespace" in str(prepared[bad.uid])
        assert "has no UID, name or namespace" in str((await kubelet.unprepare([bad]))[bad.uid])
    assert [(claim(1),)] == driver.asked


async def test_asking_for_nothing_gives_nothing(kubelet: FakeKubelet, folder: Path) -> None:
    """An empty request is answered without the driver."""
    driver = Driver()
    async with KubeletPlugin(NAME, driver, kubelet_dir=folder):
        await kubelet.register()
        assert {} == await kubelet.prepare([])
        assert {} == await kubelet.unprepare([])
    assert [] == driver.asked


async def test_sixteen_pods_at_once(kubelet: FakeKubelet, folder: Path) -> None:
    """Concurrent callers each get their own claims' answers."""
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder):
        await kubelet.register()
        pairs = [(claim(2 * n), claim(2 * n + 1)) for n in range(16)]
        prepared = await asyncio.gather(*(kubelet.prepare(pair) for pair in pairs))
        assert [{ref.uid: (device(ref),) for ref in pair} for pair in pairs] == prepared
        unprepared = await asyncio.gather(*(kubelet.unprepare(pair) for pair in pairs))
        assert [{ref.uid: None for ref in pair} for pair in pairs] == unprepared


async def test_a_slow_driver_does_not_hold_up_the_next_call(
    kubelet: FakeKubelet, folder: Path
) -> None:
    """Two calls are in the driver at the same time."""
    meeting = threading.Barrier(2, timeout=30)

    class Meeting(Driver):
        def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
            meeting.wait()
            return super().prepare(claims)

    async with KubeletPlugin(NAME, Meeting(), kubelet_dir=folder):
        await kubelet.register()
        answers = await asyncio.gather(kubelet.prepare([claim(1)]), kubelet.prepare([claim(2)]))
    assert [{f"uid-{n}": (device(claim(n)),)} for n in (1, 2)] == list(answers)


async def test_a_call_that_takes_too_long_is_given_up(folder: Path) -> None:
    """At its deadline the kubelet stops waiting; the driver finishes, and is asked again."""
    go_on = threading.Event()

    class Stuck(Driver):
        def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
            go_on.wait()
            return super().prepare(claims)

    async with (
        KubeletPlugin(NAME, Stuck(), kubelet_dir=folder),
        FakeKubelet(folder) as patient,
        FakeKubelet(folder, deadline=0.5) as hasty,
    ):
        await patient.register()
        await hasty.register()
        with pytest.raises(KubeletFailed, match=r"not answered within 0\.5 s, DEADLINE_EXCEEDED"):
            await hasty.prepare([claim(1)])
        go_on.set()
        assert {"uid-1": (device(claim(1)),)} == await patient.prepare([claim(1)])


class Waiting(Driver):
    """A driver whose prepare waits, as for an API server that is away."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.threads: list[str] = []

    def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
        self.threads.append(threading.current_thread().name)
        self.go_on.wait()
        return super().prepare(claims)


async def reached(look: Callable[[], bool]) -> None:
    """Wait until a look is true."""
    async with asyncio.timeout(30):
        while not look():  # noqa: ASYNC110 -- what is looked at has no event of its own
            await asyncio.sleep(0.01)


async def test_calls_that_wait_hold_up_nothing_else(folder: Path) -> None:
    """However many there are, the process' other threads run, and it passes for alive."""
    driver, many = Waiting(), min(32, (os.cpu_count() or 1) + 4)
    async with (
        KubeletPlugin(NAME, driver, kubelet_dir=folder) as plugin,
        FakeKubelet(folder) as kubelet,
    ):
        await kubelet.register()
        calls = [asyncio.create_task(kubelet.prepare([claim(n)])) for n in range(many)]
        try:
            await reached(lambda: len(driver.threads) == many)
            await plugin.ask(deadline=5.0)
            async with asyncio.timeout(5.0):
                await asyncio.to_thread(threading.current_thread)
        finally:
            driver.go_on.set()
        answers = await asyncio.gather(*calls)
    assert [{f"uid-{n}": (device(claim(n)),)} for n in range(many)] == list(answers)
    assert {True} == {name.startswith("ibdra-kubelet") for name in driver.threads}


async def test_only_so_many_calls_are_in_the_driver(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further ones wait; what the kubelet gives up before its turn never reaches the driver."""
    monkeypatch.setattr("ibdra_adapters.kubelet.plugin.CALLS", 2)
    driver = Waiting()
    async with (
        KubeletPlugin(NAME, driver, kubelet_dir=folder) as plugin,
        FakeKubelet(folder) as kubelet,
        FakeKubelet(folder, deadline=0.3) as hasty,
    ):
        await kubelet.register()
        await hasty.register()
        calls = [asyncio.create_task(kubelet.prepare([claim(n)])) for n in range(2)]
        try:
            await reached(lambda: len(driver.threads) == 2)
            with pytest.raises(KubeletFailed, match="DEADLINE_EXCEEDED"):
                await hasty.prepare([claim(2)])
            further = asyncio.create_task(kubelet.unprepare([claim(3)]))
            await plugin.ask(deadline=5.0)
            assert 2 == len(driver.threads)
            assert not further.done()
        finally:
            driver.go_on.set()
        assert {"uid-3": None} == await further
        await asyncio.gather(*calls)
    assert {(claim(n),) for n in (0, 1, 3)} == set(driver.asked)


async def test_a_call_that_hangs_does_not_hold_up_the_stop(folder: Path) -> None:
    """It gets the grace and is given up then; its thread ends by itself, if ever."""
    driver = Waiting()
    plugin = KubeletPlugin(NAME, driver, kubelet_dir=folder)
    async with FakeKubelet(folder) as kubelet:
        await plugin.start()
        await kubelet.register()
        call = asyncio.create_task(kubelet.prepare([claim(1)]))
        try:
            await reached(lambda: bool(driver.threads))
            async with asyncio.timeout(10):
                await plugin.stop(0.1)
            with pytest.raises(KubeletFailed):
                await call
            assert [] == driver.asked
        finally:
            driver.go_on.set()
        await reached(lambda: driver.threads[0] not in {t.name for t in threading.enumerate()})
        async with plugin:
            await kubelet.register()
            assert {"uid-2": (device(claim(2)),)} == await kubelet.prepare([claim(2)])


async def test_the_plugin_knows_that_it_is_registered(folder: Path) -> None:
    """The event is set when the kubelet has taken the plugin, and cleared at stop."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    async with plugin, FakeKubelet(folder) as kubelet:
        assert not plugin.registered.is_set()
        (found,) = await kubelet.register()
        await plugin.registered.wait()
        assert plugin.refusal is None
        assert (NAME, plugin.paths.plugin, "v1.DRAPlugin", plugin.paths.registration) == (
            found.driver_name,
            found.endpoint,
            found.version,
            found.socket,
        )
    assert not plugin.registered.is_set()


async def test_the_plugin_knows_that_it_was_refused(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A kubelet that knows no version in common says so to both sides; another may take it."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    async with (
        plugin,
        FakeKubelet(folder, versions=["v9.DRAPlugin"]) as stranger,
        FakeKubelet(folder) as kubelet,
    ):
        reason = "it supports v1.DRAPlugin, v1beta1.DRAPlugin, this kubelet knows none"
        with pytest.raises(KubeletFailed, match=reason):
            await stranger.register()
        assert reason == plugin.refusal
        assert not plugin.registered.is_set()
        assert reason in caplog.text
        assert () == stranger.plugins
        await kubelet.register()
        assert plugin.refusal is None
        assert plugin.registered.is_set()


async def test_the_newest_common_version_is_spoken(folder: Path) -> None:
    """The kubelet takes the first announced version that it knows."""
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder):
        for known, chosen in (
            (["v1beta1.DRAPlugin", "v1.DRAPlugin"], "v1.DRAPlugin"),
            (["v1beta1.DRAPlugin"], "v1beta1.DRAPlugin"),
        ):
            async with FakeKubelet(folder, versions=known) as kubelet:
                (found,) = await kubelet.register()
                assert chosen == found.version


async def test_the_endpoint_can_be_named_as_the_kubelet_sees_it(folder: Path) -> None:
    """Where the folder is mounted elsewhere in our container, the kubelet gets its own path."""
    other = folder / "o"
    plugin = KubeletPlugin(
        NAME, Driver(), kubelet_dir=folder / "a", endpoint=other / f"plugins/{NAME}/dra.sock"
    )
    async with plugin, FakeKubelet(folder / "a") as kubelet:
        other.symlink_to(folder / "a")
        (found,) = await kubelet.register()
        assert other / f"plugins/{NAME}/dra.sock" == found.endpoint
        assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])
    with pytest.raises(KubeletFailed, match="has 206 bytes"):
        KubeletPlugin(NAME, Driver(), kubelet_dir=folder, endpoint=Path("/" + "e" * 205))


async def test_bad_names_are_refused_before_anything_is_made(folder: Path) -> None:
    """A bad driver name is an error of its own kind and leaves no trace."""
    with pytest.raises(InvalidIdentifier, match=r"'\.\./up' is not a driver name"):
        KubeletPlugin("../up", Driver(), kubelet_dir=folder)
    assert {} == modes_in(folder)


async def test_sockets_are_closed_to_others(folder: Path) -> None:
    """Sockets have mode 0600 in folders of mode 0750, with nothing else in them."""
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=folder):
        modes = modes_in(folder)
    assert {
        "plugins": 0o750,
        f"plugins/{NAME}": 0o750,
        f"plugins/{NAME}/dra.sock": 0o600,
        "plugins_registry": 0o750,
        f"plugins_registry/{NAME}-reg.sock": 0o600,
    } == modes


async def test_folders_with_odd_names_are_served(folder: Path) -> None:
    """Characters that mean something in gRPC's addresses are only characters."""
    odd = folder / "a b%41?c#ü"
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=odd), FakeKubelet(odd) as kubelet:
        await kubelet.register()
        assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])


async def test_stopping_removes_both_sockets(folder: Path) -> None:
    """After stop nothing is left to dial, a second stop is no error, and a start works again."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    async with FakeKubelet(folder) as kubelet:
        for _ in range(2):
            await plugin.start()
            assert 1 == len(await kubelet.register())
            await kubelet.prepare([claim(1)])
            await plugin.stop()
            assert [] == sockets_in(folder)
            await plugin.stop()
        assert () == await kubelet.register()
        assert () == kubelet.plugins


async def test_stopping_lets_calls_under_way_finish(folder: Path) -> None:
    """A claim that is being prepared at stop is answered."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Driver):
        def prepare(self, claims: Sequence[ClaimRef]) -> Prepared:
            entered.set()
            go_on.wait()
            return super().prepare(claims)

    plugin = KubeletPlugin(NAME, Slow(), kubelet_dir=folder)
    async with FakeKubelet(folder) as kubelet:
        await plugin.start()
        await kubelet.register()
        call = asyncio.create_task(kubelet.prepare([claim(1)]))
        await asyncio.to_thread(entered.wait)

        async def release() -> None:
            assert [plugin.paths.plugin] == sockets_in(folder)
            go_on.set()

        await asyncio.gather(plugin.stop(30), release())
        assert {"uid-1": (device(claim(1)),)} == await call


async def test_a_running_plugin_is_not_started_again(folder: Path) -> None:
    """A second start is refused and harms nothing."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    async with plugin, FakeKubelet(folder) as kubelet:
        with pytest.raises(KubeletFailed, match="it runs already: stop it first"):
            await plugin.start()
        assert 1 == len(await kubelet.register())


async def test_a_killed_instances_sockets_are_replaced(folder: Path) -> None:
    """Stale sockets neither stop the start nor mislead the kubelet."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    for path in (plugin.paths.plugin, plugin.paths.registration):
        path.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(path))
    async with FakeKubelet(folder) as kubelet:
        with pytest.raises(KubeletFailed, match=r"GetInfo was not answered .* UNAVAILABLE"):
            await kubelet.register()
        async with plugin:
            await kubelet.register()
            assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])


async def test_a_newer_plugins_sockets_survive_the_older_ones_stop(folder: Path) -> None:
    """An instance that was replaced at the same paths takes nothing away when it stops."""
    old = KubeletPlugin(NAME, Scripted(dict), kubelet_dir=folder)
    new = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    await old.start()
    async with new, FakeKubelet(folder) as kubelet:
        await old.stop()
        assert new.paths.plugin.is_socket()
        assert new.paths.registration.is_socket()
        await kubelet.register()
        assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])
    assert [] == sockets_in(folder)


async def test_a_rolling_update_hands_over(folder: Path) -> None:
    """Of two instances the one that registered last is called; when it goes, the other is."""
    first, second = Driver(), Driver()
    async with FakeKubelet(folder) as kubelet:
        async with KubeletPlugin(NAME, first, kubelet_dir=folder, instance="pod-1"):
            await kubelet.register()
            async with KubeletPlugin(NAME, second, kubelet_dir=folder, instance="pod-2"):
                await kubelet.register()
                assert 2 == len(kubelet.plugins)
                await kubelet.prepare([claim(1)])
            await kubelet.register()
            await kubelet.prepare([claim(2)])
        assert [(claim(2),)] == first.asked
        assert [(claim(1),)] == second.asked


async def test_a_failed_start_leaves_nothing_behind(folder: Path) -> None:
    """If the second socket cannot be put in place, the first one goes away again."""
    plugin = KubeletPlugin(NAME, Driver(), kubelet_dir=folder)
    plugin.paths.registration.mkdir(parents=True)
    with pytest.raises(KubeletFailed, match="something that is no socket lies there"):
        await plugin.start()
    assert [] == sockets_in(folder)
    plugin.paths.registration.rmdir()
    async with plugin, FakeKubelet(folder) as kubelet:
        assert 1 == len(await kubelet.register())


async def test_what_grpc_cannot_bind_is_our_own_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of gRPC's own is chained below one that names the socket."""
    monkeypatch.setattr(sockets, "hidden_name", lambda path: path.parent / "missing" / ".x")
    with pytest.raises(KubeletFailed, match=r"dra\.sock cannot be served") as caught:
        await KubeletPlugin(NAME, Driver(), kubelet_dir=folder).start()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_a_driver_is_chosen_by_name(folder: Path) -> None:
    """With two drivers registered, the caller says which one; with none, there is an error."""
    one, other = Driver(), Driver()
    async with FakeKubelet(folder) as kubelet:
        with pytest.raises(KubeletFailed, match=r"registered \(none\)"):
            await kubelet.prepare([claim(1)])
        async with (
            KubeletPlugin("one", one, kubelet_dir=folder),
            KubeletPlugin("other", other, kubelet_dir=folder),
        ):
            assert 2 == len(await kubelet.register())
            with pytest.raises(KubeletFailed, match=r"registered \(one, other\)"):
                await kubelet.prepare([claim(1)])
            await kubelet.prepare([claim(1)], driver_name="one")
            await kubelet.unprepare([claim(2)], driver_name="other")
    assert [(claim(1),)] == one.asked
    assert [(claim(2),)] == other.asked


def both_there(plugin: KubeletPlugin) -> None:
    """Wait until both sockets are in their places."""
    deadline = time.monotonic() + 30
    while not (plugin.paths.plugin.exists() and plugin.paths.registration.exists()):
        assert time.monotonic() < deadline, "not served again"
        time.sleep(0.01)


@pytest.mark.parametrize("lost", ["folders", "registration", "plugin"])
async def test_sockets_that_somebody_removed_are_served_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """A kubelet that comes to wiped folders finds the driver, and its calls are answered."""
    monkeypatch.setattr("ibdra_adapters.kubelet.plugin.LOOK", 0.01)
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=tmp_path) as plugin:
        if lost == "folders":
            shutil.rmtree(tmp_path / sockets.REGISTRY)
            shutil.rmtree(tmp_path / sockets.PLUGINS)
        else:
            getattr(plugin.paths, lost).unlink()
        await asyncio.to_thread(both_there, plugin)
        async with FakeKubelet(tmp_path) as kubelet:
            await kubelet.register()
            assert {"uid-1": (device(claim(1)),)} == await kubelet.prepare([claim(1)])


async def test_one_that_cannot_serve_any_more_does_not_pass_for_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod whose mounted folder was removed on the host: only a restart helps there."""
    monkeypatch.setattr("ibdra_adapters.kubelet.plugin.LOOK", 0.01)
    async with KubeletPlugin(NAME, Driver(), kubelet_dir=tmp_path) as plugin:
        shutil.rmtree(tmp_path / sockets.PLUGINS)
        (tmp_path / sockets.PLUGINS).write_text("")
        await asyncio.sleep(0.1)
        assert plugin.serving
        with pytest.raises(KubeletFailed):
            await plugin.ask(deadline=1.0)
        (tmp_path / sockets.PLUGINS).unlink()
        await asyncio.to_thread(both_there, plugin)
        await plugin.ask(deadline=5.0)


async def test_another_instances_sockets_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without names of their own the later instance has the place, and the first does not fight."""
    monkeypatch.setattr("ibdra_adapters.kubelet.plugin.LOOK", 0.01)
    first, second = (KubeletPlugin(NAME, Driver(), kubelet_dir=tmp_path) for _ in range(2))
    async with first, second:
        inode = second.paths.plugin.stat().st_ino
        await asyncio.sleep(0.1)
        assert inode == first.paths.plugin.stat().st_ino
