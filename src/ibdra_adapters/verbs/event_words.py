"""What a device's asynchronous events are called.

Why: an event means "look again", so only what it was is kept, for the log; the fake says it
in the same words, and needs no libibverbs for it.

Source: ``enum ibv_event_type`` in ``<infiniband/verbs.h>``.
"""

from __future__ import annotations

from enum import IntEnum

from ibdra_adapters.verbs import troubles
from ibdra_domain.ports.events import Change, EventSource


class AsyncEventType(IntEnum):
    """The events that are a device's or a port's; others are of queues, which we have none of."""

    DEVICE_FATAL = 8
    PORT_ACTIVE = 9
    PORT_ERROR = 10
    LID_CHANGE = 11
    PKEY_CHANGE = 12
    SM_CHANGE = 13
    CLIENT_REREGISTER = 17
    GID_CHANGE = 18


_NAMES = {int(kind): kind.name.lower().replace("_", " ") for kind in AsyncEventType}


def change_of(rdma_device: str, code: int, port: int) -> Change:
    """Say what happened; a code nobody knows yet means "look again" too."""
    where = rdma_device
    if port and code != AsyncEventType.DEVICE_FATAL:
        where = f"{rdma_device} port {port}"
    detail = f"{where}: {_NAMES.get(code, f'event {code}')}"
    return Change(source=EventSource.VERBS, detail=detail)


def silence_of(rdma_device: str, code: int) -> Change:
    """Say that a device tells nothing any more."""
    detail = f"{rdma_device}: no more events ({troubles.errno_name(code)})"
    return Change(source=EventSource.VERBS, detail=detail)
