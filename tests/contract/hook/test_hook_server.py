"""What the program, and whoever else dials, gets from the daemon's socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.hook.hook_runs import NODES, UID, FakeHook, Helper, Ran, a_pod, netns_of, state_of
from ibdra_adapters.hook.server import HookServer
from ibdra_domain.errors import AttachRefused, HookFailed, IbdraError
from ibdra_domain.ports.runtime import ContainerStart

REQUEST = {"version": 1, "claim": UID, "nodes": NODES, "state": {"id": "c0ffee", "pid": 17}}
RAW = json.dumps(REQUEST).encode()
SOCKET_REMEDY = "look for what else connects to the driver's socket"


@contextlib.asynccontextmanager
async def serving(path: Path, hook: FakeHook, **settings: Any) -> AsyncIterator[HookServer]:
    """Serve a hook; there is nothing to wait for at the end."""
    server = HookServer(path, hook=hook, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(5)


_callers = ThreadPoolExecutor(200)


def dial(path: Path, raw: bytes, *, end: bool = True) -> dict[str, Any]:
    """Write something to the socket and give the answer, which may come before the end."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        with contextlib.suppress(OSError):
            client.sendall(raw)
            if end:
                client.shutdown(socket.SHUT_WR)
        return json.loads(client.recv(1 << 16))  # type: ignore[no-any-return] # it is an object


async def said(path: Path, raw: bytes, *, end: bool = True) -> dict[str, Any]:
    """Do so while the loop goes on."""
    work = partial(dial, path, raw, end=end)
    return await asyncio.get_running_loop().run_in_executor(_callers, work)


def raising(error: BaseException) -> Callable[[ContainerStart], None]:
    """Make an answer that is none."""

    def answer(_start: ContainerStart) -> None:
        raise error

    return answer


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something, at most half a minute."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 -- nothing tells when
            await asyncio.sleep(0.01)


