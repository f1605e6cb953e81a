"""Reviews over HTTPS, each with a bounded share of the machine.

Why: an API server that gets no answer waits for us with somebody's request in its hands.  So
a body is bounded in size and time, large ones take turns, probes and small reviews go on
meanwhile, and a stop waits for what is under way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from aiohttp import web

from ibdra_adapters.admission import wire
from ibdra_adapters.admission.answers import Answer, Judge, answer, unread
from ibdra_adapters.admission.certificates import CertificateFiles
from ibdra_domain import admission
from ibdra_domain.errors import WebhookFailed

PATH = "/validate"
Observe = Callable[[str, str, float], None]
"""Told of each review: the object's kind, the outcome, the seconds it took."""

READ_TIME = 10.0
HANDSHAKE_TIME = 10.0
IDLE_TIME = 120.0
"""Seconds for a body, for a TLS handshake, and without a request: API servers hang up first."""

LARGE = 1 << 18
"""Bytes from which a body takes turns with others like it, and is judged beside the loop."""

_TURNS = 4
_BACKLOG = 512
_CLOSE_TIME = 1.0
_log = logging.getLogger(__name__)


def unobserved(_kind: str, _outcome: str, _seconds: float) -> None:
    """Count nothing."""


class AdmissionServer:
    """Answers an API server's reviews at ``/validate``, and probes at ``/healthz``, ``/readyz``.

    Use it as an async context manager, or call :meth:`start` and :meth:`stop`.

    Parameters
    ----------
    certificates:
        What it shows; whoever made them keeps them fresh.
    port:
        0 for any; :attr:`port` is the real one once it serves.
    bind:
        The address to serve at; None for all of this machine's.
    observe:
        Called after each review, in the event loop: must not block.
    read_time:
        Seconds that a body has to come in.
    """

    def __init__(
        self,
        *,
        certificates: CertificateFiles,
        port: int,
        bind: str | None = None,
        judge: Judge = admission.judge,
        observe: Observe = unobserved,
        read_time: float = READ_TIME,
    ) -> None:
        self.port = port
        self.ready = False
        self._certificates = certificates
        self._bind = bind
        self._judge = judge
        self._observe = observe
        self._read_time = read_time
        self._server: asyncio.Server | None = None
        self._http: web.Server | None = None
        self._beside: ThreadPoolExecutor | None = None
        self._turns = asyncio.Semaphore(_TURNS)
        self._calls: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Serve.  Raises WebhookFailed."""
        http = web.Server(
            self._handle,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=IDLE_TIME,
            lingering_time=_CLOSE_TIME,
        )
        try:
            self._server = await asyncio.get_running_loop().create_server(
                http,
                self._bind,
                self.port,
                ssl=self._certificates.context,
                ssl_handshake_timeout=HANDSHAKE_TIME,
                ssl_shutdown_timeout=_CLOSE_TIME,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise WebhookFailed(
                f"port {self.port} cannot be served at {self._bind or 'any address'} "
                f"({(error.strerror or str(error)).lower()})",
                remedy="choose another with --port or --bind",
            ) from error
        self._http = http
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="ibdra-review")
        self.port = self._server.sockets[0].getsockname()[1]
        self.ready = True

    def retire(self) -> None:
        """Serve on, but have whoever asks go elsewhere the next time."""
        self.ready = False

    async def stop(self, grace: float = 10.0) -> None:
        """End serving; requests under way get ``grace`` seconds.  Not serving is no error."""
        self.retire()
        server, http, beside = self._server, self._http, self._beside
        self._server = self._http = self._beside = None
        if server is None or http is None or beside is None:
            return
        server.close()
        if self._calls:
            await asyncio.wait(self._calls, timeout=grace)
        await http.shutdown(_CLOSE_TIME)
        beside.shutdown(wait=False, cancel_futures=True)
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

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a stop waits for it, until it is sent."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a handler runs in a task
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        response = await self._route(request)
        if not self.ready:
            response.force_close()
        return response

    async def _route(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        methods = {PATH: ("POST",), "/healthz": ("GET", "HEAD"), "/readyz": ("GET", "HEAD")}
        if path not in methods:
            return web.Response(status=404, text=f"reviews are taken at {PATH}\n")
        if request.method not in methods[path]:
            allowed = ", ".join(methods[path])
            return web.Response(status=405, headers={"Allow": allowed}, text=f"use {allowed}\n")
        if path == PATH:
            return await self._review(request)
        if path == "/readyz" and not self.ready:
            return web.Response(status=503, text="stopping\n")
        return web.Response(text="ok\n")

    async def _review(self, request: web.BaseRequest) -> web.Response:
        """Read, judge and tell."""
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            return web.Response(status=415, text="send application/json, not compressed\n")
        began = time.perf_counter()
        try:
            async with contextlib.AsyncExitStack() as turn:
                found = await self._answer(request, turn)
        except TimeoutError:
            return web.Response(status=408, text="the review did not come in time\n")
        except web.RequestPayloadError:
            return web.Response(status=400, text="the review did not come as HTTP has it\n")
        try:
            self._observe(found.kind, found.outcome.value, time.perf_counter() - began)
        except Exception:  # noqa: BLE001 -- whoever counts has no say in the answer
            _log.exception("a review was not counted")
        return web.Response(
            status=found.status,
            body=found.body,
            content_type="application/json" if found.review else "text/plain",
        )

    async def _answer(self, request: web.BaseRequest, turn: contextlib.AsyncExitStack) -> Answer:
        """Read the body and have it answered; of one too large, the beginning.

        A large one waits for its turn, which it has until it is answered.
        """
        raw, size = bytearray(), 0
        async with asyncio.timeout(self._read_time):
            async for chunk in request.content.iter_any():
                if size < LARGE <= size + len(chunk):
                    await turn.enter_async_context(self._turns)
                size += len(chunk)
                if size <= wire.REVIEW_LIMIT:
                    raw += chunk
                else:
                    del raw[LARGE:]
        if size > wire.REVIEW_LIMIT:
            error = WebhookFailed(
                f"the review has more than {wire.REVIEW_LIMIT} bytes",
                remedy="make the object smaller",
            )
            return unread(bytes(raw), error, status=413)
        if size < LARGE or self._beside is None:
            return answer(bytes(raw), self._judge)
        return await asyncio.get_running_loop().run_in_executor(
            self._beside, answer, bytes(raw), self._judge
        )
