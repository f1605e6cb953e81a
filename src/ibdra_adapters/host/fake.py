"""A host in memory, under the same contract: a fit one until something is planted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.host import MemoryLimit, PathFacts, PathKind, ProcessRights

_ALL = frozenset({"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"})


class FakeFiles:
    """Fulfils HostFiles; paths are put there one by one, with the folders above them."""

    def __init__(self) -> None:
        self._facts: dict[str, PathFacts] = {}
        self._contents: dict[str, bytes] = {}
        self.listening: set[str] = set()
        self.links: dict[str, str] = {}

    def put(self, facts: PathFacts, content: bytes = b"") -> None:
        """Put something at a path."""
        for parent in PurePosixPath(facts.path).parents:
            above = str(parent)
            self._facts.setdefault(
                above,
                PathFacts(path=above, kind=PathKind.FOLDER, writable=True, executable=True,
                          mode=0o755),
            )  # fmt: skip
        self._facts[facts.path] = facts
        self._contents[facts.path] = content

    def take(self, path: str) -> None:
        """Take it away."""
        self._facts.pop(path, None)
        self._contents.pop(path, None)

    def look(self, path: str) -> PathFacts:
        """Fulfil the port."""
        return self._facts.get(path, PathFacts(path=path))

    def resolve(self, path: str) -> str:
        """Fulfil the port, by ``links`` from one folder to another."""
        for link, target in self.links.items():
            if path == link or path.startswith(f"{link}/"):
                return target + path.removeprefix(link)
        return path

    def names(self, folder: str) -> tuple[str, ...]:
        """Fulfil the port."""
        paths = (PurePosixPath(path) for path in self._facts)
        here = PurePosixPath(folder)
        return tuple(sorted(path.name for path in paths if path.parent == here and path.name))

    def read(self, path: str) -> bytes | None:
        """Fulfil the port."""
        return self._contents.get(path) if self.look(path).kind is PathKind.FILE else None

    def answers(self, socket: str) -> bool:
        """Fulfil the port."""
        return socket in self.listening and self.look(socket).kind is PathKind.SOCKET


class FakeProcesses:
    """Fulfils HostProcesses."""

    def __init__(
        self,
        *,
        rights: ProcessRights | None = None,
        limits: Iterable[MemoryLimit] = (),
        namespaces: int = 0,
    ) -> None:
        self.own = rights or ProcessRights(root=True, capabilities=_ALL)
        self.limits = tuple(limits)
        self.namespaces = namespaces

    def rights(self) -> ProcessRights:
        """Fulfil the port."""
        return self.own

    def memory_limits(self, programs: Iterable[str]) -> tuple[MemoryLimit, ...]:
        """Fulfil the port."""
        wanted = set(programs)
        return tuple(limit for limit in self.limits if limit.program in wanted)

    def other_namespaces(self) -> int:
        """Fulfil the port."""
        return self.namespaces


class FakeLeftovers:
    """Fulfils Leftovers; what is in ``stuck`` cannot be removed."""

    def __init__(self, paths: Iterable[str] = ()) -> None:
        self.paths = list(paths)
        self.stuck: set[str] = set()

    def found(self) -> tuple[str, ...]:
        """Fulfil the port."""
        return tuple(self.paths)

    def remove(self, path: str) -> None:
        """Fulfil the port."""
        if path in self.stuck:
            raise StateFailed(f"{path} could not be removed (stuck)", remedy="loosen it")
        if path in self.paths:
            self.paths.remove(path)
