"""CDI specs in memory, under the same contract as the folder."""

from __future__ import annotations

from ibdra_adapters.atomic import is_file_key
from ibdra_domain.cdi import CdiSpec, check_spec
from ibdra_domain.errors import CdiFailed


class FakeCdiSpecs:
    """Keep specs; ``broken`` makes every later call fail, as a full disk would."""

    def __init__(self) -> None:
        self.specs: dict[str, CdiSpec] = {}
        self.broken = False

    def write(self, key: str, spec: CdiSpec) -> None:
        """Fulfil the port."""
        self._check(key)
        check_spec(spec)
        self.specs[key] = spec

    def remove(self, key: str) -> None:
        """Fulfil the port."""
        self._check(key)
        self.specs.pop(key, None)

    def read(self, key: str) -> CdiSpec | None:
        """Fulfil the port."""
        self._check(key)
        return self.specs.get(key)

    def keys(self) -> tuple[str, ...]:
        """Fulfil the port."""
        self._check("all")
        return tuple(sorted(self.specs))

    def _check(self, key: str) -> None:
        if self.broken:
            raise CdiFailed("the fake CDI folder is broken", remedy="mend it")
        if not is_file_key(key):
            raise CdiFailed(f"{key!r} cannot be part of a file name", remedy="give a claim's UID")
