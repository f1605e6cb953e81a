"""Files, folders and sockets of this machine, looked at and never touched.

Why: a look at a broken node must not fail for what is broken about it, nor mend it behind
the operator's back.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from ibdra_domain.ports.host import PathFacts, PathKind

LARGEST = 8 << 20
_PATIENCE = 2.0
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block
_NOBODY = {errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR, errno.ENOTSOCK, errno.EPROTOTYPE}


class LinuxFiles:
    """Fulfils HostFiles."""

    def look(self, path: str) -> PathFacts:
        """Fulfil the port."""
        try:
            found = os.stat(path)  # noqa: PTH116 -- one call for all there is to know
        except (OSError, ValueError):
            return PathFacts(path=path)
        kind = _kind(found.st_mode)
        is_device = kind is PathKind.CHAR_DEVICE
        return PathFacts(
            path=path,
            kind=kind,
            writable=os.access(path, os.W_OK),
            executable=os.access(path, os.X_OK),
            mode=stat.S_IMODE(found.st_mode),
            numbers=(os.major(found.st_rdev), os.minor(found.st_rdev)) if is_device else None,
            full=_is_full(path),
            read_only=_is_read_only(path),
        )

    def resolve(self, path: str) -> str:
        """Fulfil the port."""
        return os.path.realpath(path)

    def names(self, folder: str) -> tuple[str, ...]:
        """Fulfil the port."""
        try:
            return tuple(sorted(path.name for path in Path(folder).iterdir()))
        except (OSError, ValueError):
            return ()

    def read(self, path: str) -> bytes | None:
        """Fulfil the port."""
        try:
            handle = os.open(path, _FLAGS)
        except (OSError, ValueError):
            return None
        try:
            pieces = bytearray()
            while len(pieces) < LARGEST and (piece := os.read(handle, LARGEST - len(pieces))):
                pieces += piece
            return bytes(pieces)
        except OSError:
            return None
        finally:
            os.close(handle)

    def answers(self, socket: str) -> bool:
        """Fulfil the port; who is asked sees a connection that says nothing."""
        return _answers(socket)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_PATIENCE)
        try:
            client.connect(path)
        except OSError as error:
            # "Path too long" comes without a number: no socket can lie there.
            return error.errno is not None and error.errno not in _NOBODY
        return True


def _kind(mode: int) -> PathKind:
    for test, kind in (
        (stat.S_ISREG, PathKind.FILE),
        (stat.S_ISDIR, PathKind.FOLDER),
        (stat.S_ISSOCK, PathKind.SOCKET),
        (stat.S_ISCHR, PathKind.CHAR_DEVICE),
    ):
        if test(mode):
            return kind
    return PathKind.OTHER


def _is_read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_full(path: str) -> bool:
    """Tell whether its file system has no room; one that does not count (sysfs) has."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False
    return found.f_blocks > 0 and found.f_bavail == 0
