"""The open devices of this node: what they tell by themselves, and letting go of them in time.

Why: a port that goes down while its interface is down raises no uevent and no link event;
only its open device tells.  But a device that is held open must not be moved, so a move
lets go of it first, and nothing is opened while one may be under way.  It is a help and
no duty: a device that cannot be opened is looked at all the same, a little later.
"""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager

from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import IbDevice, Presence
from ibdra_domain.ports.events import Change
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.ports.verbs import AsyncEvents, DeviceEvents

_log = logging.getLogger(__name__)

MOST = 128
"""Devices held open at once, two descriptors each; PFs first, for they tell of the cable."""


class DeviceWatches:
    """Fulfils Events over all devices that are followed; any thread may call it.

    Parameters
    ----------
    still:
        Held while a device is opened: whoever has it moves none meanwhile.
    """

    def __init__(
        self,
        *,
        verbs: AsyncEvents,
        sysfs: Sysfs,
        still: AbstractContextManager[object],
        most: int = MOST,
    ) -> None:
        self._verbs = verbs
        self._sysfs = sysfs
        self._still = still
        self._most = most
        self._open: dict[str, DeviceEvents] = {}
        self._names: dict[int, str] = {}
        self._lock = threading.Lock()
        self._poll = select.epoll()

    @property
    def followed(self) -> tuple[str, ...]:
        """Name the devices that are held open."""
        with self._lock:
            return tuple(self._open)

    def follow(self, devices: Iterable[IbDevice]) -> None:
        """Open what is at home and not open yet, and let go of what is not there any more."""
        home = {d.rdma_device: d.pci for d in _parents_first(devices)}
        wanted = dict(list(home.items())[: self._most])
        for name in set(self.followed) - wanted.keys():
            self.drop(name)
        for name in [name for name in wanted if name not in self.followed]:
            self._follow(name, wanted[name])

    def drop(self, rdma_device: str) -> None:
        """Let go of a device, at the latest when this returns."""
        with self._lock:
            self._forget(rdma_device)

    def fileno(self) -> int:
        """Fulfil the port."""
        return self._poll.fileno()

    def wait(self, timeout: float) -> tuple[Change, ...]:
        """Fulfil the port."""
        ready = self._poll.poll(max(timeout, 0))
        changes: list[Change] = []
        with self._lock:
            for handle, _ in ready:
                name = self._names.get(handle)
                if name is None:  # it was let go of meanwhile
                    continue
                changes += self._open[name].wait(0)
                if self._open[name].ended:
                    self._forget(name)
        return tuple(dict.fromkeys(changes))

    def close(self) -> None:
        """Fulfil the port; devices may be followed again."""
        with self._lock:
            for name in list(self._open):
                self._forget(name)

    def _follow(self, name: str, pci: PciAddress) -> None:
        with self._still:
            if name not in self._sysfs.rdma_devices(pci):
                return
            try:
                events = self._verbs.watch(name)
            except KernelRefused as error:
                _log.debug("%s", error)
                return
            with self._lock:
                self._open[name] = events
                self._names[events.fileno()] = name
                self._poll.register(events.fileno(), select.EPOLLIN)

    def _forget(self, name: str) -> None:
        events = self._open.pop(name, None)
        if events is None:
            return
        handle = next(fd for fd, known in self._names.items() if known == name)
        del self._names[handle]
        self._poll.unregister(handle)
        events.close()


def _parents_first(devices: Iterable[IbDevice]) -> list[IbDevice]:
    here = [device for device in devices if device.presence is Presence.HERE]
    return sorted(here, key=lambda device: device.parent_pci is not None)
