"""What an API server says -> what we use of it, or the error that it is.

Why: one place where an object from another version becomes a value, and a refusal becomes
an error in the server's words; for the server in memory and the real one alike.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

from ibdra_domain.errors import (
    KubeConflict,
    KubeFailed,
    KubeInvalid,
    KubeNotFound,
    KubeUnavailable,
)

Json = dict[str, Any]
ObjectT = TypeVar("ObjectT")
_FOREIGN = "parameters"
_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_MAKING = threading.Lock()
"""Two threads that make the decoders of one type at once crash the process (msgspec 0.22)."""

_LONGEST_WORDS = 500
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decoded(body: bytes | Json, kind: type[ObjectT]) -> ObjectT:
    """Read what we use of an object; unknown fields are passed over, null is as good as none.

    Raises KubeFailed if it is not what it should be.
    """
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    try:
        return _read(raw, kind)
    except _UNDECODABLE as error:
        name = getattr(kind, "__name__", "answer")
        raise KubeFailed(
            f"a {name} from the API server is not understood ({one_line(str(error))})",
            remedy="upgrade the driver to one that knows this Kubernetes version",
        ) from error


def _read(raw: bytes, kind: type[ObjectT]) -> ObjectT:
    """Read it; where the server wrote a null (1.34: for a slice's missing devices), once more."""
    decoder = _decoder(kind)
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError:
        if b"null" not in raw:
            raise
        return decoder.decode(msgspec.json.encode(_without_nulls(raw)))


def _decoder(kind: type[ObjectT]) -> msgspec.json.Decoder[ObjectT]:
    with _MAKING:
        made = _DECODERS.get(kind)
        if made is None:
            made = _DECODERS[kind] = msgspec.json.Decoder(kind)
    return made


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


class _Status(msgspec.Struct):
    """``meta/v1`` Status, as far as it explains a refusal."""

    message: str = ""
    reason: str = ""


_STATUSES = msgspec.json.Decoder(_Status)


def refusal(what: str, *, status: int, body: bytes, is_anonymous: bool = False) -> KubeFailed:
    """Turn a refusal into ours, in the server's words."""
    try:
        said = _STATUSES.decode(body)
    except _UNDECODABLE:
        said = _Status(message=body[: 2 * _LONGEST_WORDS].decode(errors="replace"))
    problem = f"{what}: {status}, {one_line(said.message) or 'no reason given'}"
    # Without the reason it is the path that is not there, and nobody knows about the object.
    if status == 404 and said.reason == "NotFound":
        return KubeNotFound(problem, remedy="it was deleted, or never created")
    if status == 409:
        return KubeConflict(problem, remedy="read it again and decide anew")
    if status in (408, 410, 429) or status >= 500:
        return KubeUnavailable(problem, remedy="try again")
    kind = KubeInvalid if status == 422 else KubeFailed
    return kind(problem, remedy=_remedy(status, is_anonymous=is_anonymous))


def _remedy(status: int, *, is_anonymous: bool) -> str:
    if status in (401, 403) and is_anonymous:
        return (
            "there is neither a token nor a certificate to show: "
            "check the kubeconfig's user, and the plugin that it may name"
        )
    if status == 401:
        return "its token or certificate has run out: check what renews it"
    if status == 403:
        return "allow this in the driver's RBAC rules (its ClusterRole)"
    if status == 404:
        return "check the server's address, and that it is Kubernetes 1.34 or newer"
    return "compare the driver's version with the cluster's"


def one_line(text: str) -> str:
    """Give somebody else's text as a part of a message: one line, printable, not too long."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST_WORDS])
    words = " ".join(printable.split())
    return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + "..."
