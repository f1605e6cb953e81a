"""Where the two sockets lie, who may open them, and who may remove them.

Why: the kubelet finds a driver by its socket's place alone, a unix socket's path must fit
107 bytes, and in a rolling update two instances of one driver share the folders.  Nothing
here speaks gRPC.

A server binds a hidden name (the kubelet skips those) and :func:`publish` renames it.
gRPC, which at its end removes whatever lies at the path it bound, finds nothing there:
the published socket is removed by :meth:`PublishedSocket.remove`, if it is still ours.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import Self

import msgspec

from ibdra_adapters import unix_socket
from ibdra_adapters.unix_socket import PATH_LIMIT, hidden_name
from ibdra_domain.errors import InvalidIdentifier, KubeletFailed

__all__ = [
    "KUBELET_DIR",
    "PATH_LIMIT",
    "PLUGINS",
    "REGISTRY",
    "FoundSocket",
    "PublishedSocket",
    "SocketPaths",
    "check_length",
    "find_sockets",
    "hidden_name",
    "prepare_folder",
    "publish",
]

KUBELET_DIR = Path("/var/lib/kubelet")
REGISTRY = "plugins_registry"
PLUGINS = "plugins"

_DRIVER_NAME = re.compile(r"(?!.{64})[a-z0-9]+(?:-+[a-z0-9]+)*(?:\.[a-z0-9]+(?:-+[a-z0-9]+)*)*\Z")
_INSTANCE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z")
_DIGEST_LENGTH = 8  # with it, the longest driver name fits below /var/lib/kubelet
_FOLDER_MODE = 0o750


class SocketPaths(msgspec.Struct, frozen=True, kw_only=True):
    """The registration socket and the socket of the DRA service."""

    registration: Path
    plugin: Path

    @classmethod
    def of(
        cls, driver_name: str, *, kubelet_dir: Path = KUBELET_DIR, instance: str | None = None
    ) -> Self:
        """Choose the paths.

        Parameters
        ----------
        driver_name:
            As ResourceClaims and DeviceClasses write it: at most 63 characters.
        kubelet_dir:
            The kubelet's folder, as this process sees it.
        instance:
            What tells two running instances of one driver apart, best the pod's UID.
            None: there is never more than one.

        Raises InvalidIdentifier for a name that is none, and KubeletFailed if the folder's
        path leaves no room for a socket.
        """
        if not _DRIVER_NAME.match(driver_name):
            raise InvalidIdentifier(
                f"{driver_name!r} is not a driver name",
                remedy="write at most 63 lower case letters, digits, dots and dashes",
            )
        if instance is not None and not _INSTANCE.match(instance):
            raise InvalidIdentifier(
                f"{instance!r} is not an instance name", remedy="give the pod's UID"
            )
        root = kubelet_dir.absolute()
        middle = "" if instance is None else f"-{instance}"
        digest = _digest(driver_name, instance)
        return cls(
            registration=_fit(
                root / REGISTRY, f"{driver_name}{middle}-reg.sock", f"{digest}-reg.sock"
            ),
            plugin=_fit(
                root / PLUGINS / driver_name,
                f"dra{middle}.sock",
                "dra.sock" if instance is None else f"dra-{digest}.sock",
            ),
        )


class PublishedSocket(unix_socket.PublishedSocket, frozen=True, kw_only=True):
    """A socket of ours in its final place."""

    def remove(self) -> bool:
        """Remove the socket if it is still the one we published; tell whether it was.

        Call it while the server still listens.  Raises KubeletFailed.
        """
        try:
            return super().remove()
        except OSError as error:
            raise KubeletFailed(
                f"socket {self.path} cannot be removed, {error.strerror}",
                remedy="remove it by hand, or the kubelet goes on dialling it",
            ) from error


class FoundSocket(msgspec.Struct, frozen=True, kw_only=True):
    """A socket as it was found; ``inode`` and ``changed`` tell it from an earlier one."""

    path: Path
    inode: int
    changed: int


def find_sockets(folder: Path) -> tuple[FoundSocket, ...]:
    """Find the sockets the kubelet would find in its registry, in the order they came.

    Hidden names and whatever is no socket are passed over; folders are looked into.
    """
    found: list[FoundSocket] = []
    for path in folder.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            status = path.lstat()
        except FileNotFoundError:  # its driver just left
            continue
        if stat.S_ISSOCK(status.st_mode):
            found.append(FoundSocket(path=path, inode=status.st_ino, changed=status.st_ctime_ns))
    return tuple(sorted(found, key=lambda socket: (socket.changed, socket.path)))


def prepare_folder(folder: Path) -> None:
    """Create a socket's folder, for root and its group; an existing one stays as it is."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(_FOLDER_MODE)  # mkdir's own mode is cut by the umask
        os.scandir(folder).close()
    except OSError as error:
        raise KubeletFailed(
            f"folder {folder} cannot be used, {error.strerror}",
            remedy="mount the kubelet's folder into the driver's container, writable",
        ) from error


def publish(hidden: Path, path: Path) -> PublishedSocket:
    """Give the bound socket its mode and its place, over a stale socket if one is there.

    Raises KubeletFailed, without the hidden socket left behind, also if something lies
    there that is no socket.
    """
    try:
        found = unix_socket.publish(hidden, path)
    except FileExistsError as error:
        raise KubeletFailed(
            f"socket {path} cannot be put in place, something that is no socket lies there",
            remedy="find out whose it is and move it away",
        ) from error
    except OSError as error:
        raise KubeletFailed(
            f"socket {path} cannot be put in place, {error.strerror}",
            remedy="check the rights on its folder",
        ) from error
    return PublishedSocket(path=found.path, device=found.device, inode=found.inode)


def check_length(path: Path) -> None:
    """Raise KubeletFailed if the path is too long for a unix socket."""
    length = len(os.fsencode(path))
    if length > PATH_LIMIT:
        raise KubeletFailed(
            f"socket path {path} has {length} bytes, a unix socket's may have {PATH_LIMIT}",
            remedy="use a kubelet folder with a shorter path",
        )


def _fit(folder: Path, name: str, fallback: str) -> Path:
    """Take the plain name if its path fits, else the fallback."""
    if len(os.fsencode(folder / name)) <= PATH_LIMIT:
        return folder / name
    check_length(folder / fallback)
    return folder / fallback


def _digest(driver_name: str, instance: str | None) -> str:
    """Stand in for names that are too long; the slash occurs in neither."""
    text = driver_name if instance is None else f"{driver_name}/{instance}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]
