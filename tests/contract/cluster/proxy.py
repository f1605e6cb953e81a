"""A wire to the API server that can be cut.

Why: a server that is killed takes seconds to come back, and every test of a lost connection
would wait for it.  Here the connection is lost and the server lives: bytes go through as
they are, TLS and all, until a test cuts them.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self


class Wire:
    """Listens on a port of its own and passes everything on to ``target``."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._refused = 0
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        port: int = self._listener.getsockname()[1]
        return port

    def cut(self) -> None:
        """End every connection there is."""
        with self._lock:
            ended, self._open = self._open, set()
        for end in ended:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def wait_quiet(self, seconds: float) -> None:
        """Wait until nothing has passed for so long."""
        while (left := self._last + seconds - time.monotonic()) > 0:
            time.sleep(left)

    def refuse(self, connections: int) -> None:
        """End every connection, and that many of the next ones as soon as they come."""
        with self._lock:
            self._refused = connections
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                refused = self._refused > 0
                self._refused -= refused
            if refused:
                client.close()
                continue
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._target) as server:
            with self._lock:
                self._open |= {client, server}
            with selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
                ready.register(client, selectors.EVENT_READ, server)
                ready.register(server, selectors.EVENT_READ, client)
                ends = {client.fileno(): client, server.fileno(): server}
                while True:
                    for key, _ in ready.select():
                        data = ends[key.fd].recv(65536)
                        self._last = time.monotonic()
                        if not data:
                            return
                        key.data.sendall(data)
            with self._lock:
                self._open -= {client, server}
