"""A stop that meets an event: the agent ends, whichever of them comes first."""

from __future__ import annotations

import asyncio

import pytest

from ibdra_app import watching


@pytest.mark.parametrize("turns", range(4))
async def test_a_stop_that_meets_an_event_is_not_lost(turns: int) -> None:
    """However many turns of the loop lie between an event and the stop, the stop counts.

    In Python 3.11 ``asyncio.wait_for`` loses a cancellation that comes just after what it
    waits for: then an agent that is told to stop while a port changes goes on for ever.
    """
    woken = asyncio.Event()
    waiting = asyncio.create_task(watching._one_of(woken, 30.0))
    await asyncio.sleep(0.01)
    woken.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    accepted = waiting.cancel()
    await asyncio.wait({waiting})
    assert accepted == waiting.cancelled()
