"""What the driver leaves on a node's disks, found by name and nothing else removed.

Why: these folders are shared, with the kubelet's other plugins first of all.  A file goes
only if its whole name is one that the driver gives, a folder only when it is empty then.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ibdra_adapters.atomic import sync_folder
from ibdra_domain.errors import StateFailed


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """A folder the driver writes to.

    ``names`` are those of its files there, ``trees`` of folders that are all its own;
    ``folders`` are removed if that leaves them empty, in this order.
    """

    folder: Path
    names: re.Pattern[str]
    trees: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()


class LeftFiles:
    """Fulfils Leftovers for a list of rooms, emptied in this order."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        self._rooms = tuple(rooms)

    def found(self) -> tuple[str, ...]:
        """Fulfil the port."""
        going: dict[Path, None] = {}
        for room in self._rooms:
            with _failing("listed", room.folder):
                going |= dict.fromkeys(_files(room))
                for folder in room.folders:
                    # In a container some are mounted, and only the host can remove them.
                    if folder.is_dir() and not folder.is_symlink() and not folder.is_mount():
                        there = set(folder.iterdir())
                        if there <= going.keys():
                            going[folder] = None
        return tuple(map(str, going))

    def remove(self, path: str) -> None:
        """Fulfil the port."""
        target = Path(path)
        room = next((room for room in self._rooms if _owns(room, target)), None)
        if room is None:
            raise StateFailed(
                f"{path} is no file of this driver", remedy="give one of those that it lists"
            )
        with _failing("removed", target), contextlib.suppress(FileNotFoundError):
            if target in room.folders:
                target.rmdir()
            elif target.name in room.trees:
                shutil.rmtree(target)
            else:
                target.unlink()
            sync_folder(target.parent)


def _files(room: Room) -> Iterator[Path]:
    if not room.folder.is_dir():
        return
    for path in sorted(room.folder.iterdir()):
        is_folder = path.is_dir() and not path.is_symlink()
        if (path.name in room.trees) if is_folder else room.names.fullmatch(path.name):
            yield path


def _owns(room: Room, path: Path) -> bool:
    if path in room.folders:
        return True
    return path.parent == room.folder and bool(
        path.name in room.trees or room.names.fullmatch(path.name)
    )


@contextlib.contextmanager
def _failing(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateFailed(
            f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
            remedy="check that it is on a disk of the host, mounted here and writable",
        ) from error
