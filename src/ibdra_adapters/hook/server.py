"""The socket that the program on the host asks at, from start to stop.

Why: whatever comes in, the runtime waits for the program and the program for us.  So every
connection gets an answer or is closed within a bounded time, whoever is at the other end,
and none of them can hold up another.  Nothing here knows what attaching means.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from ibdra_adapters import unix_socket
from ibdra_adapters.hook import wire
from ibdra_domain.errors import HookFailed, IbdraError
from ibdra_domain.ports.runtime import ContainerHook, ContainerStart

DEFAULT_SOCKET = Path("/run/ibdra/hook.sock")
GRACE = 10.0
"""Seconds that calls under way get at stop; a pod's default grace period is 30."""

READ_TIME = 10.0
"""Seconds for a whole request; the program writes it in one go."""

CALLS = 64
"""Calls of the hook at a time; further ones wait."""

_CLOSE_TIME = 1.0
_FOLDER_MODE = 0o700
_CHUNK = 1 << 16
_UCRED = struct.Struct("iII")
_log = logging.getLogger(__name__)


class HookServer:
    """Serve a hook to the program on the host.

    Use it as an async context manager, or call :meth:`start` and :meth:`stop`.

    Parameters
    ----------
    path:
        The socket's; its folder is made for root alone if it is missing.
    hook:
        Decides; called from worker threads, at most 64 at once.
    read_time:
        Seconds that a connection has to write its request.

    A path that is too long raises HookFailed.
    """

    def __init__(
        self, path: Path = DEFAULT_SOCKET, *, hook: ContainerHook, read_time: float = READ_TIME
    ) -> None:
        if not unix_socket.fits(path):
            raise HookFailed(
                f"socket path {path} has more than {unix_socket.PATH_LIMIT} bytes",
                remedy="use a folder with a shorter path",
            )
        self.path = path
        self._hook = hook
        self._read_time = read_time
        self._peers = {0, os.getuid()}
        self._server: asyncio.Server | None = None
        self._published: unix_socket.PublishedSocket | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Serve.  Raises HookFailed, with nothing left behind."""
        if self._server is not None:
            raise HookFailed(f"socket {self.path} is served already", remedy="stop it first")
        hidden = unix_socket.hidden_name(self.path)
        listener = _bind(hidden, self.path)
        try:
            self._executor = ThreadPoolExecutor(CALLS, thread_name_prefix="ibdra-hook")
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listener, limit=_CHUNK, backlog=2 * CALLS
            )
            self._published = _publish(hidden, self.path)
        except BaseException:  # a cancelled start leaves nothing behind either
            await self.stop(0)
            _unbind(listener, hidden)
            raise

    async def stop(self, grace: float = GRACE) -> None:
        """Remove the socket and end serving; calls under way get ``grace`` seconds.

        What is not done by then is refused; its thread is left to end by itself.
        Stopping what does not run is no error.
        """
        server, published, executor = self._server, self._published, self._executor
        self._server = self._published = self._executor = None
        if published is not None:
            with contextlib.suppress(OSError):  # a next start replaces it
                published.remove()
        if server is not None:
            server.close()
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=grace)
            for call in late:
                call.cancel()
            if late:
                await asyncio.wait(late)
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        if server is not None:
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin a call; one that was accepted at the very end gets no answer, only an end."""
        if self._executor is None:
            writer.close()
            return
        call = asyncio.create_task(self._serve(reader, writer, self._executor))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        executor: ThreadPoolExecutor,
    ) -> None:
        reason: str | None = "the daemon is stopping: the kubelet tries again"
        try:
            reason = await self._reason(reader, writer, executor)
        finally:  # also when stop() cancels the call
            writer.write(wire.encode_answer(reason))
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):  # the other end went away
                async with asyncio.timeout(_CLOSE_TIME):
                    await writer.wait_closed()
            writer.transport.abort()

    async def _reason(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        executor: ThreadPoolExecutor,
    ) -> str | None:
        """Read, decide, and tell why not; None if the container may start."""
        try:
            self._check_peer(writer.get_extra_info("socket"))
            async with asyncio.timeout(self._read_time):
                raw = await _read(reader)
            start = wire.decode_request(raw)
        except TimeoutError:
            error = HookFailed(
                f"the hook's request did not end within {self._read_time:g} s",
                remedy="look for what else connects to the driver's socket",
            )
            _log.warning("socket %s: %s", self.path, error)
            return str(error)
        except OSError as gone:  # nobody reads this
            return str(gone)
        except HookFailed as refused:
            reason = wire.to_reason(str(refused))
            _log.warning("socket %s: %s", self.path, reason)
            return reason
        return await asyncio.get_running_loop().run_in_executor(executor, self._decide, start)

    def _decide(self, start: ContainerStart) -> str | None:
        """Ask the hook, in a thread of the executor."""
        try:
            self._hook.attach(start)
        except IbdraError as error:
            reason = wire.to_reason(str(error))
            _log.warning("claim %s: container %s refused: %s", start.claim, start.container, reason)
            return reason
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the runtime waits for an answer
            _log.exception("claim %s: container %s: internal error", start.claim, start.container)
            return (
                f"internal error ({type(error).__name__}): look at the driver's log and report it"
            )
        return None

    def _check_peer(self, connection: socket.socket) -> None:
        """Refuse whoever is neither root nor what we are."""
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, _ = _UCRED.unpack(raw)
        if uid not in self._peers:
            raise HookFailed(
                f"process {pid} of user {uid} may not use the driver's socket",
                remedy="run the hook as root, as container runtimes do",
            )


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Read until the other end closes its direction.  Raises HookFailed if it is too much."""
    raw = bytearray()
    while chunk := await reader.read(_CHUNK):
        raw += chunk
        if len(raw) > wire.REQUEST_LIMIT:
            raise HookFailed(
                f"the hook's request has more than {wire.REQUEST_LIMIT} bytes",
                remedy="look for what else connects to the driver's socket",
            )
    return bytes(raw)


def _bind(hidden: Path, path: Path) -> socket.socket:
    """Bind the hidden name of a socket for the path.  Raises HookFailed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _prepare_folder(path.parent)
        listener.bind(os.fspath(hidden))
    except OSError as error:
        listener.close()
        raise _not_served(path, (error.strerror or "unknown cause").lower()) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _publish(hidden: Path, path: Path) -> unix_socket.PublishedSocket:
    """Put the bound socket in its place.  Raises HookFailed."""
    try:
        return unix_socket.publish(hidden, path)
    except FileExistsError as error:
        raise _not_served(path, "something that is no socket lies there") from error
    except OSError as error:
        raise _not_served(path, (error.strerror or "unknown cause").lower()) from error


def _unbind(listener: socket.socket, hidden: Path) -> None:
    listener.close()
    hidden.unlink(missing_ok=True)


def _prepare_folder(folder: Path) -> None:
    """Make the socket's folder; in one that others may write to, they could put their own."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    if folder.stat().st_mode & 0o022:
        raise HookFailed(
            f"folder {folder} may be written to by others than its owner",
            remedy="give the driver's socket a folder of its own, mode 0700",
        )


def _not_served(path: Path, why: str) -> HookFailed:
    return HookFailed(
        f"socket {path} cannot be served ({why})",
        remedy="check that its folder is the host's own below /run, and writable",
    )
