"""CDI specs as files.

Why: the runtime may read the folder at any moment, and refuses to start *any* container
with a device of ours while one of the files is half written.  So a file appears whole
(written aside under a name the runtime does not look at, synced, renamed), and only
files with our own prefix are ever listed or removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ibdra_adapters.atomic import is_file_key, remove_file, write_file
from ibdra_domain.cdi import CdiSpec, check_spec, decode_spec
from ibdra_domain.errors import CdiFailed

DEFAULT_FOLDER = Path("/var/run/cdi")


class CdiFolder:
    """Specs of one driver: ``<prefix>_<key>.json``, the prefix made from its name."""

    def __init__(self, folder: Path = DEFAULT_FOLDER, *, driver: str) -> None:
        self._folder = folder
        self._prefix = f"{driver.replace('/', '-')}_"

    def write(self, key: str, spec: CdiSpec) -> None:
        """Fulfil the port.  The folder is made if it is missing (tmpfs after a reboot)."""
        check_spec(spec)
        path = self._path(key)
        with self._failing("written", path):
            write_file(path, spec.encode(), mode=0o644)

    def remove(self, key: str) -> None:
        """Fulfil the port; leftovers of the key's interrupted writes go too."""
        path = self._path(key)
        with self._failing("removed", path):
            for leftover in self._folder.glob(f".{path.name}.*.tmp"):
                leftover.unlink(missing_ok=True)
            remove_file(path)

    def read(self, key: str) -> CdiSpec | None:
        """Fulfil the port."""
        path = self._path(key)
        with self._failing("read", path):
            try:
                return decode_spec(path.read_bytes())
            except (FileNotFoundError, msgspec.DecodeError):
                return None

    def keys(self) -> tuple[str, ...]:
        """Fulfil the port."""
        with self._failing("listed", self._folder):
            try:
                names = [entry.name for entry in self._folder.iterdir()]
            except FileNotFoundError:
                return ()
        ours = (
            name.removeprefix(self._prefix).removesuffix(".json")
            for name in names
            if name.startswith(self._prefix) and name.endswith(".json")
        )
        return tuple(sorted(key for key in ours if is_file_key(key)))

    def _path(self, key: str) -> Path:
        if not is_file_key(key):
            raise CdiFailed(f"{key!r} cannot be part of a file name", remedy="give a claim's UID")
        return self._folder / f"{self._prefix}{key}.json"

    @contextlib.contextmanager
    def _failing(self, what: str, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CdiFailed(
                f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
                remedy="check that the folder is mounted into the driver's container, writable, "
                "and not full",
            ) from error
