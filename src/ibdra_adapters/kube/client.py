"""The official client, as far as we use it: configuration, authentication, TLS, retries.

Why: the only module that knows ``kubernetes`` and the ``urllib3`` below it.  Objects pass
through as JSON (D12), errors of both libraries leave as ours, and no call can hang: every
try has a time-out, and all tries of one call together stay well below the 45 seconds that
a kubelet waits for a prepare.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException

from ibdra_domain.errors import KubeConflict, KubeFailed, KubeNotFound, KubeUnavailable

Json = dict[str, Any]

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 8.0
WATCH_SECONDS = 540
_SILENCE = 180.0
_RETRIES = urllib3.Retry(
    total=2,
    status_forcelist={429, 500, 502, 503, 504},
    allowed_methods=None,  # every write of ours names its object, so a second one does no harm
    backoff_factor=0.3,
    backoff_max=2,
    backoff_jitter=0.2,
    respect_retry_after_header=True,
    retry_after_max=3,
    raise_on_status=False,
)
"""Three tries: at worst 33 seconds of silence, and 6 of waiting because we were told to."""

PATCH_APPLY = "application/apply-patch+yaml"
PATCH_MERGE = "application/merge-patch+json"
Observe = Callable[[str, str], None]


class KubeClient:
    """One server and one identity; safe to use from several threads.

    Parameters
    ----------
    kubeconfig:
        None: the service account of the pod we run in.
    context:
        Which of the kubeconfig's contexts; None for its current one.
    observe:
        Told of every call: its verb, and the status code or "unreachable".
    """

    def __init__(
        self, *, kubeconfig: Path | None = None, context: str | None = None, observe: Observe
    ) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._observe = observe
        self._lock = threading.Lock()
        self._api = self._connected()

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

        A refused identity is read anew (tokens and certificates are rotated) and tried once
        more.  Raises KubeNotFound, KubeConflict, KubeUnavailable or KubeFailed.
        """
        for last in (False, True):
            api = self._api
            answer = self._send(api, method, path, query=query, body=body, kind=content_type)
            status, data = answer.status, self._read(answer, path)
            self._observe(method, str(status))
            if status < 300:
                return data
            if status != 401 or last:
                raise _error(f"{method} {path}", status=status, body=data)
            self._reload(api)
        raise AssertionError("the second try returns or raises")

    def stream(self, path: str, *, query: Mapping[str, str]) -> LineStream:
        """Open a watch: one JSON object a line.  Raises as :meth:`call`."""
        asked = {**query, "watch": "1", "timeoutSeconds": str(WATCH_SECONDS)}
        answer = self._send(self._api, "GET", path, query=asked, silence=_SILENCE)
        self._observe("WATCH", str(answer.status))
        if answer.status >= 300:
            raise _error(f"WATCH {path}", status=answer.status, body=self._read(answer, path))
        return LineStream(answer.response, path=path)

    def close(self) -> None:
        """Close idle connections."""
        self._api.rest_client.close()

    def _connected(self) -> client.ApiClient:
        settings = client.Configuration()
        try:
            if self._kubeconfig is None:
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(
                    config_file=str(self._kubeconfig),
                    context=self._context,
                    client_configuration=settings,
                    persist_config=False,
                )
        except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            where = self._kubeconfig or "the pod's service account"
            raise KubeFailed(
                f"there is no way to the API server in {where} ({error})",
                remedy="give --kubeconfig FILE, or run in a pod with a service account",
            ) from error
        settings.retries = _RETRIES
        settings.connection_pool_maxsize = 16
        return client.ApiClient(settings)

    def _reload(self, used: client.ApiClient) -> None:
        """Read the identity anew, unless another thread just did."""
        with self._lock:
            if self._api is used:
                self._api = self._connected()

    def _send(
        self,
        api: client.ApiClient,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        kind: str = "application/json",
        silence: float = READ_TIMEOUT,
    ) -> Any:
        headers = {"Accept": "application/json", "User-Agent": "ibdra"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            # The name under which the client's own generated methods ask for a token.
            method, url, headers, _, _ = api.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
            return api.call_api(
                method,
                url,
                header_params=headers,
                body=body,
                _request_timeout=(CONNECT_TIMEOUT, silence),
            )
        except (ApiException, urllib3.exceptions.HTTPError, ConfigException, OSError) as error:
            self._observe(method, "unreachable")
            raise _unreachable(f"{method} {path}", error) from error

    def _read(self, answer: Any, path: str) -> bytes:
        try:
            data: bytes = answer.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(f"reading the answer of {path}", error) from error
        return data


class LineStream:
    """A watch's lines, for one reader; any thread may close it."""

    def __init__(self, response: urllib3.BaseHTTPResponse, *, path: str) -> None:
        self._response = response
        self._path = path
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        """Give line after line; ends when closed, KubeUnavailable when the server ends it."""
        rest = b""
        try:
            for chunk in self._response.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # ValueError, AttributeError: how a response says that it was shut under the reader.
            if self._closed.is_set():
                return
            raise _unreachable(f"watching {self._path}", error) from error
        finally:
            self._response.close()
        if not self._closed.is_set():
            raise KubeUnavailable(
                f"the API server ended the watch of {self._path}", remedy="watch again"
            )

    def close(self) -> None:
        """Wake the reader and end it."""
        self._closed.set()
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it has ended already
            self._response.shutdown()


class _Status(msgspec.Struct):
    """``meta/v1`` Status, as far as it explains a refusal."""

    message: str = ""
    reason: str = ""


def _error(what: str, *, status: int, body: bytes) -> KubeFailed:
    """Turn a refusal into ours, in the server's words."""
    try:
        said = msgspec.json.decode(body, type=_Status).message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        said = body[:200].decode(errors="replace").strip()
    problem = f"{what}: {status}, {said or 'no reason given'}"
    if status == 404:
        return KubeNotFound(problem, remedy="it was deleted, or never created")
    if status == 409:
        return KubeConflict(problem, remedy="read it again and decide anew")
    if status in (408, 410, 429) or status >= 500:
        return KubeUnavailable(problem, remedy="try again")
    if status == 401:
        return KubeFailed(
            problem, remedy="its token or certificate has run out: check what renews it"
        )
    if status == 403:
        return KubeFailed(problem, remedy="let the driver's ClusterRole allow this")
    return KubeFailed(problem, remedy="compare the driver's version with the cluster's")


def _unreachable(what: str, error: Exception) -> KubeUnavailable:
    cause = error
    if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
        cause = error.reason
    return KubeUnavailable(
        f"{what}: the API server cannot be reached ({cause})",
        remedy="check that it runs and that its address, certificate and ours are right",
    )
