"""Why: an agent without a right works until it needs it; it is better to be told before.

Errors of every method: KubeUnavailable, KubeFailed.
"""

from __future__ import annotations

from typing import Protocol

import msgspec


class Right(msgspec.Struct, frozen=True, kw_only=True):
    """One verb on one resource; ``group`` is empty for the core API's."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    name: str = ""

    def __str__(self) -> str:
        """Name it: ``patch resourceclaims.resource.k8s.io/status``."""
        group = f".{self.group}" if self.group else ""
        below = f"/{self.subresource}" if self.subresource else ""
        return f"{self.verb} {self.resource}{group}{below}"


class ServerAccess(Protocol):
    """What an API server is, and what it lets this identity do."""

    def version(self) -> str:
        """Give its version as it says it, ``v1.34.2``."""

    def serves(self, api_version: str) -> bool:
        """Tell whether it serves a group and version, ``resource.k8s.io/v1``."""

    def allowed(self, right: Right) -> bool:
        """Ask whether this identity has a right."""
