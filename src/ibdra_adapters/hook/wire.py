"""The documents that the program on the host and the daemon exchange.

Why: the two are installed apart and may be of different versions, and whoever reaches the
socket can write anything.  So what comes in is read strictly, bounded, and refused with a
reason that says which of the two to look at.

One JSON document each way, each ended by closing that direction::

    {"version": 1, "claim": "<UID>", "nodes": "231:202", "state": <OCI state>}
    {"version": 1, "attached": true}
    {"version": 1, "attached": false, "reason": "…"}
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec

from ibdra_domain.errors import HookFailed
from ibdra_domain.ports.runtime import ContainerStart

VERSION = 1
REQUEST_LIMIT = 2 << 20
"""Bytes of a request; the program sends at most half of it."""

REASON_LIMIT = 4096
"""Characters of a reason; the program shows about half of it."""

_CLAIM = r"^[A-Za-z0-9-]{1,63}\Z"
_NODES = r"^(?:-|[0-9]{1,10}:[0-9]{1,10}(?:,[0-9]{1,10}:[0-9]{1,10})*)\Z"
_NODES_LIMIT = 4000
_POD_LIMIT = 400
_POD_ANNOTATIONS = (
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name"),  # containerd
    ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name"),  # CRI-O
)
_is_claim = re.compile(_CLAIM).match
_is_nodes = re.compile(_NODES).match


class _Version(msgspec.Struct, frozen=True):
    version: int


class _State(msgspec.Struct, frozen=True):
    """What we need of the OCI state; runtimes write more."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
    pid: Annotated[int, msgspec.Meta(gt=0, lt=1 << 31)]
    annotations: dict[str, Any] = {}


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    claim: Annotated[str, msgspec.Meta(pattern=_CLAIM)]
    nodes: Annotated[str, msgspec.Meta(pattern=_NODES, max_length=_NODES_LIMIT)]
    state: _State


class _Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    version: int
    attached: bool
    reason: str | None = None


_versions = msgspec.json.Decoder(_Version)
_requests = msgspec.json.Decoder(_Request)


def is_claim(text: str) -> bool:
    """Tell whether the program would take this for a claim's UID."""
    return _is_claim(text) is not None


def is_nodes(text: str) -> bool:
    """Tell whether the program would take this for device numbers, or none."""
    return len(text) <= _NODES_LIMIT and _is_nodes(text) is not None


def decode_request(raw: bytes) -> ContainerStart:
    """Read what the program asks.  Raises HookFailed."""
    if not raw:
        raise HookFailed(
            "the hook asked nothing",
            remedy="look for what else connects to the driver's socket",
        )
    try:
        version = _versions.decode(raw).version
        if version != VERSION:
            raise HookFailed(
                f"the hook speaks version {version}, this daemon version {VERSION}",
                remedy="install this daemon's own hook with `ibdra install-hook`",
            )
        request = _requests.decode(raw)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise HookFailed(
            f"the hook's request is not understood ({error})",
            remedy="install this daemon's own hook with `ibdra install-hook`",
        ) from error
    return ContainerStart(
        claim=request.claim,
        pid=request.state.pid,
        container=request.state.id,
        nodes=request.nodes,
        pod=_pod_of(request.state.annotations),
    )


def _pod_of(annotations: dict[str, Any]) -> str:
    """Name the pod as the runtime's annotations do; empty for a runtime without pods."""
    for namespace, name in _POD_ANNOTATIONS:
        found = annotations.get(namespace), annotations.get(name)
        if all(isinstance(part, str) and part for part in found):
            return to_reason("/".join(map(str, found)))[:_POD_LIMIT]
    return ""


def encode_answer(reason: str | None) -> bytes:
    """Write the answer: attached, or the reason why not, as :func:`to_reason` makes it."""
    if reason is None:
        return msgspec.json.encode(_Answer(version=VERSION, attached=True))
    return msgspec.json.encode(_Answer(version=VERSION, attached=False, reason=reason))


def to_reason(text: str) -> str:
    """Make a text that can be sent and logged: bounded, without half a surrogate pair."""
    return text[:REASON_LIMIT].encode("utf-8", "replace").decode()
