"""What a real API server is, and what it lets us do: asked, nothing tried.

Why: apart from the other ports because only `ibdra doctor` asks.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ibdra_adapters.kube.client import KubeClient
from ibdra_adapters.kube.decoding import decoded
from ibdra_domain.ports.access import Right

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


class _GroupVersion(msgspec.Struct, frozen=True, rename="camel"):
    group_version: str


class _Group(msgspec.Struct, frozen=True):
    versions: tuple[_GroupVersion, ...] = ()


class _Groups(msgspec.Struct, frozen=True):
    """All groups: of one that is not served, a server says no more than 404, as a proxy does."""

    groups: tuple[_Group, ...]


class _Verdict(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _Verdict


class ServerAccessReviews:
    """Fulfils ServerAccess."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    def version(self) -> str:
        """Fulfil the port."""
        return decoded(self._client.call("GET", "/version"), _Version).git_version

    def serves(self, api_version: str) -> bool:
        """Fulfil the port."""
        groups = decoded(self._client.call("GET", "/apis"), _Groups).groups
        return any(api_version == v.group_version for group in groups for v in group.versions)

    def allowed(self, right: Right) -> bool:
        """Fulfil the port."""
        asked: dict[str, Any] = {
            "verb": right.verb,
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "name": right.name,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in asked.items() if value}},
        }
        return decoded(self._client.call("POST", _REVIEWS, body=body), _Review).status.allowed
