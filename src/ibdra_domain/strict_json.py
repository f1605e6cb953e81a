"""JSON read so that nothing in it is lost: a key given twice is marked, not resolved.

Why: JSON readers take one of the two, and not all the same one; where it is a pkey, that is
the wrong fabric.  A mark instead of an error, as the same text may hold other drivers'
parameters, which are not ours to refuse, and other mistakes, which are to be told as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from ibdra_domain.errors import InvalidJson

FieldPath = tuple[str | int, ...]


class _Twice:
    """What stands for the value of a key that was given more than once."""

    def __repr__(self) -> str:
        return "TWICE"


TWICE = _Twice()


class Document(msgspec.Struct, frozen=True):
    """A decoded text; ``twice`` are the paths of the keys that it gives more than once."""

    value: Any
    twice: tuple[FieldPath, ...] = ()


def decode(raw: bytes | str) -> Document:
    """Decode one JSON document.  Raises InvalidJson, and nothing else, whatever the text."""
    marked = False

    def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal marked
        found = dict(pairs)
        if len(found) != len(pairs):
            marked = True
            seen = set()
            for key, _ in pairs:
                if key in seen:
                    found[key] = TWICE
                seen.add(key)
        return found

    try:
        value = json.loads(raw, object_pairs_hook=to_object)
    except RecursionError as error:
        raise InvalidJson("not JSON (it is nested too deeply)", remedy=_REMEDY) from error
    except ValueError as error:
        raise InvalidJson(f"not JSON ({error})", remedy=_REMEDY) from error
    return Document(value, tuple(twice_in(value)) if marked else ())


def twice_in(value: Any) -> Iterator[FieldPath]:
    """Give the path of every mark in a decoded value, in reading order."""
    found: list[tuple[FieldPath, Any]] = [((), value)]
    while found:
        path, here = found.pop()
        if here is TWICE:
            yield path
        elif isinstance(here, dict):
            found += [((*path, key), below) for key, below in reversed(here.items())]
        elif isinstance(here, list):
            found += [((*path, index), here[index]) for index in reversed(range(len(here)))]


_REMEDY = "give one JSON document"
