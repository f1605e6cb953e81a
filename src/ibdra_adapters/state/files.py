"""Records as files: versioned, checksummed, durable one by one.

Why: one bad file must not cost the others (a peer's single checkpoint file made whole
nodes crash-loop), and a file from a newer driver must not be misread by an older one.
A record that cannot be trusted is renamed to ``*.corrupt``: kept for a human, out of the
driver's way.  One that cannot be read now may be as good as ever, of a pod that runs: then
nothing is loaded, as its device would be given to another pod.

The file: one line of JSON, ``{"version": 1, "checksum": "<sha256 of record>",
"record": {…}}``.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Generic

import msgspec

from ibdra_adapters.atomic import is_file_key, remove_file, sync_folder, write_file
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.state import Loaded, RecordT

VERSION = 1

_READ_REMEDY = (
    "it is tried again; if it stays so, look at the disk, and move it away once no pod uses "
    "its claim"
)
_REMEDY = "check that the folder is on a disk of the host, writable, and not full"


class _Envelope(msgspec.Struct, frozen=True):
    version: int
    checksum: str
    record: msgspec.Raw


_ENVELOPES = msgspec.json.Decoder(_Envelope)


class StateFolder(Generic[RecordT]):
    """Records of one type in one folder, ``<key>.json`` each, readable by root only."""

    def __init__(self, folder: Path, record_type: type[RecordT]) -> None:
        self._folder = folder
        self._decoder = msgspec.json.Decoder(record_type)
        self._encoder = msgspec.json.Encoder()

    def load(self) -> Loaded[RecordT]:
        """Fulfil the port; leftovers of interrupted writes are removed."""
        records: dict[str, RecordT] = {}
        corrupt: dict[Path, str] = {}
        aside: set[str] = set()
        with self._failing("read", self._folder):
            self._make_folder()
            for path in sorted(self._folder.iterdir()):
                if path.name.startswith(".") and path.name.endswith(".tmp"):
                    path.unlink(missing_ok=True)
                elif path.suffix == ".corrupt":
                    aside.add(path.stem)
                elif path.suffix == ".json":
                    try:
                        with self._failing("read", path, remedy=_READ_REMEDY):
                            records.update(self._read_if_there(path))
                    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
                        corrupt[path] = str(error)
        # Last: what is told of them must not be lost to another file that cannot be read.
        warnings = [self._set_aside(path, why) for path, why in corrupt.items()]
        aside |= {path.stem for path in corrupt}
        return Loaded(records, tuple(warnings), frozenset(aside - records.keys()))

    def peek(self) -> dict[str, RecordT]:
        """Read what can be read and touch nothing: for whoever is not the driver itself."""
        return dict(self.inspect().records)

    def inspect(self) -> Loaded[RecordT]:
        """Tell what :meth:`load` would find, and touch nothing.

        ``set_aside`` are those of before; what would be set aside now has a warning.
        """
        records: dict[str, RecordT] = {}
        warnings = []
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            try:
                records[path.stem] = self._read(path)
            except FileNotFoundError:
                continue  # removed since it was listed
            except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
                warnings.append(f"{path} is not a record of this driver ({error})")
        aside = {path.stem for path in self._folder.glob("*.corrupt")}
        return Loaded(records, tuple(warnings), frozenset(aside - records.keys()))

    def save(self, key: str, record: RecordT) -> None:
        """Fulfil the port."""
        path = self._path(key)
        body = self._encoder.encode(record)
        envelope = _Envelope(
            version=VERSION, checksum=hashlib.sha256(body).hexdigest(), record=msgspec.Raw(body)
        )
        with self._failing("written", path):
            self._make_folder()
            write_file(path, self._encoder.encode(envelope) + b"\n", mode=0o600)

    def remove(self, key: str) -> None:
        """Fulfil the port; what was set aside may have a name that is no key."""
        aside = self._folder / f"{key}.corrupt"
        with self._failing("removed", aside):
            if aside in set(self._folder.glob("*.corrupt")):
                remove_file(aside)
                if not is_file_key(key):
                    return
        path = self._path(key)
        with self._failing("removed", path):
            remove_file(path)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _read(self, path: Path) -> RecordT:
        if not is_file_key(path.stem):
            raise ValueError("its name is no key")
        try:
            return self._decoded(path.read_bytes())
        except IsADirectoryError as error:
            raise ValueError("it is a folder") from error

    def _read_if_there(self, path: Path) -> dict[str, RecordT]:
        """Give nothing for one that was removed since it was listed."""
        try:
            return {path.stem: self._read(path)}
        except FileNotFoundError:
            return {}

    def _decoded(self, raw: bytes) -> RecordT:
        envelope = _ENVELOPES.decode(raw)
        if envelope.version != VERSION:
            raise ValueError(f"version {envelope.version} is not {VERSION}")
        body = bytes(envelope.record)
        if hashlib.sha256(body).hexdigest() != envelope.checksum:
            raise ValueError("the checksum does not fit")
        return self._decoder.decode(body)

    def _set_aside(self, path: Path, why: str) -> str:
        aside = path.with_suffix(".corrupt")
        with self._failing("set aside", path):
            path.replace(aside)
            sync_folder(self._folder)
        return f"{path} is not a record of this driver ({why}): it was set aside as {aside.name}"

    def _path(self, key: str) -> Path:
        if not is_file_key(key):
            raise StateFailed(f"{key!r} cannot be part of a file name", remedy="give a claim's UID")
        return self._folder / f"{key}.json"

    @contextlib.contextmanager
    def _failing(self, what: str, path: Path, *, remedy: str = _REMEDY) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateFailed(
                f"{path} could not be {what} ({(error.strerror or 'unknown cause').lower()})",
                remedy=remedy,
            ) from error
