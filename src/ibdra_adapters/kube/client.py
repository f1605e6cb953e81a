"""A client of the API server that gives an answer or one of our errors, and never hangs.

Why: a kubelet waits 45 seconds for a prepare, so all tries of one call together stay below
that.  And the driver outlives what it was started with: tokens and certificates are rotated,
servers move, so the identity is read anew when it is refused, and when nobody answers.  Every
node has such a client: what a server needs in trouble is that they come one after another.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import msgspec

from ibdra_adapters.kube.answers import Answer, LineStream
from ibdra_adapters.kube.connection import READ_TIMEOUT, SILENCE, Connection, Request
from ibdra_adapters.kube.decoding import Json, refusal
from ibdra_domain.errors import KubeFailed, KubeUnavailable

TRIES = 3
CALL_SECONDS = 35.0
"""No try begins, and no body is read on, after this; what has begun ends in READ_TIMEOUT."""

BACKOFF = 0.3
LONGEST_PAUSE = 3.0
"""Seconds between tries: at first, and where the server asks for more than a call may take."""

WATCH_SECONDS = 540
"""After this at the latest the server ends a watch of ours."""

SPREAD = (0.5, 1.5)
LATER = (1.0, SPREAD[1])
SHORTER = (0.6, 1.0)
"""Parts of a pause, of one that the server asks for, and of a watch, between which luck chooses:
agents whose server was restarted lost it in one moment, and must not all come back in one."""

PATCH_APPLY = "application/apply-patch+yaml"
PATCH_MERGE = "application/merge-patch+json"

# Every write of ours names its object, so a second one does no harm.
_WORTH_ANOTHER = frozenset({408, 429, 500, 502, 503, 504})

Observe = Callable[[str, str], None]
Between = Callable[[float, float], float]
TakenT = TypeVar("TakenT")


class KubeClient:
    """One server and one identity; safe to use from several threads.

    Parameters
    ----------
    kubeconfig:
        None: the service account of the pod we run in.
    context:
        Which of the kubeconfig's contexts; None for its current one.
    observe:
        Told of every try: its verb, and the status code or "unreachable".
    between:
        Chooses a number between two.
    """

    def __init__(
        self,
        *,
        kubeconfig: Path | None = None,
        context: str | None = None,
        observe: Observe,
        between: Between = random.uniform,
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._observe = observe
        self._between = between
        self._lock = threading.Lock()
        self._connection = self._connected()

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Make one call and give the answer's body.

        Raises KubeNotFound, KubeConflict, KubeUnavailable or KubeFailed.
        """
        request = Request(
            method=method, path=path, query=query or {}, body=body, content_type=content_type
        )
        until = monotonic() + CALL_SECONDS
        return self._ask(request, lambda answer: answer.body(until=until), until=until)

    def stream(self, path: str, *, query: Mapping[str, str]) -> LineStream:
        """Open a watch: one JSON object a line.  Raises as :meth:`call`."""
        seconds = round(WATCH_SECONDS * self._between(*SHORTER))
        asked = {**query, "watch": "1", "timeoutSeconds": str(seconds)}
        request = Request(method="GET", path=path, query=asked, watches=True)
        return self._ask(request, Answer.lines, until=monotonic() + CALL_SECONDS)

    def close(self) -> None:
        """Close idle connections."""
        self._connection.close()

    def _ask(self, request: Request, take: Callable[[Answer], TakenT], *, until: float) -> TakenT:
        """Try until there is an answer to take, a refusal that stands, or no more time."""
        tried, is_read_anew = 0, False
        while True:
            connection, heard = self._connection, _Heard()
            try:
                return self._try(connection, request, take, until=until, heard=heard)
            except KubeFailed as error:
                if heard.status == 401 and not is_read_anew and monotonic() < until:
                    is_read_anew = self._reload(connection)
                    continue
                is_silent = not heard.status and isinstance(error, KubeUnavailable)
                if is_silent:
                    with contextlib.suppress(KubeFailed):
                        self._reload(connection)
                tried += 1
                left = until - monotonic()
                pause = self._pause(tried, heard.retry_after, left=left)
                is_worth_it = is_silent or heard.status in _WORTH_ANOTHER
                if not is_worth_it or tried == TRIES or pause > left:
                    raise
            sleep(pause)

    def _try(
        self,
        connection: Connection,
        request: Request,
        take: Callable[[Answer], TakenT],
        *,
        until: float,
        heard: _Heard,
    ) -> TakenT:
        """Ask once; give what was taken of a success, or raise the refusal."""
        try:
            answer = connection.send(request, silence=SILENCE if request.watches else READ_TIMEOUT)
            if is_success := 200 <= answer.status < 300:
                taken = take(answer)
            else:
                said = connection.without_token(answer.body(until=until))
            heard.status, heard.retry_after = answer.status, answer.retry_after
        finally:
            self._observe(request.verb, str(heard.status or "unreachable"))
        if is_success:
            return taken
        raise refusal(
            str(request),
            status=answer.status,
            body=said,
            is_anonymous=connection.is_anonymous,
        )

    def _pause(self, tried: int, asked_for: str, *, left: float) -> float:
        """Give the seconds until the next try: at least what the server asks for, if it fits."""
        usual = min(BACKOFF * 2.0 ** (tried - 1), LONGEST_PAUSE)
        if asked_for.isdecimal():
            asked = float(asked_for)
            if asked <= left:
                return min(asked * self._between(*LATER), left)
            usual = LONGEST_PAUSE
        return usual * self._between(*SPREAD)

    def _connected(self) -> Connection:
        return Connection(kubeconfig=self._kubeconfig, context=self._context)

    def _reload(self, used: Connection) -> bool:
        """Read the identity anew; False if another thread just did, and before we asked."""
        with self._lock:
            if self._connection is not used:
                return False
            self._connection = self._connected()
            used.retire(self._connection)
            return True


class _Heard(msgspec.Struct):
    """What a try got to hear; no status if there was no whole answer."""

    status: int = 0
    retry_after: str = ""
