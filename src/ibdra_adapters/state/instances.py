"""Processes of the driver on one node, told apart by file locks.

Why: a lock on a file ends with the process that has it, whatever it dies of, and works
across containers that mount the same folder.  The folder must not outlive a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from ibdra_domain.errors import StateFailed

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class FileTurn:
    """Fulfils NodeTurn; the file has the name of who had the last turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = uuid4().hex.encode()
        self._handle: int | None = None

    def take(self) -> bool:
        """Fulfil the port."""
        with _failing("locked", self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, _FLAGS, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                last = os.pread(handle, 64, 0)
                if last != self._name:
                    os.pwrite(handle, self._name, 0)
            except BaseException:
                os.close(handle)
                raise
            self._handle = handle
        return last != self._name

    def give(self) -> None:
        """Fulfil the port."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)


class FileArrivals:
    """Fulfils Arrivals: a locked file for each process that is on its way."""

    def __init__(self, folder: Path) -> None:
        self._place = FileSuccession(folder)

    def announce(self) -> None:
        """Fulfil the port."""
        self._place.enter()

    def another(self) -> bool:
        """Fulfil the port."""
        return self._place.others() > 0

    def settle(self) -> None:
        """Fulfil the port."""
        self._place.leave()


class FileSuccession:
    """Fulfils Succession: a locked file an instance, named by when it entered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._handle: int | None = None

    def enter(self) -> None:
        """Fulfil the port."""
        if self._handle is not None:
            return
        with _failing("used", self._folder):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            path = self._folder / f"{since:020d}-{uuid4().hex[:8]}"
            aside = path.with_name(f".{path.name}")  # a name that counts only once it is locked
            handle = os.open(aside, _FLAGS, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                aside.rename(path)
            except BaseException:
                os.close(handle)
                aside.unlink(missing_ok=True)
                raise
        self._path, self._handle = path, handle

    def leads(self) -> bool:
        """Fulfil the port; the files of those that died are removed."""
        if self._path is None:
            return False
        with _failing("read", self._folder):
            later = [path for path in self._folder.iterdir() if path.name > self._path.name]
            return not any(_is_alive(path) for path in later)

    def others(self) -> int:
        """Fulfil the port."""
        with _failing("read", self._folder):
            if not self._folder.is_dir():
                return 0
            others = [path for path in self._folder.iterdir() if path != self._path]
            return sum(_is_locked(path) for path in others)

    def leave(self) -> None:
        """Fulfil the port."""
        if self._handle is not None and self._path is not None:
            with _failing("removed", self._path):
                self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._path = self._handle = None


def _is_alive(path: Path) -> bool:
    """Tell whether its process lives; the file of one that died is removed."""
    if _is_locked(path):
        return True
    path.unlink(missing_ok=True)
    return False


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:  # it just left
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def _failing(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateFailed(
            f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
            remedy="check that its folder is writable",
        ) from error
