"""The webhook under load, beside a handler of the same server library that does nothing.

Reviews of one claim with an IbConfig, over connections that are kept, as API servers do; then
two hundred at once, each over a new one.  Both servers are processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import percentile, row

CONNECTIONS = 8
REVIEWS = 2000
BURST = 200
ROUNDS = 3
MOST = 1.0
"""Seconds that the slowest of a burst may take; API servers wait for ten."""

SERVE = ["-c", "from ibdra_app.cli import main; main()", "webhook", "--linger", "0"]
# The same library, TLS and answer, and nothing read or judged.
BARE = """
import asyncio, signal, ssl, sys
from aiohttp import web

async def main(certificate, key):
    body = (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",'
            b'"response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}')
    async def handle(request):
        await request.read()
        return web.Response(body=body, content_type="application/json")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.get_running_loop().create_server(
        web.Server(handle, access_log=None), "127.0.0.1", 0, ssl=context, backlog=512)
    print("ready: reviews at port", server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()

asyncio.run(main(*sys.argv[1:]))
"""
CLAIM = {
    "apiVersion": "resource.k8s.io/v1",
    "kind": "ResourceClaim",
    "metadata": {"name": "job", "namespace": "team-a", "labels": {"app": "train"}},
    "spec": {
        "devices": {
            "requests": [{"name": "vf", "exactly": {"deviceClassName": "vf.ib.sigs.k8s.io"}}],
            "config": [
                {
                    "requests": ["vf"],
                    "opaque": {
                        "driver": "ib.sigs.k8s.io",
                        "parameters": {
                            "apiVersion": "ib.resource.sigs.k8s.io/v1alpha1",
                            "kind": "IbConfig",
                            "pkey": 32769,
                            "mtu": 4096,
                        },
                    },
                }
            ],
        }
    },
}
REVIEW = json.dumps(
    {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "resource.k8s.io", "version": "v1", "kind": "ResourceClaim"},
            "operation": "CREATE",
            "userInfo": {"username": "alice"},
            "object": CLAIM,
        },
    }
).encode()
REQUEST = (
    b"POST /validate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(REVIEW)
) + REVIEW
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


@contextmanager
def serving(*command: str) -> Iterator[tuple[int, int]]:
    """Run a server; gives its port and pid."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr or ():
            if "ready: reviews at port" in line:
                yield int(line.rsplit(maxsplit=1)[1]), process.pid
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.terminate()
        process.communicate()


class Load:
    """Asks one server."""

    def __init__(self, port: int, certificate: Path) -> None:
        self._port = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(certificate)

    async def kept(self, count: int) -> list[float]:
        """Ask again and again on one connection; seconds of each."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost"
        )
        spent = []
        for _ in range(count):
            start = time.perf_counter()
            writer.write(REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = _LENGTH.findall(head)
            body = await reader.readexactly(int(length))
            spent.append(time.perf_counter() - start)
            if b'"allowed":true' not in body:
                raise SystemExit(f"refused: {body!r}")
        writer.transport.abort()
        return spent

    async def new(self) -> float:
        """Ask once on a new connection; seconds with the handshake."""
        start = time.perf_counter()
        await self.kept(1)
        return time.perf_counter() - start


async def load(port: int, certificate: Path) -> tuple[float, list[float], list[float]]:
    """Give reviews a second, each one's seconds, and each of a burst's."""
    client = Load(port, certificate)
    await client.kept(100)
    start = time.perf_counter()
    each = REVIEWS // CONNECTIONS
    spent = await asyncio.gather(*(client.kept(each) for _ in range(CONNECTIONS)))
    rate = REVIEWS / (time.perf_counter() - start)
    burst = await asyncio.gather(*(client.new() for _ in range(BURST)))
    return rate, [s for one in spent for s in one], list(burst)


def resident(pid: int) -> float:
    """Give a process' resident memory in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this kernel does not tell a process' memory")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of a day, and its key."""
    certificate, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def main() -> None:
    """Measure and print; exit 1 if a burst is too slow."""
    if shutil.which("openssl") is None:
        row("webhook", "-", "needs openssl")
        return
    with tempfile.TemporaryDirectory(prefix="ibdra-") as temporary:
        certificate, key = make_certificate(Path(temporary))
        files = ["--cert", str(certificate), "--key", str(key)]
        slowest = 0.0
        with (
            serving(*SERVE, "--bind", "127.0.0.1", "--port", "0", *files) as (port, pid),
            serving("-c", BARE, str(certificate), str(key)) as (bare_port, bare_pid),
        ):
            servers = {"webhook": (port, pid), "bare handler": (bare_port, bare_pid)}
            idle = {name: resident(pid) for name, (_, pid) in servers.items()}
            found: dict[str, list[tuple[float, list[float], list[float]]]] = {
                n: [] for n in servers
            }
            for _ in range(ROUNDS):
                for name, (at, _) in servers.items():
                    found[name].append(asyncio.run(load(at, certificate)))
            for name, (_, number) in servers.items():
                rate, spent, burst = sorted(found[name], key=lambda f: f[0])[ROUNDS // 2]
                row(
                    f"{name}, {CONNECTIONS} kept connections",
                    f"{rate:.0f} /s",
                    f"p50 {percentile(spent, 50) * 1e3:.1f} ms, "
                    f"p99 {percentile(spent, 99) * 1e3:.1f} ms, {len(spent)} reviews",
                )
                row(
                    f"{name}, {BURST} at once over new connections",
                    f"p99 {percentile(burst, 99) * 1e3:.0f} ms",
                    f"p50 {percentile(burst, 50) * 1e3:.0f} ms",
                )
                row(f"{name}, memory", f"{idle[name]:.1f} MiB", f"{resident(number):.1f} after it")
                if name == "webhook":
                    slowest = max(burst)
    if slowest > MOST:
        sys.exit(f"the slowest of {BURST} took {slowest:.1f} s, {MOST:g} are allowed")


if __name__ == "__main__":
    main()
