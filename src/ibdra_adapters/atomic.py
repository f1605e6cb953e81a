"""Files that are there whole or not at all, also after a power cut.

Why: CDI specs are read by others while we write, and state files are all that is left of
us after a crash.  Rename is the only write that is both atomic and, once the folder is
synced, durable.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}\Z")


def is_file_key(key: str) -> bool:
    """Tell whether a key can stand in a file name as it is: no folder, no hidden file."""
    return bool(_KEY.match(key))


def write_file(path: Path, content: bytes, *, mode: int) -> None:
    """Replace a file: temporary file beside it, fsync, rename, fsync of the folder.

    Makes the folder and its parents if they are missing.  Raises OSError; then the old
    file is as it was and nothing is left beside it, except where the folder alone could
    not be synced: then the new file is there, but might not be after a power cut.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        handle = os.open(aside, flags, mode)
        try:
            os.fchmod(handle, mode)
            _write_all(handle, content)
            os.fsync(handle)
        finally:
            os.close(handle)
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise
    sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Remove a file durably; one that is not there is a success.  Raises OSError."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and removals in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]
