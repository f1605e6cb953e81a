"""Who owns which field of an object: server-side apply, as far as drivers use it.

Why: apply is how a driver writes into an object it shares with others (D12): it adds what
the patch names, and removes what the same manager named before and does not name now.
Lists are atomic but for those the API declares as maps by some keys.

Source: Kubernetes documentation, "Server-Side Apply"; ``resource/v1`` list map keys.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

Path = tuple[str, ...]

# Lists that are maps: by their path, the fields that identify an entry.
_LIST_KEYS: dict[Path, Path] = {
    ("status", "devices"): ("driver", "device", "pool", "shareID"),
    ("status", "devices", "[]", "conditions"): ("type",),
    ("status", "reservedFor"): ("uid",),
}


class FieldOwners:
    """The leaves each manager has applied to one object."""

    def __init__(self) -> None:
        self._owned: dict[str, dict[Path, Any]] = {}

    def contested(self, current: Any, patch: Any, *, manager: str) -> set[str]:
        """List the leaves that another manager owns with another value than the patch's."""
        now = dict(_leaves(current))
        others = {path for name, owned in self._owned.items() if name != manager for path in owned}
        return {
            ".".join(path)
            for path, value in _leaves(patch)
            if path in others and now.get(path) != value
        }

    def apply(self, current: dict[str, Any], patch: dict[str, Any], *, manager: str) -> None:
        """Change ``current`` in place and note the ownership."""
        wanted = dict(_leaves(patch))
        former = self._owned.get(manager, {})
        kept = {p for name, owned in self._owned.items() if name != manager for p in owned}
        for path in former:
            if path not in wanted and path not in kept:
                _remove(current, path)
        for name, owned in self._owned.items():
            if name != manager:
                for path in [p for p in owned if p in wanted and wanted[p] != owned[p]]:
                    del owned[path]
        for path, value in wanted.items():
            _put(current, path, copy.deepcopy(value))
        self._owned[manager] = wanted


def _leaves(value: Any, path: Path = (), shape: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Walk to the leaves.

    An entry of a list map is addressed by its identifying fields, which are owned with
    the entry as one: taken away one by one they would leave an entry nobody can find.
    """
    if isinstance(value, dict) and (value or not path):
        for key, below in value.items():
            yield from _leaves(below, (*path, key), (*shape, key))
    elif isinstance(value, list) and shape in _LIST_KEYS:
        keys = _LIST_KEYS[shape]
        for entry in value:
            here = (*path, _identity(entry, keys))
            yield here, {}
            for key, below in entry.items():
                if key not in keys:
                    yield from _leaves(below, (*here, key), (*shape, "[]", key))
    else:
        yield path, value


def _identity(entry: dict[str, Any], keys: Path) -> str:
    """Name an entry by all its keys: one it does not have tells it from one that has."""
    return "[" + ",".join(f"{key}={entry.get(key, '')}" for key in keys) + "]"


def _entry(items: list[dict[str, Any]], identity: str) -> dict[str, Any] | None:
    fields = dict(pair.split("=", 1) for pair in identity[1:-1].split(","))
    return next((x for x in items if all(str(x.get(k, "")) == v for k, v in fields.items())), None)


def _put(target: Any, path: Path, value: Any) -> None:
    for step, below in pairwise(path):
        if step.startswith("["):
            target = _entry_or_new(target, step)
        else:
            target = target.setdefault(step, [] if below.startswith("[") else {})
    if path[-1].startswith("["):
        _entry_or_new(target, path[-1])
    else:
        target[path[-1]] = value


def _entry_or_new(items: list[dict[str, Any]], identity: str) -> dict[str, Any]:
    found = _entry(items, identity)
    if found is None:
        found = {}
        items.append(found)
        for pair in identity[1:-1].split(","):
            key, text = pair.split("=", 1)
            if text:
                found[key] = text
    return found


def _remove(target: Any, path: Path) -> None:
    """Remove a leaf, and whatever is empty without it on the way up."""
    step, rest = path[0], path[1:]
    if step.startswith("["):
        entry = _entry(target, step)
        if entry is None:
            return
        if rest:
            _remove(entry, rest)
        else:
            target.remove(entry)
        return
    if step not in target:
        return
    if rest:
        _remove(target[step], rest)
        if target[step] in ({}, []):
            del target[step]
    else:
        del target[step]
