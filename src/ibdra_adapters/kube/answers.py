"""What comes back from the API server: a body, or a watch's lines, piece by piece.

Why: a server that is broken, or is none, may send anything, for ever, or nothing more.  What
is read here ends by a limit of time and of bytes, and any thread can end a watch.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Mapping
from time import monotonic
from typing import Protocol

from ibdra_adapters.kube.decoding import one_line
from ibdra_domain.errors import KubeFailed, KubeUnavailable

LONGEST = 32 * 1024 * 1024
"""Bytes of an answer, or of a line of a watch: etcd keeps objects of 1.5 MiB at most."""

_PIECE = 65536


class Response(Protocol):
    """The HTTP client's, as far as we use it."""

    status: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Of the answer."""

    def read1(self, amt: int) -> bytes:
        """Give what is there, or wait for more; nothing is the end."""

    def shutdown(self) -> None:
        """Wake whoever reads."""

    def close(self) -> None:
        """End it; the connection serves again only if nothing was left."""


class Answer:
    """An answer, of which only the head has been read."""

    def __init__(self, response: Response, *, what: str) -> None:
        self._response = response
        self._what = what
        self.status = response.status
        self.retry_after = response.headers.get("Retry-After", "")

    def body(self, *, until: float) -> bytes:
        """Read the rest, and no longer than ``until`` (of the monotonic clock)."""
        data = bytearray()
        try:
            while piece := _piece(self._response, what=self._what):
                data += piece
                if len(data) > LONGEST:
                    raise _too_long(self._what)
                if monotonic() > until:
                    raise unreachable(self._what, TimeoutError("its answer does not end"))
        finally:
            self._response.close()  # back in the pool already, unless something was left
        if not data and 200 <= self.status < 300:
            raise unreachable(self._what, ValueError("its answer is empty"))
        return bytes(data)

    def lines(self) -> LineStream:
        """Give the rest as a watch's lines."""
        return LineStream(self._response, what=self._what)


class LineStream:
    """A watch's lines, for one reader; any thread may close it."""

    def __init__(self, response: Response, *, what: str) -> None:
        self._response = response
        self._what = what
        self._lock = threading.Lock()
        self._is_read = False
        self._closed = False

    def lines(self) -> Generator[bytes, None, None]:
        """Give line after line; ends when closed, KubeUnavailable when the server ends it."""
        with self._lock:
            self._is_read = not self._closed
        try:
            yield from self._lines()
        finally:
            self._response.close()
        if not self._closed:
            raise KubeUnavailable(f"{self._what}: the API server ended it", remedy="watch again")

    def close(self) -> None:
        """Wake the reader and end it."""
        with self._lock:
            self._closed = True
            # It may have ended already, and says so in five ways.
            with contextlib.suppress(Exception):
                if self._is_read:
                    self._response.shutdown()
                else:
                    self._response.close()

    def _lines(self) -> Iterator[bytes]:
        rest = bytearray()
        while piece := self._next():
            first, *more = piece.split(b"\n")
            rest += first
            for start in more:
                if rest.strip():
                    yield bytes(rest)
                if self._closed:
                    return
                rest = bytearray(start)
            if len(rest) > LONGEST:
                raise _too_long(self._what)

    def _next(self) -> bytes:
        if self._closed:
            return b""
        try:
            return _piece(self._response, what=self._what)
        except KubeUnavailable:
            if self._closed:  # what was shut under the reader says anything
                return b""
            raise


def _piece(response: Response, *, what: str) -> bytes:
    """Give what came since the last piece, or wait for it; nothing is the end."""
    try:
        return response.read1(_PIECE)
    except Exception as error:
        raise unreachable(what, error) from error


def _too_long(what: str) -> KubeFailed:
    return KubeFailed(
        f"{what}: the answer is longer than {LONGEST} bytes",
        remedy="check that this is the API server's address",
    )


def unreachable(what: str, error: Exception) -> KubeUnavailable:
    """Say that there is no answer, and why."""
    cause = one_line(str(error)) or type(error).__name__
    return KubeUnavailable(
        f"{what}: the API server cannot be reached ({cause})",
        remedy="check that it runs and that its address, certificate and ours are right",
    )
