"""JSON of an API server -> what we use of it.

Why: one place where an object from another version becomes a value, or an error that says
whose object it is; for the server in memory and the real one alike.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ibdra_domain.errors import KubeFailed

ObjectT = TypeVar("ObjectT")


def decoded(body: bytes | dict[str, Any], kind: type[ObjectT]) -> ObjectT:
    """Read what we use of an object; unknown fields are passed over.

    Raises KubeFailed if it is not what it should be.
    """
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        name = getattr(kind, "__name__", "answer")
        raise KubeFailed(
            f"a {name} from the API server is not understood ({error})",
            remedy="upgrade the driver to one that knows this Kubernetes version",
        ) from error
