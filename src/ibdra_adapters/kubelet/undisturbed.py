"""Calls of gRPC's server that are let end, whoever is cancelled meanwhile.

Why: its start and stop do not bear to be cancelled.  One that is may fail with
InvalidStateError, never end, or lose the cancellation: then a plugin that is told to stop
goes on for ever, until the kubelet kills it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def undisturbed(call: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Give a call's result; if cancelled, pass that on as soon as the call has ended."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: the cancellation is what counts
        raise
