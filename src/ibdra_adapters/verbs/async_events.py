"""The watch over an open device: its asynchronous events, as they come.

Why: a port that goes down raises no uevent and no link event while its interface is down.
libibverbs tells of it on a descriptor of the opened device.

Source: ``ibv_get_async_event(3)``; ``ib_uverbs_async_event_read`` in
``drivers/infiniband/core/uverbs_main.c``.
"""

from __future__ import annotations

import errno
import os
import select

from ibdra_adapters.verbs import troubles
from ibdra_adapters.verbs._abi import Context, Library
from ibdra_adapters.verbs.event_words import AsyncEventType, change_of, silence_of
from ibdra_domain.ports.events import Change


class ContextEvents:
    """Fulfils DeviceEvents over an open context, which is its own."""

    def __init__(self, library: Library, context: Context, rdma_device: str) -> None:
        self._library = library
        self._context: Context | None = context
        self._name = rdma_device
        self._fd = library.async_fd(context)
        self._ended = False
        os.set_blocking(self._fd, False)

    @property
    def ended(self) -> bool:
        """Fulfil the port."""
        return self._ended

    def fileno(self) -> int:
        """Fulfil the port.  Raises KernelRefused (EBADF) once closed."""
        if self._context is None:
            raise troubles.not_watched(self._name, errno.EBADF)
        return self._fd

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port."""
        if self._context is None or self._ended:
            return ()
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(max(timeout, 0) * 1000):
            return ()
        changes: list[Change] = []
        while not self._ended:
            try:
                event = self._library.next_event(self._context)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    break
                self._ended = True
                changes.append(silence_of(self._name, error.errno or 0))
            else:
                self._ended = event.code == AsyncEventType.DEVICE_FATAL
                changes.append(change_of(self._name, event.code, event.port))
        return tuple(dict.fromkeys(changes))

    def close(self) -> None:
        """Fulfil the port."""
        context, self._context = self._context, None
        self._ended = True
        if context is not None:
            self._library.close(context)
