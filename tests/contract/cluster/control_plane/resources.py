"""Where objects of a kind live on a server, by asking the server.

One request a root gives all groups, versions and resources (aggregated discovery).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.cluster.control_plane.api import Api

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_NEVER_BARE = "events.k8s.io"  # core/v1's Event is the one that people mean


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind in one version."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Give the path of a collection, or of one object in it."""
        root = "/apis" if "/" in self.api_version else "/api"
        parts = [root, self.api_version]
        if self.namespaced and namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name is not None:
            if self.namespaced and namespace is None:
                raise ValueError(f"{self.kind} {name} needs a namespace")
            parts.append(name)
        return "/".join(parts)


class Resources:
    """What a server has, looked up once and again when something is not found."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._found: dict[tuple[str, str], Resource] = {}
        self._preferred: dict[str, Resource] = {}

    def of(self, kind: str) -> Resource:
        """Find a kind: ``Pod``, or with a version, ``resource.k8s.io/v1/ResourceSlice``."""
        version, _, bare = kind.rpartition("/")
        found = self._look_up(version, bare)
        if found is None:
            self._discover()
            found = self._look_up(version, bare)
        if found is None:
            raise LookupError(f"the server has no {kind}")
        return found

    def of_object(self, body: dict[str, Any]) -> Resource:
        """Find the kind of an object."""
        return self.of(f"{body['apiVersion']}/{body['kind']}")

    def _look_up(self, version: str, kind: str) -> Resource | None:
        return self._found.get((version, kind)) if version else self._preferred.get(kind)

    def _discover(self) -> None:
        for root in ("/api", "/apis"):
            for group in self._api.request("GET", root, accept=_AGGREGATED)["items"]:
                self._add(group)

    def _add(self, group: dict[str, Any]) -> None:
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for each in version.get("resources", []):
                resource = Resource(
                    api_version=api_version,
                    kind=each["responseKind"]["kind"],
                    plural=each["resource"],
                    namespaced=each["scope"] == "Namespaced",
                )
                self._found[api_version, resource.kind] = resource
                # The server's first version of a group is the one it prefers.
                if name != _NEVER_BARE:
                    self._preferred.setdefault(resource.kind, resource)
