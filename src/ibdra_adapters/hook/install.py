"""The program on the host: put there, replaced and cleared up while containers start.

Why: the runtime may run the program at any moment, and one that is half written fails
every container with a claim.  So a version is a file of its own, named by its content and
never written to again; the name in the CDI specs is a link that is switched in one step.
A program that is running keeps its file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ibdra_adapters.atomic import sync_folder, write_file
from ibdra_domain.errors import HookFailed

PROGRAM = "ibdra-hook"
DEFAULT_SOURCE = Path("/usr/libexec/ibdra/ibdra-hook")
KEPT = 2
"""Versions that stay, the current one among them: the way back after a bad update."""

_DIGITS = 12
_MODE = 0o755
_VERSION = re.compile(rf"{PROGRAM}-[0-9a-f]{{{_DIGITS}}}\Z")
_ELF = b"\x7fELF"


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Where the program is now: the link, the version it leads to, and what was done."""

    link: Path
    version: Path
    changed: bool
    removed: tuple[Path, ...] = ()


def install_hook(source: Path = DEFAULT_SOURCE, *, folder: Path) -> Installed:
    """Install a program; the same one again changes nothing.  Raises HookFailed."""
    content = _read(source)
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    version = folder / f"{PROGRAM}-{digest}"
    link = folder / PROGRAM
    with _failing("installed", link):
        written = not _is_there(version, content)
        if written:
            write_file(version, content, mode=_MODE)
        switched = not _leads_to(link, version.name)
        if switched:
            _switch(link, version.name)
        removed = tuple(_surplus(folder, version))
        for path in removed:
            path.unlink(missing_ok=True)
    return Installed(link=link, version=version, changed=written or switched, removed=removed)


def _read(source: Path) -> bytes:
    with _failing("read", source):
        content = source.read_bytes()
    if not content.startswith(_ELF):
        raise HookFailed(
            f"{source} is no program of this kind of machine",
            remedy="give the file that `make -C deploy/hook` builds",
        )
    return content


def _is_there(version: Path, content: bytes) -> bool:
    """Tell whether a version is whole and can be run; a crash may have left less."""
    try:
        mode = version.lstat().st_mode
        return (
            stat.S_ISREG(mode) and stat.S_IMODE(mode) == _MODE and version.read_bytes() == content
        )
    except FileNotFoundError:
        return False


def _leads_to(link: Path, target: str) -> bool:
    return link.is_symlink() and os.fspath(link.readlink()) == target


def _switch(link: Path, target: str) -> None:
    """Point the link elsewhere in one step, durably."""
    aside = link.with_name(f".{link.name}.{secrets.token_hex(4)}.tmp")
    aside.symlink_to(target)
    try:
        aside.replace(link)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(link.parent)


def _surplus(folder: Path, current: Path) -> Iterator[Path]:
    """Give the versions to remove: all but the current and the newest others."""
    others = [path for path in folder.iterdir() if _VERSION.match(path.name) and path != current]
    newest = sorted(others, key=lambda path: path.lstat().st_mtime_ns, reverse=True)
    yield from sorted(newest[KEPT - 1 :])


@contextlib.contextmanager
def _failing(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HookFailed(
            f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
            remedy="check that its folder is on a disk of the host, writable, and not full",
        ) from error
