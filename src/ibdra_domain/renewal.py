"""What a prepared claim was decided by may be otherwise when its container starts.

Why: between the kubelet's call and the container's start the subnet manager writes partition
tables, drivers are reset, and after a reboot everything has other names and numbers.  A
container that was told yesterday's would be in another partition than it asked for, or look
for a device that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ibdra_domain.allocation import AllocatedDevice, Allocation
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.identifiers import DeviceName, Pkey, gid_guid
from ibdra_domain.inventory import IbDevice
from ibdra_domain.preparation import (
    PreparedClaim,
    PreparedPort,
    choose_char_devices,
    pkey_index_in,
)
from ibdra_domain.steps import Place, PortView


def with_nodes_of_now(
    claim: PreparedClaim, nodes: Iterable[CharDevice], *, with_umad: bool = False
) -> PreparedClaim:
    """Give a claim with its ports' device nodes and RDMA devices' names as they are now.

    The kernel gives minors out anew at every move and every boot, and names at every boot.
    Raises DeviceRefused as :func:`choose_char_devices` does.
    """
    every = tuple(nodes)

    def as_now(port: PreparedPort) -> PreparedPort:
        device = _named_as_now(port.device, every)
        found = choose_char_devices(device, every, admin=port.admin, with_umad=with_umad)
        return replace(port, device=device, char_devices=found)

    return replace(
        claim,
        ports=tuple(as_now(port) for port in claim.ports),
        companions=tuple(_named_as_now(device, every) for device in claim.companions),
    )


def with_home_of_now(
    claim: PreparedClaim,
    views: Mapping[DeviceName, PortView],
    pkey_tables: Mapping[DeviceName, Sequence[Pkey]],
) -> PreparedClaim:
    """Give a claim whose devices are at home with what they are there now.

    Names of RDMA devices, interfaces that came only after the claim was prepared, and the
    pkeys' places in the tables.  An interface that was known keeps the name it had.

    Parameters
    ----------
    views:
        What is where, of the ports and companions that are to be looked at.
    pkey_tables:
        The partition tables of ports whose config names a pkey, as they are now.

    Raises ConfigRefused if a pkey is in its table no more.
    """

    def at_home(device: IbDevice) -> IbDevice:
        view = views.get(device.name)
        if view is None:
            return device
        device = replace(device, rdma_device=view.rdma_device)
        gid = device.link.gid0
        link = view.parent(gid_guid(gid), Place.HOST) if gid is not None else None
        if device.netdev is not None or link is None:
            return device
        return replace(device, netdev=link.name, netdev_guid=link.port_guid)

    def as_now(port: PreparedPort) -> PreparedPort:
        device, index = at_home(port.device), port.pkey_index
        if device.name in pkey_tables:
            index = pkey_index_in(device, port.config, pkey_tables)
        # Their numbers are compared after the move, which gives them anew.
        nodes = tuple(replace(n, rdma_device=device.rdma_device) for n in port.char_devices)
        return replace(port, device=device, pkey_index=index, char_devices=nodes)

    return replace(
        claim,
        ports=tuple(as_now(port) for port in claim.ports),
        companions=tuple(at_home(device) for device in claim.companions),
    )


def allocation_of(claim: PreparedClaim) -> Allocation:
    """Give what a prepared claim was decided from, to decide it anew."""
    return Allocation(
        claim=claim.claim,
        pool=claim.pool,
        devices=tuple(
            AllocatedDevice(
                request=port.request,
                device=port.device.name,
                admin=port.admin,
                share_id=port.share_id,
                config=port.config,
            )
            for port in claim.ports
        ),
    )


def _named_as_now(device: IbDevice, nodes: Iterable[CharDevice]) -> IbDevice:
    """Name a device's RDMA device as its uverbs node does, which is found by the function."""
    for node in nodes:
        if node.kind is CharDeviceKind.UVERBS and node.pci == device.pci and node.rdma_device:
            return replace(device, rdma_device=node.rdma_device)
    return device
