"""Sockets that appear in their place ready, and go if they are still ours.

Why: who dials a unix socket must never find one that does not answer yet or that has the
wrong mode; one that a dead process left must give way; and in a rolling update the next
instance may already have put its own in the same place.  So a server binds a hidden name
and :func:`publish` renames it.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

PATH_LIMIT = 107
"""Bytes of ``sockaddr_un.sun_path``, less the closing zero."""

SOCKET_MODE = 0o600
_HIDDEN_LENGTH = len("dra.sock")


class PublishedSocket(msgspec.Struct, frozen=True, kw_only=True):
    """A socket of ours in its final place, remembered by what lies there, not by name."""

    path: Path
    device: int
    inode: int

    def remove(self) -> bool:
        """Remove the socket if it is still the one we published; tell whether it was.

        Call it while the server still listens: a bound socket keeps its inode's number
        from being given to somebody else's socket.  Raises OSError.
        """
        try:
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) != (self.device, self.inode):
                return False
            self.path.unlink()
        except FileNotFoundError:
            return False
        return True


def hidden_name(path: Path) -> Path:
    """Give a path to bind before ``path`` is published: beside it, hidden, no longer.

    No longer than the shortest name in use, ``dra.sock``.
    """
    return path.with_name(f".{secrets.token_hex(4)}"[:_HIDDEN_LENGTH])


def publish(hidden: Path, path: Path) -> PublishedSocket:
    """Give the bound socket its mode and its place, over a stale socket if one is there.

    Raises OSError, without the hidden socket left behind: FileExistsError if something
    lies there that is no socket.
    """
    try:
        if os.path.lexists(path) and not path.is_socket():
            raise FileExistsError(f"{path} is no socket")
        hidden.chmod(SOCKET_MODE)
        found = hidden.lstat()
        hidden.rename(path)
    except OSError:
        hidden.unlink(missing_ok=True)
        raise
    return PublishedSocket(path=path, device=found.st_dev, inode=found.st_ino)


def fits(path: Path) -> bool:
    """Tell whether a unix socket can have this path."""
    return len(os.fsencode(path)) <= PATH_LIMIT