def names_in(folder: Path) -> list[str]:
    """List a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def content(path: Path) -> bytes:
    """Read a file."""
    return path.read_bytes()


def descriptors() -> int:
    """Count what this process has open."""
    return len(names_in(Path("/proc/self/fd")))


@pytest.fixture
def path(folder: Path) -> Path:
    """Give a place for a socket."""
    return folder / "hook.sock"


async def test_a_container_may_start(helper: Helper) -> None:
    """The hook learns who starts; the program says yes, and nothing more."""
    hook = FakeHook()
    with a_pod() as pid:
        async with serving(helper.socket, hook):
            ran = await helper.ask(state_of(pid))
        assert netns_of(pid) != netns_of(os.getpid())
    assert Ran(0, "") == ran
    assert [ContainerStart(claim=UID, pid=pid, container="c0ffee", nodes=NODES)] == hook.asked


async def test_a_refusal_is_the_hooks_own_words(
    helper: Helper, caplog: pytest.LogCaptureFixture
) -> None:
    """The runtime shows them; the daemon's log has them too, with the container."""
    error = AttachRefused("mlx5_0 is “away”", remedy="wait\nthen %s")
    async with serving(helper.socket, FakeHook(raising(error))):
        ran = await helper.ask(state_of(17))
    assert Ran(1, f"ibdra: claim {UID}: mlx5_0 is “away”: wait then %s\n") == ran
    assert f"claim {UID}: container c0ffee refused: mlx5_0 is “away”" in caplog.text


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(0), KeyboardInterrupt()])
async def test_what_nobody_expected_is_a_refusal(
    helper: Helper, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """The runtime is not kept waiting, and the daemon lives on with the whole story logged."""
    name = type(error).__name__
    async with serving(helper.socket, FakeHook(raising(error))):
        for _ in range(2):
            ran = await helper.ask(state_of(17))
            expected = f"internal error ({name}): look at the driver's log and report it"
            assert Ran(1, f"ibdra: claim {UID}: {expected}\n") == ran
    (record, _) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert error is record.exc_info[1]


@pytest.mark.parametrize("reason", ["€" * 100_000, "\ud83d"], ids=["long", "half a pair"])
async def test_every_refusal_can_be_told(helper: Helper, reason: str) -> None:
    """Whatever stands in a message: it is bounded, and it is UTF-8."""
    error = IbdraError(reason, remedy="none")
    async with serving(helper.socket, FakeHook(raising(error))):
        ran = await helper.ask(state_of(17))
    assert 1 == ran.code
    assert ran.err.startswith(f"ibdra: claim {UID}: {'€' * 600 if '€' in reason else '?: none'}")


async def test_64_at_once(helper: Helper) -> None:
    """All of them are in the hook at the same time, and each gets its own answer."""
    together = threading.Barrier(64, timeout=60)

    def answer(start: ContainerStart) -> None:
        together.wait()
        if start.pid % 2:
            raise AttachRefused(f"process {start.pid} is odd", remedy="take another")

    async with serving(helper.socket, FakeHook(answer)):
        rans = await asyncio.gather(
            *(helper.ask(state_of(pid), claim=f"claim-{pid}") for pid in range(1, 65))
        )
    assert [
        Ran(1, f"ibdra: claim claim-{pid}: process {pid} is odd: take another\n")
        if pid % 2
        else Ran(0, "")
        for pid in range(1, 65)
    ] == rans


async def test_more_than_64_wait_for_their_turn(path: Path) -> None:
    """None is turned away."""
    hook = FakeHook(lambda _start: time.sleep(0.01))
    async with serving(path, hook):
        answers = await asyncio.gather(*(said(path, RAW) for _ in range(200)))
    assert [{"version": 1, "attached": True}] * 200 == answers
    assert 200 == len(hook.asked)


BAD_REQUESTS = {
    "nothing": (b"", f"the hook asked nothing: {SOCKET_REMEDY}"),
    "not JSON": (b"attach", "the hook's request is not understood (JSON is malformed"),
    "half": (RAW[:-1], "the hook's request is not understood (Input data was truncated)"),
    "not UTF-8": (b'{"version":1,"claim":"\xff"}', "the hook's request is not understood ("),
    "deep": (b'{"version":1,"state":' + b"[" * 100_000, "the hook's request is not understood ("),
    "two": (RAW + RAW, "the hook's request is not understood (JSON is malformed"),
    "a list": (b"[]", "the hook's request is not understood (Expected `object`"),
    "no version": (b"{}", "the hook's request is not understood (Object missing required field"),
    "another version": (
        json.dumps(REQUEST | {"version": 2}).encode(),
        "the hook speaks version 2, this daemon version 1: install this daemon's own hook",
    ),
    "a field more": (
        json.dumps(REQUEST | {"more": 1}).encode(),
        "the hook's request is not understood (Object contains unknown field `more`)",
    ),
    "huge": (
        json.dumps(REQUEST | {"nodes": "1" * (3 << 20)}).encode(),
        f"the hook's request has more than 2097152 bytes: {SOCKET_REMEDY}",
    ),
} | {
    f"{field} {value!r}": (
        json.dumps(REQUEST | {field: value}).encode(),
        "the hook's request is not understood (",
    )
    for field, value in [
        ("claim", ""),
        ("claim", "a/b"),
        ("claim", "a\n"),
        ("claim", "x" * 64),
        ("claim", 7),
        ("nodes", ""),
        ("nodes", "uverbs0"),
        ("nodes", "1:2\n"),
        ("nodes", ["1:2"]),
        ("state", {"id": "x"}),
        ("state", {"pid": 17}),
        ("state", {"id": "", "pid": 17}),
        ("state", {"id": "x", "pid": 0}),
        ("state", {"id": "x", "pid": -1}),
        ("state", {"id": "x", "pid": 2**31}),
        ("state", {"id": "x", "pid": "17"}),
        ("state", {"id": "x", "pid": 17.5}),
        ("state", {"id": "x", "pid": True}),
        ("state", '{"id": "x", "pid": 17}'),
    ]
}


@pytest.mark.parametrize(("raw", "reason"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
async def test_a_bad_request_is_refused(path: Path, raw: bytes, reason: str) -> None:
    """With a reason; the hook is not asked, and the next one is served."""
    hook = FakeHook()
    async with serving(path, hook):
        answer = await said(path, raw)
        assert (1, False) == (answer["version"], answer["attached"])
        assert reason == answer["reason"][: len(reason)]
        assert [] == hook.asked
        assert {"version": 1, "attached": True} == await said(path, RAW)


async def test_a_request_that_does_not_end_is_refused_in_time(path: Path) -> None:
    """Meanwhile others are served."""
    async with serving(path, FakeHook(), read_time=0.5):
        hanging = asyncio.create_task(said(path, RAW, end=False))
        await asyncio.sleep(0.1)
        assert {"version": 1, "attached": True} == await said(path, RAW)
        assert not hanging.done()
        answer = await hanging
    assert f"the hook's request did not end within 0.5 s: {SOCKET_REMEDY}" == answer["reason"]


async def test_who_goes_away_half_way_costs_nothing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, within or after the request, or while the hook is at work: all is forgotten."""
    hook = FakeHook(lambda _start: time.sleep(0.02))
    async with serving(path, hook) as server:
        assert {"version": 1, "attached": True} == await said(path, RAW)
        before = descriptors()
        for raw in (b"", RAW[:40], RAW):
            for shut in (False, True):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(str(path))
                    client.sendall(raw)
                    if shut:
                        client.shutdown(socket.SHUT_WR)
        await until(lambda: not server._calls and descriptors() <= before)
        assert {"version": 1, "attached": True} == await said(path, RAW)
    assert [] == [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_no_descriptor_is_left(path: Path) -> None:
    """However many called, well or not, and however often the server was started."""
    counts = []
    for _ in range(3):
        hook = FakeHook()
        async with serving(path, hook):
            await asyncio.gather(*(said(path, RAW) for _ in range(100)))
            await asyncio.gather(*(said(path, b"nonsense") for _ in range(100)))
        assert 100 == len(hook.asked)
        counts.append(descriptors())
    assert counts[0] == counts[1] == counts[2]


DIAL_AS_NOBODY = """
import contextlib, os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
    with contextlib.suppress(OSError):  # the answer may come before the end
        client.sendall(sys.argv[2].encode())
        client.shutdown(socket.SHUT_WR)
    print(client.recv(4096).decode())
"""


async def dialled_as_nobody(path: Path) -> subprocess.CompletedProcess[str]:
    """Ask from a process that is not root's."""
    command = [sys.executable, "-c", DIAL_AS_NOBODY, str(path), RAW.decode()]
    return await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes somebody else")
async def test_only_root_is_heard(path: Path) -> None:
    """Others do not reach the socket; opened up to them, it still tells who asks."""
    hook = FakeHook()
    async with serving(path, hook):
        assert "PermissionError" in (await dialled_as_nobody(path)).stderr
        for parent in (path, *path.parents[:-2]):
            parent.chmod(0o777)
        answer = json.loads((await dialled_as_nobody(path)).stdout)
    assert answer["attached"] is False
    assert " of user 65534 may not use the driver's socket: " in answer["reason"]
    assert [] == hook.asked


async def test_the_socket_is_roots_alone(folder: Path) -> None:
    """Mode 0600, in a folder made with 0700; nothing else lies there."""
    path = folder / "run" / "ibdra" / "hook.sock"
    async with serving(path, FakeHook()):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
        assert ["hook.sock"] == names_in(path.parent)
    assert [] == names_in(path.parent)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
async def test_a_folder_that_others_may_write_to_is_refused(folder: Path, mode: int) -> None:
    """There, anybody could put a socket in our place."""
    os.chmod(folder, mode)  # noqa: PTH101 -- a method of Path blocks the loop no less
    with pytest.raises(HookFailed, match="may be written to by others"):
        await HookServer(folder / "hook.sock", hook=FakeHook()).start()
    assert [] == names_in(folder)


async def test_a_dead_daemons_socket_gives_way(helper: Helper) -> None:
    """A killed daemon leaves its socket; the next one takes the place."""
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(helper.socket))
    async with serving(helper.socket, FakeHook()):
        assert Ran(0, "") == await helper.ask(state_of(17))
    assert not helper.socket.exists()


async def test_a_newer_daemons_socket_stays(helper: Helper) -> None:
    """In a rolling update the old instance goes after the new one has come."""
    old, new = FakeHook(), FakeHook()
    async with contextlib.AsyncExitStack() as stack:
        async with serving(helper.socket, old):
            await stack.enter_async_context(serving(helper.socket, new))
        assert Ran(0, "") == await helper.ask(state_of(17))
    assert (0, 1) == (len(old.asked), len(new.asked))


@pytest.fixture
def precious(path: Path) -> Path:
    """Put somebody's file where the socket should be."""
    path.write_text("precious")
    return path


async def test_what_is_no_socket_stays(precious: Path) -> None:
    """Somebody's file is kept and named; once it is gone, the same server can be started."""
    server = HookServer(precious, hook=FakeHook())
    with pytest.raises(HookFailed, match=r"hook\.sock cannot be served \(something that is no"):
        await server.start()
    assert ["hook.sock"] == names_in(precious.parent)
    assert b"precious" == content(precious)
    os.unlink(precious)  # noqa: PTH108 -- a method of Path blocks the loop no less
    async with server:
        assert {"version": 1, "attached": True} == await said(precious, RAW)


async def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    """With the place and the cause."""
    (folder / "file").touch()
    with pytest.raises(HookFailed, match=r"file/hook\.sock cannot be served \(file exists\)"):
        await HookServer(folder / "file" / "hook.sock", hook=FakeHook()).start()


def test_a_long_path_is_an_error() -> None:
    """Before anything is tried."""
    with pytest.raises(HookFailed, match="more than 107 bytes"):
        HookServer(Path("/" + "x" * 107), hook=FakeHook())


async def test_it_is_started_once(path: Path) -> None:
    """A second start is an error and harms nothing; it can be stopped twice and started anew."""
    async with HookServer(path, hook=FakeHook()) as server:
        with pytest.raises(HookFailed, match="is served already"):
            await server.start()
        assert {"version": 1, "attached": True} == await said(path, RAW)
        await server.stop()
        await server.stop()
        assert [] == names_in(path.parent)
        await server.start()
        assert {"version": 1, "attached": True} == await said(path, RAW)
    assert [] == names_in(path.parent)


async def test_a_call_under_way_gets_a_grace(helper: Helper) -> None:
    """The socket goes first; who was already there gets the answer."""
    begun, go = threading.Event(), threading.Event()

    def answer(_start: ContainerStart) -> None:
        begun.set()
        assert go.wait(30)

    server = HookServer(helper.socket, hook=FakeHook(answer))
    await server.start()
    call = asyncio.create_task(helper.ask(state_of(17)))
    await asyncio.to_thread(begun.wait, 30)
    stopping = asyncio.create_task(server.stop(30))
    await asyncio.sleep(0.1)
    assert not helper.socket.exists()
    assert not stopping.done()
    go.set()
    await stopping
    assert Ran(0, "") == await call


async def test_a_grace_ends(helper: Helper) -> None:
    """What takes longer is refused; the work itself cannot be taken back."""
    begun, go = threading.Event(), threading.Event()

    def answer(_start: ContainerStart) -> None:
        begun.set()
        go.wait(30)

    server = HookServer(helper.socket, hook=FakeHook(answer))
    await server.start()
    call = asyncio.create_task(helper.ask(state_of(17)))
    await asyncio.to_thread(begun.wait, 30)
    began = time.monotonic()
    await server.stop(0.2)
    assert time.monotonic() - began < 5
    expected = "the daemon is stopping: the kubelet tries again"
    assert Ran(1, f"ibdra: claim {UID}: {expected}\n") == await call
    go.set()
