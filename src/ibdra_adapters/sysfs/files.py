"""Small files, links and folders of a sysfs tree, read so that nothing can raise.

Why: a thousand VFs are twenty thousand files, and any of them may be missing, unreadable
or garbage (a device that is going away, a driver's bug, a hand-made tree).  So reading is
three bare system calls a file, and every trouble becomes "not known" plus a warning that
names the file.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from typing import TypeVar

from ibdra_domain.errors import InvalidIdentifier

_LIMIT = 4096  # what the kernel ever prints into one attribute: a page
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO in a hand-made tree must not block

ValueT = TypeVar("ValueT")


class Tree:
    """One walk through one tree; collects the warnings on the way.

    Paths are relative to the root, without a leading slash.
    """

    def __init__(self, root: str) -> None:
        self._prefix = root.rstrip("/") + "/"
        self.warnings: list[str] = []

    def text(self, path: str, *, optional: bool = False) -> str | None:
        """Read a file's text, stripped; None if there is none to be had.

        A missing ``optional`` file is no warning; an unreadable or binary one always is.
        """
        try:
            handle = os.open(self._prefix + path, _FLAGS)
        except OSError as error:
            if not (optional and error.errno in (errno.ENOENT, errno.ENOTDIR)):
                self._warn(path, _reason(error))
            return None
        try:
            raw = os.read(handle, _LIMIT)
        except OSError as error:
            self._warn(path, _reason(error))
            return None
        finally:
            os.close(handle)
        text = raw.decode("ascii", "replace").strip()
        if text.isprintable() and raw.isascii():
            return text
        self._warn(path, "it is not one line of text")
        return None

    def parsed(
        self, path: str, parse: Callable[[str], ValueT | None], *, optional: bool = False
    ) -> ValueT | None:
        """Read and parse a file; what ``parse`` rejects (None or an error) is a warning."""
        text = self.text(path, optional=optional)
        if text is None:
            return None
        try:
            value = parse(text)
        except (ValueError, InvalidIdentifier):
            value = None
        if value is None:
            self._warn(path, f"{text[:40]!r} is not understood")
        return value

    def link(self, path: str, *, optional: bool = True) -> str | None:
        """Give a symbolic link's target as it stands there."""
        try:
            target = os.readlink(self._prefix + path)  # noqa: PTH115 -- as below
        except OSError as error:
            # EINVAL: a plain file or folder where the kernel has a link
            if not optional or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._warn(
                    path, "it is not a link" if error.errno == errno.EINVAL else _reason(error)
                )
            return None
        if target.isprintable():
            return target
        self._warn(path, f"it leads to {target!a}, which cannot be printed")
        return None

    def names(self, path: str, *, optional: bool = True) -> list[str]:
        """List a folder, sorted; empty if there is none."""
        return self.listing(path, optional=optional) or []

    def listing(self, path: str, *, optional: bool = True) -> list[str] | None:
        """List a folder, sorted; None if it cannot be listed.

        A name that is no printable text is left out: it would end in an attribute or a
        warning, and no JSON encoder and no terminal takes it.
        """
        try:
            found = sorted(os.listdir(self._prefix + path))  # noqa: PTH208 -- a Path a file costs more than the file
        except OSError as error:
            if not optional or error.errno != errno.ENOENT:
                self._warn(path, _reason(error))
            return None
        for name in found:
            if not name.isprintable():
                self._warn(path, f"{name!a} in it cannot be printed")
        return [name for name in found if name.isprintable()]

    def resolved(self, path: str) -> str:
        """Follow all links of a path, inside the tree or not; gives an absolute path."""
        return os.path.realpath(self._prefix + path)

    def note(self, path: str, why: str) -> None:
        """Add a warning about a file or folder."""
        self._warn(path, why)

    def _warn(self, path: str, why: str) -> None:
        self.warnings.append(f"{path}: {why}; what it says is left out")


def _reason(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "")
    return f"{(error.strerror or 'unreadable').lower()} ({name})"


_DECIMAL = re.compile(r"-?\d{1,18}\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-f]{1,16}\Z", re.IGNORECASE)


def decimal(text: str) -> int | None:
    """Read a number as the kernel prints it: ``int`` would take "1_0" and " 1" too."""
    return int(text) if _DECIMAL.match(text) else None


def hexadecimal(text: str) -> int | None:
    """Read a number as the kernel prints it with ``0x%x``."""
    return int(text, 16) if _HEXADECIMAL.match(text) else None
