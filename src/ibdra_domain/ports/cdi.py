"""Why: the container runtime reads CDI specs from a folder, while we write them."""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.cdi import CdiSpec


class CdiSpecs(Protocol):
    """Our spec files, one a key (a claim's UID); other drivers' are never touched.

    Every method raises CdiFailed when the folder does not let it.
    """

    def write(self, key: str, spec: CdiSpec) -> None:
        """Put a spec in place, whole or not at all; replaces the key's former one."""

    def remove(self, key: str) -> None:
        """Remove a spec; one that is not there is a success."""

    def read(self, key: str) -> CdiSpec | None:
        """Read a spec back; None if it is missing or not readable as one."""

    def keys(self) -> tuple[str, ...]:
        """List the keys that have a file, sorted."""
