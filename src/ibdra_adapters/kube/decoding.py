"""JSON of an API server -> what we use of it.

Why: one place where an object from another version becomes a value, or an error that says
whose object it is; for the server in memory and the real one alike.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ibdra_domain.errors import KubeFailed

ObjectT = TypeVar("ObjectT")
_FOREIGN = "parameters"


def decoded(body: bytes | dict[str, Any], kind: type[ObjectT]) -> ObjectT:
    """Read what we use of an object; unknown fields are passed over, null is as good as none.

    Raises KubeFailed if it is not what it should be.
    """
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        return _read(raw, kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(kind, "__name__", "answer")
        raise KubeFailed(
            f"a {name} from the API server is not understood ({error})",
            remedy="upgrade the driver to one that knows this Kubernetes version",
        ) from error


def _read(raw: bytes, kind: type[ObjectT]) -> ObjectT:
    """Read it; where the server wrote a null (1.34: for a slice's missing devices), once more."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError:
        if b"null" not in raw:
            raise
        return msgspec.json.decode(msgspec.json.encode(_without_nulls(raw)), type=kind)


def _without_nulls(raw: bytes) -> object:
    """Leave null fields out, but for those of a driver's parameters: these stay as they came."""
    match raw.lstrip()[:1]:
        case b"{":
            fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            return {
                name: value if name == _FOREIGN else _without_nulls(bytes(value))
                for name, value in fields.items()
                if bytes(value) != b"null"
            }
        case b"[":
            items = msgspec.json.decode(raw, type=list[msgspec.Raw])
            return [_without_nulls(bytes(item)) for item in items]
        case _:
            return msgspec.Raw(raw)
