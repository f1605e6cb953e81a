"""What verbs and sysfs report, before anybody draws a conclusion from it.

Why: two sources see the same HCA differently (sysfs loses a device that is in a pod's
namespace, libibverbs knows the active MTU that sysfs lacks).  Both fill these values,
leave out what they could not read, and :mod:`ibdra_domain.inventory` joins them.

Every value is frozen; ``None`` means "not known", never a default.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ibdra_domain.identifiers import Gid, Guid, PciAddress, port_guid_of
from ibdra_domain.link import PortState, Rate


class NetDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A network interface that sits on a PCI function.

    ``port`` is the HCA port it belongs to, 1-based (sysfs ``dev_port`` + 1).
    ``hardware_address`` has 20 bytes for IPoIB: flags and QPN, then the port GID.
    """

    name: str
    pci: PciAddress
    port: int
    hardware_address: str = ""
    infiniband: bool = False

    @property
    def port_guid(self) -> Guid | None:
        """The port GUID at the end of an IPoIB hardware address; None for other kinds."""
        return port_guid_of(self.hardware_address)


class HcaPort(msgspec.Struct, frozen=True, kw_only=True):
    """One port of an RDMA device.

    ``lid`` and ``sm_lid`` are as reported (0 before the subnet manager has been there);
    ``active_mtu`` is in bytes and known to libibverbs only.  ``link_layer`` is the
    kernel's own word, so that a layer we have never heard of is kept apart too.
    """

    number: int
    state: PortState | None = None
    physical_state: str | None = None
    link_layer: str | None = None
    rate: Rate | None = None
    lid: int | None = None
    sm_lid: int | None = None
    gid0: Gid | None = None
    active_mtu: int | None = None


class Hca(msgspec.Struct, frozen=True, kw_only=True):
    """One RDMA device with its ports.

    ``pci`` is None for devices without hardware below them (Soft-RoCE) and where the
    source cannot tell.  ``has_uverbs`` is looked up only where several devices share one
    PCI function, None elsewhere: an XDR HCA shows its planes as a device of its own,
    which carries management packets only and has no uverbs node.
    """

    name: str
    pci: PciAddress | None = None
    node_guid: Guid | None = None
    firmware: str | None = None
    board_id: str | None = None
    hca_type: str | None = None
    has_uverbs: bool | None = None
    ports: tuple[HcaPort, ...] = ()


class PciFunction(msgspec.Struct, frozen=True, kw_only=True):
    """A PCI function that is, or could carry, an HCA.

    ``vfs`` are the PF's virtual functions by index (None where the link is garbage);
    ``total_vfs`` is None without the SR-IOV capability; ``autoprobe`` says whether drivers
    bind to the PF's VFs; ``numa_node`` is -1 where the machine does not say.
    """

    address: PciAddress
    vendor: int = 0
    device: int = 0
    driver: str | None = None
    numa_node: int = -1
    pcie_root: str | None = None
    physfn: PciAddress | None = None
    vfs: tuple[PciAddress | None, ...] = ()
    total_vfs: int | None = None
    num_vfs: int | None = None
    autoprobe: bool | None = None


class ErrorCounters(msgspec.Struct, frozen=True, kw_only=True):
    """A port's error counters since they were last reset; None where there is no such counter.

    They stop at their highest value: ``link_downed`` at 255, ``symbol_error`` at 65535.
    """

    symbol_error: int | None = None
    link_downed: int | None = None
    link_error_recovery: int | None = None
    port_rcv_errors: int | None = None
    local_link_integrity_errors: int | None = None
    excessive_buffer_overrun_errors: int | None = None


class CharDeviceKind(StrEnum):
    """The character devices of the RDMA stack, named as their sysfs entries start."""

    UVERBS = "uverbs"
    UMAD = "umad"
    ISSM = "issm"
    RDMA_CM = "rdma_cm"


class CharDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A node below ``/dev/infiniband``.

    ``rdma_device`` is None and ``port`` 0 where the node serves no single one (rdma_cm;
    uverbs has a device and no port).  ``pci`` is the function below the device; with it
    a device is still found from the host when it is in another namespace.  The kernel
    gives numbers out anew at every namespace move: a value of this type is true at the
    time it was read.
    """

    kind: CharDeviceKind
    name: str
    major: int
    minor: int
    rdma_device: str | None = None
    port: int = 0
    pci: PciAddress | None = None

    @property
    def path(self) -> str:
        """The node's path, on the host and in the container."""
        return f"/dev/infiniband/{self.name}"


class RdmaIsolation(StrEnum):
    """Whether RDMA devices belong to one network namespace each (``netns_mode``)."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


class IsolationDemand(StrEnum):
    """What the operator asks of the isolation mode: a mode, or whatever is there."""

    AUTO = "auto"
    EXCLUSIVE = "exclusive"
    SHARED = "shared"

    @property
    def mode(self) -> RdmaIsolation | None:
        """Give the mode demanded; None for any."""
        return None if self is IsolationDemand.AUTO else RdmaIsolation(self.value)


class SysfsReading(msgspec.Struct, frozen=True, kw_only=True):
    """One walk through sysfs.

    ``addresses`` are those of all PCI functions of the machine, whatever they are;
    ``functions`` only those that show an RDMA device or are of the InfiniBand class.
    ``warnings`` name each file that was missing where it should not be, unreadable or
    not understood; the fact it held is left out and the walk went on.
    """

    addresses: frozenset[PciAddress] = frozenset()
    functions: tuple[PciFunction, ...] = ()
    hcas: tuple[Hca, ...] = ()
    netdevs: tuple[NetDevice, ...] = ()
    isolation: RdmaIsolation | None = None
    warnings: tuple[str, ...] = ()


class VerbsReading(msgspec.Struct, frozen=True, kw_only=True):
    """What libibverbs reports of the devices it can open; empty without RDMA."""

    hcas: tuple[Hca, ...] = ()
    warnings: tuple[str, ...] = ()
