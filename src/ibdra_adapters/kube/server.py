"""The kube ports in front of a real API server.

Why: paths and selectors of ``resource.k8s.io/v1`` are here and nowhere else.  What the
server keeps is decoded into the domain's values; nothing that was read is ever written back
but our own slices, and those are ours whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from urllib.parse import quote

import msgspec

from ibdra_adapters.kube.answers import LineStream
from ibdra_adapters.kube.client import KubeClient
from ibdra_adapters.kube.decoding import decoded, one_line
from ibdra_domain.errors import KubeNotFound, KubeUnavailable
from ibdra_domain.kube_objects import RESOURCE_API_VERSION, ResourceClaim, ResourceSlice
from ibdra_domain.ports.kube import SliceChange, SliceEvent

_RESOURCE = f"/apis/{RESOURCE_API_VERSION}"
_SLICES = f"{_RESOURCE}/resourceslices"


def claim_path(namespace: str, name: str) -> str:
    """Give a claim's path on the server."""
    namespace, name = quote(namespace, safe=""), quote(name, safe="")
    return f"{_RESOURCE}/namespaces/{namespace}/resourceclaims/{name}"


class ServerClaims:
    """Fulfils the Claims port."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def get(self, namespace: str, name: str) -> ResourceClaim:
        """Fulfil the port."""
        try:
            body = self._client.call("GET", claim_path(namespace, name))
        except KubeNotFound as error:
            raise KubeNotFound(
                f"there is no claim {namespace}/{name}", remedy=error.remedy
            ) from error
        return decoded(body, ResourceClaim)


class _SliceList(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: tuple[ResourceSlice, ...] | None = ()


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class ServerSlices:
    """Fulfils the Slices port for one driver and node."""

    def __init__(self, client: KubeClient, *, driver: str, node: str) -> None:
        self._client = client
        self._selector = {"fieldSelector": f"spec.driver={driver},spec.nodeName={node}"}

    def list(self) -> tuple[ResourceSlice, ...]:
        """Fulfil the port."""
        return self._list()[0]

    def _list(self) -> tuple[tuple[ResourceSlice, ...], str]:
        """Give them with the version of the list."""
        found = decoded(self._client.call("GET", _SLICES, query=self._selector), _SliceList)
        ordered = sorted(found.items or (), key=lambda one: one.metadata.name)
        return tuple(ordered), found.metadata.resource_version

    def create(self, wanted: ResourceSlice) -> ResourceSlice:
        """Fulfil the port."""
        return decoded(self._client.call("POST", _SLICES, body=wanted.to_builtins()), ResourceSlice)

    def replace(self, wanted: ResourceSlice) -> ResourceSlice:
        """Fulfil the port."""
        body = self._client.call("PUT", _path(wanted), body=wanted.to_builtins())
        return decoded(body, ResourceSlice)

    def delete(self, unwanted: ResourceSlice) -> None:
        """Fulfil the port."""
        there = unwanted.metadata
        demanded = {"uid": there.uid, "resourceVersion": there.resource_version}
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {key: value for key, value in demanded.items() if value},
        }
        try:
            self._client.call("DELETE", _path(unwanted), body=body)
        except KubeNotFound:
            return

    def watch(self) -> ServerSliceWatch:
        """Fulfil the port."""
        listed, version = self._list()
        query = {
            **self._selector,
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
        }
        return ServerSliceWatch(listed, self._client.stream(_SLICES, query=query))


def _path(one: ResourceSlice) -> str:
    return f"{_SLICES}/{quote(one.metadata.name, safe='')}"


class _Seen(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class ServerSliceWatch:
    """Fulfils SliceWatch: what was listed, then the stream from there on."""

    def __init__(self, listed: Sequence[ResourceSlice], stream: LineStream) -> None:
        self._stream = stream
        self._events = self._follow(listed)

    def __iter__(self) -> Iterator[SliceEvent]:
        """Fulfil the port."""
        return self

    def __next__(self) -> SliceEvent:
        """Fulfil the port."""
        return next(self._events)

    def close(self) -> None:
        """Fulfil the port."""
        self._stream.close()
        with contextlib.suppress(ValueError):  # a reader is in it, and comes to its end by itself
            self._events.close()

    def _follow(self, listed: Sequence[ResourceSlice]) -> Generator[SliceEvent, None, None]:
        for one in listed:
            yield SliceEvent(SliceChange.ADDED, one)
        with closing(self._stream.lines()) as lines:
            for line in lines:
                seen = decoded(line, _Seen)
                if seen.type == "ERROR":  # 410: it forgot our version, or something of its own
                    said = one_line(bytes(seen.object).decode(errors="replace"))
                    raise KubeUnavailable(
                        f"the API server broke the watch of slices ({said})",
                        remedy="watch again",
                    )
                if seen.type in SliceChange.__members__:  # the others are bookmarks
                    found = decoded(bytes(seen.object), ResourceSlice)
                    yield SliceEvent(SliceChange(seen.type), found)
