"""The fake kernel's events, with the fake kernel's time.

Why: what waits for a real kernel must be tested without a real second passing.  Nobody
sleeps here: waiting lets the simulated clock run to the next thing that will happen.
"""

from __future__ import annotations

import os

from ibdra_adapters.netlink.fake_devices import FakeRdma
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_domain.ports.events import Change, EventSource


class FakeEvents:
    """Fulfils the Events port over a fake kernel."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel
        self._waiting: list[Change] = []
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with kernel.lock:
            kernel.watchers.append(self._seen)

    def fileno(self) -> int:
        """Fulfil the port."""
        return self._fd

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port; if nothing has come, the kernel's time goes on meanwhile."""
        with self._kernel.lock:
            if not self._waiting:
                self._kernel.let_time_pass(timeout)
            taken, self._waiting = self._waiting, []
            if taken:
                os.eventfd_read(self._fd)
            return tuple(dict.fromkeys(taken))

    def close(self) -> None:
        """Fulfil the port."""
        with self._kernel.lock:
            if self._fd >= 0:
                self._kernel.watchers.remove(self._seen)
                os.close(self._fd)
                self._fd = -1

    def _seen(self, device: FakeRdma) -> None:
        detail = f"RDMA device {device.name}"
        change = Change(source=EventSource.RDMA, detail=detail, function=device.pci)
        self._waiting.append(change)
        os.eventfd_write(self._fd, 1)
