"""Records in memory, under the same contract as the folder."""

from __future__ import annotations

from typing import Generic

import msgspec

from ibdra_adapters.atomic import is_file_key
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.state import Loaded, RecordT


class FakeStateStore(Generic[RecordT]):
    """Keep records as bytes, so that what cannot be stored fails here too.

    ``broken`` makes every later call fail; a value of ``files`` that is no record any
    more is set aside by ``load``, and its key goes to ``aside`` for good.
    """

    def __init__(self, record_type: type[RecordT]) -> None:
        self._decoder = msgspec.json.Decoder(record_type)
        self.files: dict[str, bytes] = {}
        self.broken = False
        self.aside: set[str] = set()

    def load(self) -> Loaded[RecordT]:
        """Fulfil the port."""
        self._check("all")
        records, warnings = {}, []
        for key, raw in sorted(self.files.items()):
            try:
                records[key] = self._decoder.decode(raw)
            except (ValueError, RecursionError, msgspec.MsgspecError) as error:
                del self.files[key]
                self.aside.add(key)
                warnings.append(f"{key} is not a record of this driver ({error}): it was set aside")
        return Loaded(records, tuple(warnings), frozenset(self.aside - records.keys()))

    def save(self, key: str, record: RecordT) -> None:
        """Fulfil the port."""
        self._check(key)
        self.files[key] = msgspec.json.encode(record)

    def remove(self, key: str) -> None:
        """Fulfil the port."""
        if key in self.aside and not self.broken:
            self.aside.remove(key)
            if not is_file_key(key):
                return
        self._check(key)
        self.files.pop(key, None)

    def _check(self, key: str) -> None:
        if self.broken:
            raise StateFailed("the fake state folder is broken", remedy="mend it")
        if not is_file_key(key):
            raise StateFailed(f"{key!r} cannot be part of a file name", remedy="give a claim's UID")
