"""Builders of domain values for tests: a plain node's facts, each changed by keyword.

Why: a test should say only what matters to it.  The machine is always the same one: a
ConnectX-6 in bare metal, PF ``mlx5_0`` at 3b:00.0, its VF ``mlx5_2`` at 3b:00.2.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ibdra_domain.allocation import AllocatedDevice, Allocation
from ibdra_domain.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode
from ibdra_domain.hardware import (
    CharDevice,
    CharDeviceKind,
    Hca,
    HcaPort,
    NetDevice,
    PciFunction,
    RdmaIsolation,
)
from ibdra_domain.ib_config import API_VERSION, KIND
from ibdra_domain.identifiers import Gid, Guid, PciAddress, Pkey, device_name
from ibdra_domain.inventory import FunctionType, IbDevice
from ibdra_domain.kube_objects import (
    AllocatedDevices,
    AllocationConfig,
    AllocationResult,
    AllocationStatus,
    ObjectMeta,
    OpaqueConfig,
    ResourceClaim,
    ResourceClaimStatus,
)
from ibdra_domain.link import LinkLayer, PortState, Rate
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import Link
from ibdra_domain.preparation import PreparedClaim, PreparedPort
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import PortOrigin
from ibdra_domain.steps import Place, PortView

PF = PciAddress("0000:3b:00.0")
VF = PciAddress("0000:3b:00.2")
OTHER_VF = PciAddress("0000:3b:00.3")
NODE_GUID = Guid("a088:c203:0012:3456")
PORT_GUID = Guid("a088:c203:0012:3457")
STRANGER = Guid("0002:c903:00ff:0001")
GID0 = Gid(f"fe80:0000:0000:0000:{PORT_GUID}")
IPOIB_ADDRESS = "00:00:10:29:fe:80:00:00:00:00:00:00:a0:88:c2:03:00:12:34:57"
DEFAULT_PKEY = Pkey(0xFFFF)
TENANT_PKEY = Pkey(0x8001)
NODE = "node-1"


def a_function(**changes: Any) -> PciFunction:
    """Build the PF's PCI function."""
    facts: dict[str, Any] = {
        "address": PF,
        "vendor": 0x15B3,
        "device": 0x101B,
        "driver": "mlx5_core",
        "numa_node": 0,
        "pcie_root": "pci0000:3a",
        "total_vfs": 8,
        "num_vfs": 0,
    }
    return PciFunction(**facts | changes)


def a_vf_function(**changes: Any) -> PciFunction:
    """Build the VF's PCI function."""
    facts: dict[str, Any] = {
        "address": VF,
        "device": 0x101C,
        "physfn": PF,
        "total_vfs": None,
        "num_vfs": None,
    }
    return a_function(**facts | changes)


def an_hca_port(**changes: Any) -> HcaPort:
    """Build an active HDR port."""
    facts: dict[str, Any] = {
        "number": 1,
        "state": PortState.ACTIVE,
        "physical_state": "LinkUp",
        "link_layer": LinkLayer.INFINIBAND,
        "rate": Rate(200000, 4),
        "lid": 0x2F,
        "sm_lid": 1,
        "gid0": GID0,
        "active_mtu": 4096,
    }
    return HcaPort(**facts | changes)


def an_hca(**changes: Any) -> Hca:
    """Build the PF's RDMA device with one port."""
    facts: dict[str, Any] = {
        "name": "mlx5_0",
        "pci": PF,
        "node_guid": NODE_GUID,
        "firmware": "20.43.1014",
        "board_id": "MT_0000000226",
        "hca_type": "MT4123",
        "ports": (an_hca_port(),),
    }
    return Hca(**facts | changes)


def a_netdev(**changes: Any) -> NetDevice:
    """Build the PF's IPoIB interface."""
    facts: dict[str, Any] = {
        "name": "ib0",
        "pci": PF,
        "port": 1,
        "hardware_address": IPOIB_ADDRESS,
        "infiniband": True,
    }
    return NetDevice(**facts | changes)


def a_device(**changes: Any) -> IbDevice:
    """Build the PF's one port as a device; its name follows from address and port."""
    facts: dict[str, Any] = {
        "pci": PF,
        "port": 1,
        "function_type": FunctionType.PF,
        "rdma_device": "mlx5_0",
        "link": an_hca_port(),
        "netdev": "ib0",
        "netdev_guid": PORT_GUID,
        "numa_node": 0,
        "pcie_root": "pci0000:3a",
        "node_guid": NODE_GUID,
        "firmware": "20.43.1014",
        "board_id": "MT_0000000226",
        "hca_type": "MT4123",
        "isolation": RdmaIsolation.EXCLUSIVE,
    }
    facts |= changes
    facts.setdefault("name", device_name(facts["pci"], facts["port"]))
    return IbDevice(**facts)


def a_vf(**changes: Any) -> IbDevice:
    """Build the VF's one port as a device."""
    facts: dict[str, Any] = {
        "pci": VF,
        "function_type": FunctionType.VF,
        "rdma_device": "mlx5_2",
        "netdev": "ib2",
        "parent_pci": PF,
        "parent_rdma_device": "mlx5_0",
        "vf_index": 0,
    }
    return a_device(**facts | changes)


