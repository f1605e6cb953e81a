"""Our devices as the scheduler sees them: their attributes, and the counters they take.

Why: attribute names and types are a contract with every CEL selector ever written
against this driver (D2).  A value that is unknown is left out, so that a selector on it
does not match by accident; a value longer than the API allows is left out too, because
the API server would refuse the whole slice for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from ibdra_domain.exclusion import Exclusion
from ibdra_domain.identifiers import DeviceName, gid_prefix
from ibdra_domain.inventory import IbDevice
from ibdra_domain.kube_objects import MAX_ATTRIBUTE_VALUE, Device, DeviceAttribute

DRIVER_NAME = "ib.sigs.k8s.io"
STANDARD = "resource.kubernetes.io/"


def attributes_of(device: IbDevice) -> dict[str, str | int]:
    """Give a device's attributes as plain values, unknown ones left out.

    Names without a domain are the driver's own; ``resource.kubernetes.io/`` ones are
    Kubernetes' standard (KEP-4381, KEP-6072) and let a claim match our devices with
    another driver's GPUs.
    """
    link = device.link
    candidates: dict[str, str | int | None] = {
        "type": device.function_type.value,
        "linkSpeed": link.rate.text if link.rate else None,
        "linkSpeedGbps": link.rate.gbps if link.rate else None,
        "linkWidth": f"{link.rate.width}X" if link.rate and link.rate.width else None,
        "linkLayer": link.link_layer,
        "portState": link.state.value if link.state else None,
        "physicalState": link.physical_state,
        "firmwareVersion": device.firmware,
        "nodeGUID": device.node_guid,
        "portGUID": link.gid0,
        "subnetPrefix": gid_prefix(link.gid0) if link.gid0 else None,
        "numaNode": device.numa_node,
        "pciAddress": device.pci,
        "parentDevice": device.parent_rdma_device,
        "vfIndex": device.vf_index,
        "lid": link.lid,
        "smLid": link.sm_lid,
        "rdmaDevice": device.rdma_device,
        "netdev": device.netdev,
        "port": device.port,
        "boardId": device.board_id,
        "hcaType": device.hca_type,
        "rdmaIsolation": device.isolation.value if device.isolation else None,
        f"{STANDARD}pcieRoot": device.pcie_root,
        f"{STANDARD}pciBusID": device.pci,
        f"{STANDARD}numaNode": device.numa_node if device.numa_node >= 0 else None,
    }
    return {
        name: value
        for name, value in candidates.items()
        if value is not None and not (isinstance(value, str) and _too_long(value))
    }


def _too_long(value: str) -> bool:
    return len(value.encode(errors="replace")) > MAX_ATTRIBUTE_VALUE  # the API counts bytes


def to_dra_device(device: IbDevice) -> Device:
    """Give the device as it stands in a slice."""
    return Device(
        name=device.name,
        attributes={
            name: DeviceAttribute.of(value) for name, value in attributes_of(device).items()
        },
    )


def counted(published: Iterable[Device], exclusion: Exclusion) -> tuple[Device, ...]:
    """Give devices with what they take of the node's counters."""
    return tuple(
        replace(device, consumes_counters=(exclusion.taken[DeviceName(device.name)],))
        if device.name in exclusion.taken
        else device
        for device in published
    )
