"""What gRPC begins it ends, also when somebody is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ibdra_adapters.kubelet.undisturbed import undisturbed


async def test_a_call_gives_its_result_or_its_error() -> None:
    """As if it were awaited by itself."""
    assert 7 == await undisturbed(asyncio.sleep(0, 7))
    with pytest.raises(TimeoutError):
        await undisturbed(failing())


async def failing() -> None:
    await asyncio.sleep(0.01)
    raise TimeoutError


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancellation_waits_for_the_call_and_is_not_lost(*, fails: bool) -> None:
    """However often it comes while the call is under way, and whatever the call ends in."""
    ended: list[bool] = []

    async def call(note: Callable[[bool], None]) -> None:
        try:
            await failing() if fails else await asyncio.sleep(0.01)
        finally:
            note(asyncio.current_task().cancelling() > 0)  # type: ignore[union-attr]  # in a task

    task = asyncio.create_task(undisturbed(call(ended.append)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [False] == ended
