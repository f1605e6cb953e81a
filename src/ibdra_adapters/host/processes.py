"""What /proc tells of processes: our own rights, others' limits, network namespaces.

Why: rights and limits decide what a pod can do long before the driver is asked, and the
kernel tells of them nowhere else.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ibdra_domain.ports.host import MemoryLimit, ProcessRights

# Bits of <linux/capability.h>, by what the driver may need.
_CAPABILITIES = {12: "CAP_NET_ADMIN", 19: "CAP_SYS_PTRACE", 21: "CAP_SYS_ADMIN"}
_EFFECTIVE = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_UIDS = re.compile(r"^Uid:\s*\d+\s+(\d+)", re.MULTILINE)
_LOCKED = re.compile(r"^Max locked memory\s+(unlimited|\d+)", re.MULTILINE)
_NETNS = re.compile(r"net:\[(\d+)\]")


class LinuxProcesses:
    """Fulfils HostProcesses."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def rights(self) -> ProcessRights:
        """Fulfil the port."""
        status = _text(self._proc / "self/status")
        effective, uid = _EFFECTIVE.search(status), _UIDS.search(status)
        bits = int(effective[1], 16) if effective else 0
        return ProcessRights(
            root=uid is not None and uid[1] == "0",
            capabilities=frozenset(n for bit, n in _CAPABILITIES.items() if bits >> bit & 1),
        )

    def memory_limits(self, programs: Iterable[str]) -> tuple[MemoryLimit, ...]:
        """Fulfil the port."""
        wanted = set(programs)
        found = []
        for process in self._processes():
            program = _text(process / "comm").strip()
            if program not in wanted:
                continue
            limit = _LOCKED.search(_text(process / "limits"))
            if limit is not None:
                locked = None if limit[1] == "unlimited" else int(limit[1])
                found.append(MemoryLimit(program=program, pid=int(process.name), locked=locked))
        return tuple(sorted(found, key=lambda limit: limit.pid))

    def other_namespaces(self) -> int:
        """Fulfil the port; one that neither a process nor a mount keeps is not seen."""
        found = set(_NETNS.findall(_text(self._proc / "self/mountinfo")))
        for process in self._processes():
            with contextlib.suppress(OSError):
                found.update(_NETNS.findall(str((process / "ns/net").readlink())))
        with contextlib.suppress(OSError):
            found -= set(_NETNS.findall(str((self._proc / "self/ns/net").readlink())))
        return len(found)

    def _processes(self) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            for path in self._proc.iterdir():
                if path.name.isdecimal():
                    yield path


def _text(path: Path) -> str:
    """Read a file; nothing if it is gone, which processes are at any moment."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
