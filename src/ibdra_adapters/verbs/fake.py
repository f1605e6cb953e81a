"""A libibverbs without hardware.

Why: the simulated machine, the demo and other drivers' tests need HCAs that come, go and
fail on request.  It stands under the same contract suite as
:class:`~ibdra_adapters.verbs.libibverbs.LibIbverbs` and speaks in the same words.
"""

from __future__ import annotations

import errno as _errno
from collections.abc import Iterable

import msgspec

from ibdra_adapters.verbs import troubles
from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_adapters.verbs.fake_events import FakeDeviceEvents
from ibdra_domain.hardware import Hca, HcaPort, VerbsReading
from ibdra_domain.ports.verbs import DeviceEvents


class FakeVerbs:
    """Answers from HCAs it is given.

    Fulfils the Verbs and AsyncEvents ports.  What libibverbs does not know of an HCA (its
    PCI address, board id and type) is left out of the answers, so the HCAs of a whole
    machine's description can be given as they are.

    Parameters
    ----------
    hcas:
        The devices in "our" network namespace, in the order in which they are listed.

    Examples
    --------
    A device moves into a pod's namespace and comes back::

        verbs = FakeVerbs(machine.hcas)
        verbs.remove("mlx5_2")
        verbs.put(hca)
    """

    def __init__(self, hcas: Iterable[Hca] = ()) -> None:
        self._hcas = {hca.name: hca for hca in hcas}
        self._list_errno = 0
        self._open_errnos: dict[str, int] = {}
        self._port_errnos: dict[tuple[str, int], int] = {}
        self._gid_errnos: dict[tuple[str, int], int] = {}
        self._watches: list[FakeDeviceEvents] = []

    # What a test or a simulation does to the machine.

    def put(self, hca: Hca) -> None:
        """Add an HCA, or change the one of that name where it stands."""
        self._hcas[hca.name] = hca

    def remove(self, rdma_device: str) -> None:
        """Take an HCA away, as a move to another namespace does; no matter if it is not there."""
        self._hcas.pop(rdma_device, None)
        self.tell(rdma_device, AsyncEventType.DEVICE_FATAL)

    def tell(self, rdma_device: str, event: int, *, port: int = 0) -> None:
        """Raise an asynchronous event at everybody who watches the device."""
        for watch in self._watches:
            if watch.rdma_device == rdma_device:
                watch.tell(event, port)

    def silence(self, rdma_device: str, *, errno: int = _errno.EIO) -> None:
        """Fail everybody who watches the device, as a driver does that is torn down."""
        for watch in self._watches:
            if watch.rdma_device == rdma_device:
                watch.silence(errno)

    def refuse_list(self, *, errno: int) -> None:
        """Refuse to list devices; ENOSYS is a kernel without RDMA."""
        self._list_errno = errno

    def refuse_open(self, rdma_device: str, *, errno: int = _errno.EPERM) -> None:
        """Refuse to open a device from now on."""
        self._open_errnos[rdma_device] = errno

    def refuse_port(self, rdma_device: str, port: int, *, errno: int = _errno.EIO) -> None:
        """Refuse to answer for a port from now on."""
        self._port_errnos[rdma_device, port] = errno

    def refuse_gid(self, rdma_device: str, port: int, *, errno: int = _errno.EIO) -> None:
        """Refuse to give a port's GIDs from now on."""
        self._gid_errnos[rdma_device, port] = errno

    def accept(self) -> None:
        """Take all refusals back."""
        self._list_errno = 0
        self._open_errnos.clear()
        self._port_errnos.clear()
        self._gid_errnos.clear()

    # The ports.

    def read(self) -> VerbsReading:
        """Open and query every device once."""
        if self._list_errno == _errno.ENOSYS:
            return VerbsReading()
        if self._list_errno:
            return VerbsReading(warnings=(troubles.devices_not_listed(self._list_errno),))
        hcas: list[Hca] = []
        warnings: list[str] = []
        for hca in self._hcas.values():
            if hca.name in self._open_errnos:
                refused = troubles.device_not_opened(hca.name, self._open_errnos[hca.name])
                warnings.append(refused)
                continue
            hcas.append(
                Hca(
                    name=hca.name,
                    node_guid=hca.node_guid,
                    firmware=hca.firmware,
                    ports=self._ports(hca, warnings),
                )
            )
        return VerbsReading(hcas=tuple(hcas), warnings=tuple(warnings))

    def read_port(self, rdma_device: str, port: int) -> HcaPort | None:
        """Query one port now; None if the device is not in our namespace, or is gone."""
        hca = self._hcas.get(rdma_device)
        if hca is None or self._list_errno or rdma_device in self._open_errnos:
            return None
        return next((p for p in self._ports(hca, []) if p.number == port), None)

    def watch(self, rdma_device: str) -> DeviceEvents:
        """Follow a device until closed.  Raises KernelRefused."""
        code = self._list_errno or self._open_errnos.get(rdma_device, 0)
        if rdma_device not in self._hcas:
            code = self._list_errno or _errno.ENODEV
        if code:
            raise troubles.not_watched(rdma_device, code)
        watch = FakeDeviceEvents(rdma_device)
        self._watches = [w for w in self._watches if not w.ended] + [watch]
        return watch

    def _ports(self, hca: Hca, warnings: list[str]) -> tuple[HcaPort, ...]:
        answered = []
        for port in hca.ports:
            key = (hca.name, port.number)
            if key in self._port_errnos:
                warnings.append(troubles.port_not_queried(*key, self._port_errnos[key]))
            elif key in self._gid_errnos:
                warnings.append(troubles.gid_not_queried(*key, self._gid_errnos[key]))
                answered.append(msgspec.structs.replace(port, gid0=None))
            else:
                answered.append(port)
        return tuple(answered)
