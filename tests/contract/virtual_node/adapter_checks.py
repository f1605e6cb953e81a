"""What tests of our adapters look at in the guest: refusals in our words, nothing left."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ibdra_domain.errors import KernelRefused
from ibdra_domain.ports.verbs import DeviceEvents


@contextmanager
def nothing_left() -> Iterator[None]:
    """See that no descriptor and no thread is left, and this thread is where it was."""
    ours = Path("/proc/thread-self/ns/net")
    before = descriptors(), threading.active_count(), ours.stat().st_ino
    yield
    assert before == (descriptors(), threading.active_count(), ours.stat().st_ino)


def descriptors() -> set[str]:
    """Name this process' open descriptors, without the one that lists them."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


def refusal(call: Callable[[], object]) -> KernelRefused:
    """Give the refusal a call ends in, which must not leave anything behind."""
    with nothing_left(), pytest.raises(KernelRefused) as refused:
        call()
    assert errno.errorcode[refused.value.errno] in refused.value.problem
    assert refused.value.remedy
    return refused.value


def told(events: DeviceEvents) -> list[str]:
    """Take what comes until the watch ends, or for half a second."""
    seen: list[str] = []
    until = time.monotonic() + 0.5
    while time.monotonic() < until and not events.ended:
        seen += [change.detail for change in events.wait(0.1)]
    return seen
