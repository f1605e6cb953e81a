"""Objects on a server: made, read, changed, waited for, as ``kubectl`` would.

Every method takes and gives plain JSON.  Kinds are named as in ``resources.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

import yaml

from contract.cluster.control_plane.api import Api, ApiError, Json
from contract.cluster.control_plane.resources import Resource, Resources

_POLL_SECONDS = 0.05
_Found = TypeVar("_Found")
_APPLY = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class NotInTime(AssertionError):
    """What a test waited for did not come; the text has what was there instead."""


class Objects:
    """All objects that one user may see."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._resources = Resources(api)

    def create(self, body: Json) -> Json:
        """Create an object; unknown fields are an error, as for ``kubectl``."""
        resource, namespace = self._where(body)
        path = resource.path(namespace)
        return self.api.request("POST", path, body, query={"fieldValidation": "Strict"})

    def get(self, kind: str, name: str, *, namespace: str | None = None) -> Json:
        """Read one object."""
        return self.api.request("GET", self._resources.of(kind).path(namespace, name))

    def find(self, kind: str, name: str, *, namespace: str | None = None) -> Json | None:
        """Read one object, or ``None`` if there is none."""
        try:
            return self.get(kind, name, namespace=namespace)
        except ApiError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise

    def list(
        self, kind: str, *, namespace: str | None = None, labels: str = "", fields: str = ""
    ) -> tuple[Json, ...]:
        """List objects, of all namespaces if none is given; each has its kind and version."""
        resource = self._resources.of(kind)
        query = {"labelSelector": labels, "fieldSelector": fields}
        answer = self.api.request("GET", resource.path(namespace), query=query)
        named = {"apiVersion": resource.api_version, "kind": resource.kind}
        return tuple({**named, **item} for item in answer["items"])

    def replace(self, body: Json, *, subresource: str = "") -> Json:
        """Write a whole object (or its status), at the version that it was read."""
        return self.api.request("PUT", self._path_of(body, subresource), body)

    def apply(
        self, body: Json, *, manager: str = "kubectl", force: bool = False, subresource: str = ""
    ) -> Json:
        """Apply fields on the server's side, as this field manager."""
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        if force:
            query["force"] = "true"
        path = self._path_of(body, subresource)
        return self.api.request("PATCH", path, body, query=query, content_type=_APPLY)

    def apply_manifests(self, path: Path) -> tuple[Json, ...]:
        """Apply every document of a YAML file, as ``kubectl apply --server-side -f`` does."""
        documents = [each for each in yaml.safe_load_all(path.read_text()) if each is not None]
        return tuple(self.apply(each) for each in documents)

    def patch(
        self,
        kind: str,
        name: str,
        patch: object,
        *,
        namespace: str | None = None,
        subresource: str = "",
        content_type: str = MERGE_PATCH,
    ) -> Json:
        """Patch an object (or its status)."""
        path = _below(self._resources.of(kind).path(namespace, name), subresource)
        return self.api.request("PATCH", path, patch, content_type=content_type)

    def delete(
        self,
        kind: str,
        name: str,
        *,
        namespace: str | None = None,
        grace: int | None = None,
        uid: str | None = None,
    ) -> None:
        """Delete an object, only if it has this UID where one is given."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        options["propagationPolicy"] = "Background"
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        self.api.request("DELETE", self._resources.of(kind).path(namespace, name), options)

    def wait_for(
        self,
        kind: str,
        name: str,
        predicate: Callable[[Json], object],
        *,
        namespace: str | None = None,
        seconds: float = 30.0,
    ) -> Json:
        """Wait until an object is there and the predicate likes it."""
        seen: list[Json | None] = []

        def liked() -> Json | None:
            found = self.find(kind, name, namespace=namespace)
            seen[:] = [found]
            return found if found is not None and predicate(found) else None

        what = f"{kind} {name}"
        return wait_until(liked, what=what, seconds=seconds, last=lambda: seen)

    def wait_gone(
        self, kind: str, name: str, *, namespace: str | None = None, seconds: float = 30.0
    ) -> None:
        """Wait until an object is gone."""
        seen: list[Json | None] = []

        def is_gone() -> bool:
            seen[:] = [self.find(kind, name, namespace=namespace)]
            return seen == [None]

        what = f"the end of {kind} {name}"
        wait_until(is_gone, what=what, seconds=seconds, last=lambda: seen)

    def _where(self, body: Mapping[str, Json]) -> tuple[Resource, str | None]:
        """Find an object's place; a namespaced one without namespace is in ``default``."""
        resource = self._resources.of_object(dict(body))
        namespace = body["metadata"].get("namespace", "default")
        return resource, namespace if resource.namespaced else None

    def _path_of(self, body: Json, subresource: str) -> str:
        resource, namespace = self._where(body)
        return _below(resource.path(namespace, body["metadata"]["name"]), subresource)


def wait_until(
    look: Callable[[], _Found | None],
    *,
    what: str,
    seconds: float = 30.0,
    last: Callable[[], object] = lambda: "",
) -> _Found:
    """Look until there is something true.

    Raises
    ------
    NotInTime
        There was not; ``last`` says what was there.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {seconds:g} s; last seen: {last()}")
        time.sleep(_POLL_SECONDS)
    return found


def _below(path: str, subresource: str) -> str:
    return f"{path}/{subresource}" if subresource else path
