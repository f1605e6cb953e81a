"""The ``Verbs`` and ``AsyncEvents`` ports over the machine's own libibverbs.

Why: the active MTU, a second opinion where sysfs is silent, and what devices tell unasked.
libibverbs is asked through its exported functions only, in cffi's ABI mode, so one
pure-Python wheel works with every rdma-core that has a libibverbs.so.1.

What it cannot tell, it leaves out: PCI addresses, board ids and HCA types are sysfs'
business, and readings are joined by device name.
"""

from __future__ import annotations

import errno

from ibdra_adapters.verbs import troubles
from ibdra_adapters.verbs._abi import Context, Device, Library, PortAttr
from ibdra_adapters.verbs.async_events import ContextEvents
from ibdra_domain.hardware import Hca, HcaPort, VerbsReading
from ibdra_domain.identifiers import Gid, gid_from_bytes, guid_from_int
from ibdra_domain.link import (
    LinkLayer,
    Rate,
    mtu_from_code,
    physical_state_from_code,
    port_state_from_code,
    rate_from_codes,
)
from ibdra_domain.ports.verbs import DeviceEvents

# IBV_LINK_LAYER_UNSPECIFIED (0) is not in it: we do not guess.
_LINK_LAYERS = {1: LinkLayer.INFINIBAND, 2: LinkLayer.ETHERNET}
# `active_speed` has eight bits, and a port faster than NDR says NDR there
# (ibv_query_port(3)): this code means "NDR or more".
_NDR = 128
_EMPTY_GID = bytes(16)  # a table entry that nothing has been put into


class LibIbverbs:
    """Reads HCAs through libibverbs, which is loaded at the first question.

    A library that cannot be loaded is tried again at the next question.  Threads may
    share an instance.

    Parameters
    ----------
    library:
        Soname or path of the library.
    """

    def __init__(self, library: str = "libibverbs.so.1") -> None:
        self._name = library
        self._loaded: Library | None = None

    def read(self) -> VerbsReading:
        """Open and query every device once."""
        try:
            library = self._library()
        except OSError as error:
            return VerbsReading(warnings=(troubles.library_not_loaded(self._name, error),))
        hcas: list[Hca] = []
        warnings: list[str] = []
        try:
            with library.devices() as devices:
                for device in devices:
                    hca = _read_device(library, device, warnings)
                    if hca is not None:
                        hcas.append(hca)
        except OSError as error:
            code = error.errno or 0
            if code != errno.ENOSYS:  # ENOSYS: this kernel has no RDMA, which is no trouble
                warnings.append(troubles.devices_not_listed(code))
        return VerbsReading(hcas=tuple(hcas), warnings=tuple(warnings))

    def read_port(self, rdma_device: str, port: int) -> HcaPort | None:
        """Query one port now; None if the device is not in our namespace, or is gone."""
        if not 1 <= port <= 255:
            return None
        try:
            library = self._library()
            with library.devices() as devices:
                for device in devices:
                    if library.name(device) == rdma_device:
                        with library.opened(device) as context:
                            return _read_port(library, context, rdma_device, port, [])
        except OSError:
            pass  # the port says None for all of these; read() tells them apart
        return None

    def watch(self, rdma_device: str) -> DeviceEvents:
        """Open a device and follow it until closed.  Raises KernelRefused."""
        try:
            library = self._library()
        except OSError as error:
            raise troubles.not_watched(rdma_device, error.errno or errno.ELIBACC) from error
        try:
            with library.devices() as devices:
                for device in devices:
                    if library.name(device) == rdma_device:
                        return ContextEvents(library, library.open(device), rdma_device)
        except OSError as error:
            raise troubles.not_watched(rdma_device, error.errno or 0) from error
        raise troubles.not_watched(rdma_device, errno.ENODEV)

    def _library(self) -> Library:
        # Two threads may both load it: dlopen counts, and the results are alike.
        if self._loaded is None:
            self._loaded = Library(self._name)
        return self._loaded


def _read_device(library: Library, device: Device, warnings: list[str]) -> Hca | None:
    name = library.name(device)
    opened = False
    try:
        with library.opened(device) as context:
            opened = True
            attr = library.query_device(context)
            return Hca(
                name=name,
                # Zero is reported as such: an HCA without a GUID must not be taken for good.
                node_guid=guid_from_int(library.guid(device)),
                firmware=attr.firmware or None,
                ports=_read_ports(library, context, name, attr.ports, warnings),
            )
    except OSError as error:
        trouble = troubles.device_not_queried if opened else troubles.device_not_opened
        warnings.append(trouble(name, error.errno or 0))
        return None


def _read_ports(
    library: Library, context: Context, name: str, count: int, warnings: list[str]
) -> tuple[HcaPort, ...]:
    ports = []
    for number in range(1, count + 1):
        try:
            ports.append(_read_port(library, context, name, number, warnings))
        except OSError as error:
            warnings.append(troubles.port_not_queried(name, number, error.errno or 0))
    return tuple(ports)


def _read_port(
    library: Library, context: Context, name: str, number: int, warnings: list[str]
) -> HcaPort:
    attr = library.query_port(context, number)
    return HcaPort(
        number=number,
        state=port_state_from_code(attr.state),
        physical_state=physical_state_from_code(attr.physical_state),
        link_layer=_LINK_LAYERS.get(attr.link_layer),
        rate=_rate(attr, library.query_port_speed(context, number)),
        lid=attr.lid,
        sm_lid=attr.sm_lid,
        gid0=_gid0(library, context, name, number, warnings),
        active_mtu=mtu_from_code(attr.active_mtu),
    )


def _rate(attr: PortAttr, speed: int | None) -> Rate | None:
    """Take the bandwidth in 100 Mb/s if libibverbs has it, else what the codes say."""
    coded = rate_from_codes(attr.active_speed, attr.active_width)
    if speed:
        return Rate(speed * 100, coded.width if coded else 0)
    return None if attr.active_speed == _NDR else coded


def _gid0(
    library: Library, context: Context, name: str, number: int, warnings: list[str]
) -> Gid | None:
    try:
        raw = library.query_gid(context, number, 0)
    except OSError as error:
        warnings.append(troubles.gid_not_queried(name, number, error.errno or 0))
        return None
    return gid_from_bytes(raw) if raw != _EMPTY_GID else None
