"""A server that answers what a test tells it to: any bytes, half of them, or none.

Why: no well-meant HTTP server sends half a header, and the client must take that too.  Each
request that comes takes the next act off the list; the last one stays for all that follow.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PATIENCE = 10.0
"""Seconds until a test gives up on what must happen at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; ``connection`` counts from 0."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Talk:
    """One request, and the connection to answer it on."""

    request: Seen
    connection: socket.socket
    stopped: threading.Event

    def send(self, data: bytes) -> None:
        """Send something; a client that is gone is no failure."""
        with contextlib.suppress(OSError):
            self.connection.sendall(data)

    def line(self, event: Json) -> None:
        """Send a line of a watch, as a chunk."""
        self.send(chunk(json.dumps(event).encode() + b"\n"))

    def wait(self) -> None:
        """Be silent until the test is over."""
        self.stopped.wait(PATIENCE * 3)


Act = Callable[[Talk], object]
"""Answers one request; what it returns, if true, ends the connection."""


def head(status: int, length: int | None, **headers: str) -> bytes:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if length is not None:
        given.setdefault("Content-Length", str(length))
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{k}: {v}" for k, v in given.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = b"0\r\n\r\n"


def says(status: int, body: bytes | Json = b"{}", **headers: str) -> Act:
    """Answer well."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda talk: talk.send(head(status, len(raw), **headers) + raw)


def refuses(status: int, message: str, *, reason: str = "", **headers: str) -> Act:
    """Answer as an API server does that will not."""
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason}
    return says(status, {**body, "code": status}, **headers)


def sends(data: bytes) -> Act:
    """Send these bytes and hang up."""

    def act(talk: Talk) -> bool:
        talk.send(data)
        return True

    return act


def hangs(data: bytes = b"") -> Act:
    """Send these bytes and nothing more, but stay."""

    def act(talk: Talk) -> bool:
        talk.send(data)
        talk.wait()
        return True

    return act


def watches(*pieces: bytes, then: bytes = END) -> Act:
    """Send a watch in these chunks, and hang up."""

    def act(talk: Talk) -> bool:
        talk.send(head(200, None, Transfer_Encoding="chunked"))
        for piece in pieces:
            talk.send(chunk(piece))
        talk.send(then)
        return True

    return act


@dataclass
class HostileServer:
    """Listens on this machine from ``start`` to ``stop``; it may speak before it is asked."""

    tls: ssl.SSLContext | None = None
    greeting: bytes = b""
    acts: list[Act] = field(default_factory=lambda: [says(200)])
    requests: list[Seen] = field(default_factory=list)
    connections: int = 0

    def start(self) -> None:
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listening.getsockname()[1]
        self._spawn(self._accept)

    def stop(self) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def does(self, *acts: Act) -> None:
        """Set what is answered from now on, and forget what was asked."""
        with self._lock:
            self.acts, self.requests = list(acts), []

    def _spawn(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(accepted)
                number, self.connections = self.connections, self.connections + 1
            self._spawn(functools.partial(self._serve, accepted, number))

    def _serve(self, raw: socket.socket, number: int) -> None:
        with raw, contextlib.suppress(OSError):
            raw.sendall(self.greeting)
            if self.tls is None:
                self._talk(raw, number)
                return
            try:
                secured = self.tls.wrap_socket(raw.dup(), server_side=True)
            except OSError:
                # What the client has sent already is read, or the alert would be lost in a reset.
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass
                return
            with self._lock:
                self._open.append(secured)
            with secured:
                self._talk(secured, number)

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as incoming:
            while request := _read(incoming, number):
                with self._lock:
                    self.requests.append(request)
                    act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
                if act(Talk(request, connection, self._stopped)):
                    return


def _read(incoming: Any, number: int) -> Seen | None:
    method, _, rest = incoming.readline().decode("latin-1").strip().partition(" ")
    if not method:
        return None
    headers = {}
    while line := incoming.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = incoming.read(int(headers.get("content-length", 0)))
    return Seen(method, rest.partition(" ")[0], headers, body, number)


def kubeconfig(
    path: Path, server: str, *, user: Json | None = None, cluster: Json | None = None
) -> Path:
    """Write a kubeconfig (JSON is YAML too) and give its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "there",
        "contexts": [{"name": "there", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@contextlib.contextmanager
def running(server: HostileServer) -> Iterator[HostileServer]:
    """Run it for a while."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def connections_to(port: int) -> int:
    """Count the sockets that this process has to a port of this machine."""
    ours = set()
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own is gone
            ours.add(str(fd.readlink()))
    lines = Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(row[2].endswith(f":{port:04X}") and f"socket:[{row[9]}]" in ours for row in rows)
