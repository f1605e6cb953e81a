"""Events of the fake kernel.

Why: whoever waits for hardware must be testable without waiting.  The fake kernel acts
inside its callers' calls, so while one thread waits nothing can come: waiting then only
moves a clock on.
"""

from __future__ import annotations

import os
import select

from ibdra_adapters.netlink.fake_devices import FakeRdma
from ibdra_adapters.netlink.fake_kernel import FakeKernel
from ibdra_domain.ports.events import Change, EventSource


class FakeClock:
    """Seconds that were waited for in vain, for deadlines."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


class FakeEvents:
    """Fulfils the Events port; listens from construction on.

    Parameters
    ----------
    clock:
        What goes on when one waits for what cannot come.
    patient:
        Other threads act on the kernel: wait for them, in real time.
    """

    def __init__(
        self, kernel: FakeKernel, *, clock: FakeClock | None = None, patient: bool = False
    ) -> None:
        self._kernel = kernel
        self._clock = clock or FakeClock()
        self._patient = patient
        self._pending: list[Change] = []
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._open = True
        kernel.watchers.append(self._note)

    def fileno(self) -> int:
        """Fulfil the port."""
        return self._event

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port; never sleeps unless ``patient``."""
        if not self._pending:
            if not self._patient:
                self._clock.now += timeout
                return ()
            select.select([self._event], [], [], timeout)
        changes, self._pending = self._pending, []
        if changes:
            os.eventfd_read(self._event)
        return tuple(dict.fromkeys(changes))

    def close(self) -> None:
        """Fulfil the port."""
        if self._open:
            self._open = False
            self._kernel.watchers.remove(self._note)
            os.close(self._event)

    def _note(self, device: FakeRdma) -> None:
        self._pending.append(
            Change(
                source=EventSource.RDMA, detail=f"RDMA device {device.name}", function=device.pci
            )
        )
        os.eventfd_write(self._event, 1)
