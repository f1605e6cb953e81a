"""The official client, as far as we use it: configuration, identity, TLS, one try of a call.

Why: the only module that knows ``kubernetes`` and the ``urllib3`` below it.  It finds server,
certificates and token the way every other client does; what goes over the wire is JSON of
ours (D12).  Errors of both libraries leave as ours.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from traceback import clear_frames
from urllib.parse import urlencode

import msgspec
import urllib3
from kubernetes import client, config

from ibdra_adapters.kube.answers import Answer, unreachable
from ibdra_adapters.kube.decoding import Json, one_line
from ibdra_domain.errors import KubeFailed, KubeUnavailable

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 8.0
SILENCE = 180.0
"""Seconds that a call may wait for a connection, for the next bytes, and a watch for a line."""

_POOL = 16
_SHORTEST_TOKEN = 16


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the server."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: Json | None = None
    content_type: str = "application/json"
    watches: bool = False

    def __str__(self) -> str:
        """Give it as errors name it."""
        return f"{self.verb} {self.path}"

    @property
    def verb(self) -> str:
        """The method, but for watches."""
        return "WATCH" if self.watches else self.method


class Connection:
    """One server and one identity as they were read at one moment; for any number of threads."""

    def __init__(self, *, kubeconfig: Path | None, context: str | None) -> None:
        self._lock = threading.Lock()
        self._folder: str | None = None  # a pod may have none to write to, and needs none
        try:
            settings = client.Configuration()
            if kubeconfig is None:
                config.load_incluster_config(client_configuration=settings)
            else:
                self._folder = _folder()
                config.load_kube_config(
                    config_file=str(kubeconfig),
                    context=context,
                    client_configuration=settings,
                    persist_config=False,
                    temp_file_path=self._folder,
                )
            settings.connection_pool_maxsize = _POOL
            self._settings = settings
            self._pools: urllib3.PoolManager = client.ApiClient(settings).rest_client.pool_manager
        except Exception as error:  # noqa: BLE001 -- a file of any content raises anything
            where = kubeconfig or "the pod's service account"
            raise KubeFailed(
                f"there is no way to the API server in {where} ({_said(error)})",
                remedy="give --kubeconfig FILE, or run in a pod with a service account",
            ) from None  # its text holds whole entries of the file, tokens and all
        self._refresh, settings.refresh_api_key_hook = settings.refresh_api_key_hook, None
        self._token = ""
        self._authorization()

    @property
    def is_anonymous(self) -> bool:
        """Tell whether there is neither a token nor a certificate to show."""
        return not self._token and not self._settings.cert_file

    def send(self, request: Request, *, silence: float) -> Answer:
        """Ask once.  Raises KubeUnavailable if there is no answer."""
        headers = {"Accept": "application/json", "User-Agent": "ibdra"}
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        if said := self._authorization():
            headers["Authorization"] = said
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            response = self._pools.urlopen(
                request.method,
                f"{self._settings.host}{request.path}{query}",
                headers=headers,
                body=None if request.body is None else msgspec.json.encode(request.body),
                timeout=urllib3.Timeout(connect=min(CONNECT_TIMEOUT, silence), read=silence),
                preload_content=False,
                redirect=False,
                retries=False,
            )
        except Exception as error:
            clear_frames(error.__traceback__)  # they hold half an answer, and its connection
            raise unreachable(str(request), error) from error
        return Answer(response, what=str(request))

    def without_token(self, body: bytes) -> bytes:
        """Take our token out of what the server said, unless it may be any word."""
        is_one = len(self._token) >= _SHORTEST_TOKEN
        return body.replace(self._token.encode(), b"(token)") if is_one else body

    def retire(self, successor: Connection) -> None:
        """Give up what our successor does not need; calls that are under way go on."""
        self.close()
        for path in self._files() - successor._files():
            with contextlib.suppress(OSError):
                path.unlink()

    def close(self) -> None:
        """Close idle connections; those in use are closed when they are done."""
        # Clearing alone would leave their sockets to the garbage collector.
        for key in self._pools.pools.keys():  # noqa: SIM118 -- no mapping, though it has keys
            pool = self._pools.pools.get(key)
            if pool is not None:
                pool.close()
        self._pools.clear()

    def _files(self) -> set[Path]:
        here = self._settings
        given = {Path(f) for f in (here.ssl_ca_cert, here.cert_file, here.key_file) if f}
        return {path for path in given if str(path.parent) == self._folder}

    def _authorization(self) -> str:
        """Give the header's value; tokens run out, and the client knows which to read again."""
        with self._lock:
            try:
                if self._refresh is not None:
                    self._refresh(self._settings)
            except Exception as error:  # noqa: BLE001 -- it reads files and starts programs
                raise KubeUnavailable(
                    f"our token for the API server cannot be read ({_said(error)})",
                    remedy="check what renews it",
                ) from None  # as above
            scheme, _, token = self._settings.api_key.get("BearerToken", "").partition(" ")
            token = token.strip()
            if not token.isascii() or not token.isprintable() or " " in token:
                raise KubeFailed(
                    "our token for the API server holds characters that no token has",
                    remedy="check the file or field that it comes from",
                )
            self._token = token
        return f"{scheme} {token}" if token else ""


@functools.cache
def _folder() -> str:
    """Make the folder of this process for what kubeconfigs hold inline and TLS wants as files."""
    folder = tempfile.mkdtemp(prefix="ibdra-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _said(error: Exception) -> str:
    """Give a configuration's error without what the configuration holds."""
    if (mark := getattr(error, "problem_mark", None)) is not None:
        return f"no YAML in line {mark.line + 1}, column {mark.column + 1}"
    return one_line(str(error).partition("{")[0] or type(error).__name__)
