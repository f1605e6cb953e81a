"""Requests to an API server: JSON there and back, with the standard library alone.

Why: tests compare what our adapter did with what the server has.  A client that shared code
with the adapter would share its mistakes.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

Json = dict[str, Any]
SECONDS = 30.0


class ApiError(Exception):
    """The server refused a request.

    Attributes
    ----------
    code
        HTTP's.
    reason
        Kubernetes' word for it, such as ``AlreadyExists``.
    body
        The Status object.
    """

    def __init__(self, request: str, code: int, body: Json) -> None:
        super().__init__(f"{request}: {code} {body.get('reason', '')}: {body.get('message', '')}")
        self.code = code
        self.reason = str(body.get("reason", ""))
        self.body = body


class Api:
    """One user of one API server, as a kubeconfig that we wrote says."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._headers = {"Accept": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"
        else:
            self._tls.load_cert_chain(user["client-certificate"], user["client-key"])

    @contextmanager
    def under_way(self, path: str) -> Iterator[None]:
        """Have the server wait for the rest of a request's body meanwhile."""
        host, port = str(self._server.hostname), self._server.port
        connection = http.client.HTTPSConnection(host, port, timeout=SECONDS, context=self._tls)
        try:
            connection.putrequest("POST", path)
            for name, value in (*self._headers.items(), ("Content-Type", "application/json")):
                connection.putheader(name, value)
            connection.putheader("Content-Length", "1000")
            connection.endheaders(b"{")
            yield
        finally:
            connection.close()

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        seconds: float = SECONDS,
    ) -> Json:
        """Make one request on a connection of its own; give the object that comes back.

        Raises
        ------
        ApiError
            The server says no.
        OSError
            There is no server, or it does not answer in time.
        """
        text = self.text(
            method,
            path,
            body,
            query=query,
            content_type=content_type,
            accept=accept,
            seconds=seconds,
        )
        found: Json = json.loads(text)
        return found

    def text(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str | None = None,
        seconds: float = SECONDS,
    ) -> str:
        """Make one request; give the text that comes back, for what is not JSON."""
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {**self._headers, "Content-Type": content_type}
        if accept is not None:
            headers["Accept"] = accept
        data = None if body is None else json.dumps(body).encode()
        host, port = self._server.hostname, self._server.port
        connection = http.client.HTTPSConnection(
            str(host), port, timeout=seconds, context=self._tls
        )
        try:
            connection.request(method, target, body=data, headers=headers)
            with connection.getresponse() as response:
                answer = response.read().decode()
                code = response.status
        finally:
            connection.close()
        if code >= http.client.BAD_REQUEST:
            raise ApiError(f"{method} {target}", code, _status(answer))
        return answer


def _status(answer: str) -> Json:
    """Read a Status object; some answers (of a server that starts) are plain text."""
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"message": answer}