def a_char_device(**changes: Any) -> CharDevice:
    """Build the PF's uverbs node."""
    facts: dict[str, Any] = {
        "kind": CharDeviceKind.UVERBS,
        "name": "uverbs0",
        "major": 231,
        "minor": 192,
        "rdma_device": "mlx5_0",
        "pci": PF,
    }
    return CharDevice(**facts | changes)


def rdma_cm() -> CharDevice:
    """Build the node that serves no single device."""
    return CharDevice(kind=CharDeviceKind.RDMA_CM, name="rdma_cm", major=10, minor=123)


def a_claim_ref(**changes: Any) -> ClaimRef:
    """Build a claim as the kubelet names it."""
    facts: dict[str, Any] = {"namespace": "team", "name": "fabric", "uid": "uid-1"}
    return ClaimRef(**facts | changes)


def a_result(**changes: Any) -> AllocationResult:
    """Build one device for one request."""
    facts: dict[str, Any] = {
        "request": "hca",
        "driver": DRIVER_NAME,
        "pool": NODE,
        "device": device_name(PF, 1),
    }
    return AllocationResult(**facts | changes)


def parameters(**wishes: Any) -> dict[str, Any]:
    """Build an IbConfig document as users write it."""
    return {"apiVersion": API_VERSION, "kind": KIND} | wishes


def opaque(raw: bytes | dict[str, Any], *, driver: str = DRIVER_NAME) -> OpaqueConfig:
    """Build opaque parameters from JSON bytes, or from a document."""
    encoded = raw if isinstance(raw, bytes) else msgspec.json.encode(raw)
    return OpaqueConfig(driver=driver, parameters=msgspec.Raw(encoded))


def a_config(*, source: str = "FromClaim", requests: Any = (), **wishes: Any) -> AllocationConfig:
    """Build an allocation's configuration entry with our IbConfig."""
    return AllocationConfig(source=source, requests=requests, opaque=opaque(parameters(**wishes)))


def a_claim(
    *, results: Any = None, config: Any = (), allocated: bool = True, uid: str = "uid-1"
) -> ResourceClaim:
    """Build a claim as the API server has it."""
    devices = AllocatedDevices(results=(a_result(),) if results is None else results, config=config)
    return ResourceClaim(
        metadata=ObjectMeta(name="fabric", namespace="team", uid=uid),
        status=ResourceClaimStatus(
            allocation=AllocationStatus(devices=devices) if allocated else None
        ),
    )


def an_allocated_device(**changes: Any) -> AllocatedDevice:
    """Build one allocated device."""
    facts: dict[str, Any] = {"request": "hca", "device": device_name(PF, 1)}
    return AllocatedDevice(**facts | changes)


def an_allocation(**changes: Any) -> Allocation:
    """Build an allocation of the PF's port."""
    facts: dict[str, Any] = {
        "claim": a_claim_ref(),
        "pool": NODE,
        "devices": (an_allocated_device(),),
    }
    return Allocation(**facts | changes)


def a_port(**changes: Any) -> PreparedPort:
    """Build a prepared port of the PF."""
    facts: dict[str, Any] = {
        "request": "hca",
        "device": a_device(),
        "char_devices": (a_char_device(),),
    }
    return PreparedPort(**facts | changes)


def a_prepared_claim(*ports: PreparedPort, **changes: Any) -> PreparedClaim:
    """Build a prepared claim of the ports, or of one."""
    facts: dict[str, Any] = {
        "claim": a_claim_ref(),
        "pool": NODE,
        "ports": ports or (a_port(),),
    }
    return PreparedClaim(**facts | changes)


def a_link(**changes: Any) -> Link:
    """Build the PF's interface as rtnetlink shows it: up, 2044 bytes."""
    facts: dict[str, Any] = {
        "index": 4,
        "name": "ib0",
        "port_guid": PORT_GUID,
        "mtu": 2044,
        "up": True,
    }
    return Link(**facts | changes)


def a_child(**changes: Any) -> Link:
    """Build the tenant partition's interface on it."""
    facts: dict[str, Any] = {
        "index": 9,
        "name": "ib0.8001",
        "pkey": TENANT_PKEY,
        "parent": 4,
        "up": True,
    }
    return a_link(**facts | changes)


def a_view(**changes: Any) -> PortView:
    """Build the view of a port that nobody has touched: exclusive mode, all at home."""
    facts: dict[str, Any] = {
        "isolation": RdmaIsolation.EXCLUSIVE,
        "rdma_device": "mlx5_0",
        "rdma_in": frozenset({Place.HOST}),
        "host": (a_link(),),
    }
    return PortView(**facts | changes)


def an_origin(**changes: Any) -> PortOrigin:
    """Build what was noted of that port."""
    facts: dict[str, Any] = {
        "device": device_name(PF, 1),
        "netdev": "ib0",
        "mtu": 2044,
        "up": True,
    }
    return PortOrigin(**facts | changes)


def a_spec(**changes: Any) -> CdiSpec:
    """Build a CDI spec with one device."""
    edits = ContainerEdits(device_nodes=(DeviceNode(path="/dev/x", major=1, minor=2),))
    facts: dict[str, Any] = {
        "kind": "vendor.example/device",
        "devices": (CdiDevice(name="one", container_edits=edits),),
    }
    return CdiSpec(**facts | changes)
