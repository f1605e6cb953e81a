"""Why: whether a node is fit stands in files, processes and sockets that no other port reads.

Nothing here changes anything, and nothing raises for what is missing or unreadable: that
is what is being looked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Protocol

import msgspec


class PathKind(StrEnum):
    """What lies at a path."""

    MISSING = "missing"
    FILE = "file"
    FOLDER = "folder"
    SOCKET = "socket"
    CHAR_DEVICE = "character device"
    OTHER = "something else"


class PathFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at a path, links followed.

    ``writable`` and ``executable`` are for this process.  ``mode`` has the permission bits.
    ``numbers`` are a device's major and minor.  ``full``: its file system has no room left.
    ``read_only``: it is mounted so that nothing on it can be written.
    """

    path: str
    kind: PathKind = PathKind.MISSING
    writable: bool = False
    executable: bool = False
    mode: int = 0
    numbers: tuple[int, int] | None = None
    full: bool = False
    read_only: bool = False


class HostFiles(Protocol):
    """The host's files, as this process sees them."""

    def look(self, path: str) -> PathFacts:
        """Tell what lies there."""

    def resolve(self, path: str) -> str:
        """Give the path with all links followed, as far as they lead anywhere."""

    def names(self, folder: str) -> tuple[str, ...]:
        """List a folder, sorted; nothing for one that cannot be listed."""

    def read(self, path: str) -> bytes | None:
        """Give a file's content, at most 8 MiB of it; None if it cannot be read."""

    def answers(self, socket: str) -> bool:
        """Tell whether somebody listens at a unix socket; where that is not known, yes."""


class ProcessRights(msgspec.Struct, frozen=True, kw_only=True):
    """What this process may do: ``capabilities`` are the effective ones, ``CAP_SYS_ADMIN``."""

    root: bool
    capabilities: frozenset[str] = frozenset()


class MemoryLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many bytes a process, and what it starts, may lock in memory; None is any number."""

    program: str
    pid: int
    locked: int | None = None


class HostProcesses(Protocol):
    """The host's processes, as far as /proc shows them."""

    def rights(self) -> ProcessRights:
        """Tell what this process may do."""

    def memory_limits(self, programs: Iterable[str]) -> tuple[MemoryLimit, ...]:
        """Give the limits of the processes of these programs, by their pid."""

    def other_namespaces(self) -> int:
        """Count the network namespaces, but for the one this process is in."""
