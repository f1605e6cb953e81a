"""A throw-away certificate, and an HTTPS client of a few lines that can misbehave.

Why: the webhook must answer clients that are wrong in ways no HTTP library would let us be,
and the library that serves must not test itself.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

JSON = {"Content-Type": "application/json"}
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def make_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for this machine, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def trusting(*certificates: Path, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Make a client that trusts these certificates, and speaks one version of TLS if told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for certificate in certificates:
        context.load_verify_locations(certificate)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def response(self) -> dict[str, Any]:
        """The review's response, after a look at what is around it."""
        assert (200, "application/json") == (self.status, self.headers["content-type"])
        review = json.loads(self.body)
        assert {"apiVersion", "kind", "response"} == set(review)
        assert ("admission.k8s.io/v1", "AdmissionReview") == (review["apiVersion"], review["kind"])
        found: dict[str, Any] = review["response"]
        assert isinstance(found["allowed"], bool)
        assert found["allowed"] == ("status" not in found)
        return found


class Client:
    """Speaks HTTP/1.1 to a port of this machine."""

    def __init__(self, port: int, *certificates: Path) -> None:
        self.port = port
        self._context = trusting(*certificates)

    @asynccontextmanager
    async def connected(
        self, context: ssl.SSLContext | None = None, *, name: str = "localhost"
    ) -> AsyncIterator[Streams]:
        """Connect, and hang up at the end; ``name`` is the server's, as the client has it."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or self._context, server_hostname=name
        )
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def call(
        self,
        method: str = "GET",
        path: str = "/healthz",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Said:
        """Make one request on a connection of its own."""
        async with self.connected() as streams:
            return await ask(streams, method, path, body, headers)

    async def review(self, body: Any, headers: Mapping[str, str] = JSON) -> Said:
        """Send a review, or a body that is none."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.call("POST", "/validate?timeout=10s", raw, headers)


async def ask(
    streams: Streams,
    method: str = "GET",
    path: str = "/healthz",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Said:
    """Make a request on a connection."""
    streams[1].write(head(method, path, body, headers) + (body or b""))
    return await heard(streams[0])


def head(
    method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Write a request's beginning."""
    lines = {"Host": "localhost", **(headers or {})}
    if body is not None and "Transfer-Encoding" not in lines:
        lines["Content-Length"] = str(len(body))
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{text}\r\n".encode()


async def heard(reader: asyncio.StreamReader) -> Said:
    """Read an answer."""
    async with asyncio.timeout(30):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Said(status=int(first.split()[1]), headers=headers, body=body)


def a_review_of(body: Any, *, uid: str = UID, **changes: Any) -> dict[str, Any]:
    """Build the review of an object's creation as API servers send it."""
    about = body if isinstance(body, dict) else {}
    group, _, version = str(about.get("apiVersion", "")).rpartition("/")
    request = {
        "uid": uid,
        "kind": {"group": group, "version": version, "kind": str(about.get("kind", ""))},
        "resource": {"group": group, "version": version, "resource": "things"},
        "requestKind": {"group": group, "version": version, "kind": str(about.get("kind", ""))},
        "name": "job",
        "namespace": "team-a",
        "operation": "CREATE",
        "userInfo": {"username": "alice", "groups": ["system:authenticated"]},
        "object": body,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": request | changes,
    }
