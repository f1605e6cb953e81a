"""Marks as files: what the program on the host may answer while no daemon runs.

Why: a container that is restarted in a living sandbox needs its hook to succeed, also
while the daemon is down or being replaced.  The program believes a mark only if all of it
is right, so a mark that is left over, from before a reboot or of a dead namespace, is as
good as none.  The program's half of the rules is in ``deploy/hook/mark.c``.

The file is named by the claim's UID::

    ibdra 1
    boot <boot id>
    netns <device> <inode> <cookie>
    nodes <numbers>
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ibdra_adapters.atomic import remove_file, write_file
from ibdra_adapters.hook.wire import is_claim, is_nodes
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.netlink import NetnsId

DEFAULT_FOLDER = Path("/run/ibdra/attached")


class MarkFolder:
    """Fulfils the AttachedMarks port; the folder is root's alone.

    Parameters
    ----------
    boot_id:
        This boot's, as the kernel prints it.
    """

    def __init__(self, folder: Path = DEFAULT_FOLDER, *, boot_id: str) -> None:
        self._folder = folder
        self._boot_id = boot_id

    def put(self, claim: str, *, netns: NetnsId, nodes: str) -> None:
        """Fulfil the port."""
        path = self._path(claim)
        check_nodes(nodes)
        text = (
            f"ibdra 1\nboot {self._boot_id}\n"
            f"netns {netns.device} {netns.inode} {netns.cookie}\nnodes {nodes}\n"
        )
        with self._failing("written", path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, text.encode("ascii"), mode=0o600)

    def remove(self, claim: str) -> None:
        """Fulfil the port."""
        path = self._path(claim)
        with self._failing("removed", path):
            remove_file(path)

    def claims(self) -> tuple[str, ...]:
        """Fulfil the port."""
        with self._failing("listed", self._folder):
            try:
                return tuple(sorted(p.name for p in self._folder.iterdir() if is_claim(p.name)))
            except FileNotFoundError:
                return ()

    def clear(self) -> None:
        """Fulfil the port; leftovers of interrupted writes go too."""
        for claim in self.claims():
            self.remove(claim)
        with self._failing("cleared", self._folder):
            for path in self._folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def _path(self, claim: str) -> Path:
        check_claim(claim)
        return self._folder / claim

    @contextlib.contextmanager
    def _failing(self, what: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateFailed(
                f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
                remedy="check that the folder is the host's own below /run, writable, and not full",
            ) from error


def check_claim(claim: str) -> None:
    """Raise StateFailed for what the program would not take for a claim's UID."""
    if not is_claim(claim):
        raise StateFailed(f"{claim!r} cannot be a mark's name", remedy="give a claim's UID")


def check_nodes(nodes: str) -> None:
    """Raise StateFailed for what the program would not take for device numbers."""
    if not is_nodes(nodes):
        raise StateFailed(
            f"{nodes!r} are no device numbers", remedy="write them as 231:202,231:203, or a dash"
        )
