"""The watch over a device that does not exist.

Why: apart from :mod:`ibdra_adapters.verbs.fake` because it is a stream, with a descriptor
that a real event loop can wait for.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque

from ibdra_adapters.verbs import troubles
from ibdra_adapters.verbs.event_words import AsyncEventType, change_of, silence_of
from ibdra_domain.ports.events import Change


class FakeDeviceEvents:
    """Fulfils DeviceEvents; ``tell`` and ``silence`` are what the device does."""

    def __init__(self, rdma_device: str) -> None:
        self.rdma_device = rdma_device
        self._changes: deque[tuple[Change, bool]] = deque()
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended = False

    def tell(self, code: int, port: int) -> None:
        """Raise an event."""
        change = change_of(self.rdma_device, code, port)
        self._add(change, last=code == AsyncEventType.DEVICE_FATAL)

    def silence(self, code: int) -> None:
        """Fail the next reading, after what was raised before."""
        self._add(silence_of(self.rdma_device, code), last=True)

    def _add(self, change: Change, *, last: bool) -> None:
        if self._fd >= 0:
            self._changes.append((change, last))
            os.eventfd_write(self._fd, 1)

    @property
    def ended(self) -> bool:
        """Fulfil the port."""
        return self._ended

    def fileno(self) -> int:
        """Fulfil the port.  Raises KernelRefused (EBADF) once closed."""
        if self._fd < 0:
            raise troubles.not_watched(self.rdma_device, errno.EBADF)
        return self._fd

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port."""
        if self._ended:
            return ()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(max(timeout, 0) * 1000):
            return ()
        os.eventfd_read(self._fd)
        changes: list[Change] = []
        while self._changes and not self._ended:
            change, self._ended = self._changes.popleft()
            changes.append(change)
        return tuple(dict.fromkeys(changes))

    def close(self) -> None:
        """Fulfil the port."""
        fd, self._fd = self._fd, -1
        self._ended = True
        if fd >= 0:
            os.close(fd)
