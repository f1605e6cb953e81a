"""HCAs, their ports, functions and device nodes: what keeps them from being used.

Why: a port that is down, a VF without GUIDs and a node with an old minor all end as "the
job hangs" in a pod.  Judged here are the facts that the driver itself goes by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ibdra_domain.fitness import Finding, error, good, warning
from ibdra_domain.hardware import CharDevice, CharDeviceKind, SysfsReading
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import (
    FunctionType,
    IbDevice,
    Inventory,
    Presence,
)
from ibdra_domain.link import LinkLayer, PortState
from ibdra_domain.ports.host import PathFacts, PathKind

_PROVISION = "run `ibdra provision` with the number of VFs there are: it gives GUIDs to VFs"


def check_hcas(
    reading: SysfsReading, inventory: Inventory, *, held: frozenset[PciAddress] = frozenset()
) -> tuple[Finding, ...]:
    """Judge whether there is anything to publish, and functions that show no device.

    ``held`` are the functions of devices that claims have; they may be away.
    """
    found = [_hcas_at_all(reading, inventory)]
    shown = {hca.pci for hca in reading.hcas} | held
    for function in reading.functions:
        if function.address in shown:
            continue
        subject = f"PCI function {function.address}"
        if function.driver is None:
            found.append(
                warning(
                    "hca",
                    subject,
                    f"no driver is bound to {function.address}, so it has no port",
                    remedy="bind it, unless it is meant for a virtual machine: "
                    f"`echo {function.address} > /sys/bus/pci/drivers/mlx5_core/bind`",
                )
            )
        elif not function.driver.startswith("vfio"):
            found.append(
                warning(
                    "hca",
                    subject,
                    f"driver {function.driver} shows no RDMA device for {function.address}, and "
                    "no claim of ours has it",
                    remedy="load the HCA's RDMA module (`modprobe mlx5_ib`), or find the process "
                    "that has it with `lsns -t net` and `rdma dev`",
                )
            )
    return tuple(found)


def _hcas_at_all(reading: SysfsReading, inventory: Inventory) -> Finding:
    if inventory.devices:
        return good("hca", f"{len(inventory.devices)} InfiniBand ports")
    if not reading.functions and not reading.hcas:
        return error(
            "hca",
            "InfiniBand HCAs",
            "there is no HCA",
            remedy="check with `lspci -d 15b3:` that it is seated, and give this node no driver "
            "if it is meant to have none",
        )
    layers = {port.link_layer for hca in reading.hcas for port in hca.ports}
    if layers == {LinkLayer.ETHERNET.value}:
        return error(
            "hca",
            "InfiniBand HCAs",
            "all HCA ports are in Ethernet mode, none in InfiniBand mode",
            remedy="set LINK_TYPE_P1=1 (IB) with mlxconfig and reboot, if the cable leads to an "
            "InfiniBand switch",
        )
    return error(
        "hca",
        "InfiniBand HCAs",
        "there are HCAs, but no InfiniBand port of them is seen from here",
        remedy="load the HCA's RDMA module (`modprobe mlx5_ib`)",
    )


def check_ports(devices: Iterable[IbDevice]) -> tuple[Finding, ...]:
    """Judge each port's link and GUIDs; those in pods' namespaces are not seen."""
    found: list[Finding] = []
    every = tuple(devices)
    here = [device for device in every if device.presence is Presence.HERE]
    for device in here:
        name = f"{device.rdma_device} port {device.port}"
        if device.lacks_guid:
            found.append(
                error(
                    "guid",
                    f"{name} ({device.pci})",
                    f"{name} has an all-zero node or port GUID, and cannot be used",
                    remedy=f"{_PROVISION} that lack them"
                    if device.function_type is FunctionType.VF and device.parent_pci is not None
                    else "have the HCA's GUIDs set: by the host's administrator for a VM's VF, "
                    "else by burning them into its firmware",
                )
            )
        found.append(_port(device, name))
    active = [d for d in here if d.link.state in (PortState.ACTIVE, PortState.ACTIVE_DEFER)]
    in_pods = any(device.presence is Presence.AWAY for device in every)
    if here and not active and not in_pods:
        found.append(
            error(
                "port",
                "all ports",
                "no port is Active, so nothing of this node reaches the fabric",
                remedy="do what is said of each port",
            )
        )
    return tuple(found)


def _port(device: IbDevice, name: str) -> Finding:
    link = device.link
    subject = f"{name} ({device.pci}): {link.state or 'state unknown'}"
    physical = link.physical_state or "unknown"
    match link.state:
        case PortState.ACTIVE | PortState.ACTIVE_DEFER:
            return good("port", subject)
        case PortState.INIT | PortState.ARMED if not link.sm_lid:
            return warning(
                "port",
                subject,
                f"{name} waits for a subnet manager: it has a link, and no subnet manager "
                "(smLid 0) has set it up",
                remedy="start a subnet manager on the fabric (a switch's, or opensm), and check "
                "with `sminfo`",
            )
        case PortState.INIT | PortState.ARMED:
            return warning(
                "port",
                subject,
                f"{name} is {link.state}, and the subnet manager at LID {link.sm_lid} has not "
                "made it Active",
                remedy="look in the subnet manager's log for this port's GUID",
            )
        case PortState.DOWN:
            return warning(
                "port",
                subject,
                f"{name} is Down (physical state {physical})",
                remedy=_cable(physical),
            )
        case None:
            return warning(
                "port",
                subject,
                f"the state of {name} cannot be read",
                remedy="look for the device's driver in the kernel log",
            )


def _cable(physical: str) -> str:
    if physical.lower().startswith("disabled"):
        return "enable the port: `ibportstate` at the switch, or its PF if it is a VF"
    if physical.lower() in ("linkup", "link up"):
        return "wait for the PF's port; a VF's link state is set with `ip link set … vf N state`"
    return "check cable, transceiver and the switch's port"


def check_nodes(
    nodes: Iterable[CharDevice],
    seen: Mapping[str, PathFacts] | None,
    *,
    devices: Iterable[IbDevice] = (),
    with_umad: bool = False,
) -> tuple[Finding, ...]:
    """Judge the device nodes: what the kernel has against what lies below /dev.

    ``seen`` has what lies at each node's path, None if this machine's are not meant.
    """
    every = tuple(nodes)
    needed = {CharDeviceKind.UVERBS, CharDeviceKind.RDMA_CM}
    if with_umad:
        needed.add(CharDeviceKind.UMAD)
    found = [
        _node(node, seen[node.path], needed=node.kind in needed)
        for node in every
        if seen is not None and node.kind is not CharDeviceKind.ISSM
    ]
    served = {n.pci for n in every if n.kind is CharDeviceKind.UVERBS}
    found += [
        error(
            "node",
            f"uverbs node of {device.rdma_device}",
            f"{device.rdma_device} has no uverbs node",
            remedy="load the kernel module ib_uverbs",
        )
        for device in devices
        if device.presence is Presence.HERE and device.pci not in served
    ]
    return tuple(found)


def _node(node: CharDevice, there: PathFacts, *, needed: bool) -> Finding:
    grade = error if needed else warning
    numbers = (node.major, node.minor)
    subject = f"{node.path} ({node.rdma_device or 'all devices'})"
    mode = "0600" if node.kind is CharDeviceKind.UMAD else "0666"
    again = f"make it anew: `mknod -m {mode} {node.path} c {node.major} {node.minor}`"
    if there.kind is PathKind.MISSING:
        return grade(
            "node",
            subject,
            f"{node.path} is missing, the kernel has {node.major}:{node.minor} for it",
            remedy=f"in a container, mount the host's /dev/infiniband; on the host, {again}",
        )
    if there.kind is not PathKind.CHAR_DEVICE:
        return grade(
            "node",
            subject,
            f"{node.path} is a {there.kind}, no device",
            remedy=f"remove it, then {again}",
        )
    if there.numbers != numbers:
        has = ":".join(map(str, there.numbers or ()))
        return grade(
            "node",
            subject,
            f"{node.path} is {has}, the kernel has {node.major}:{node.minor} for it",
            remedy=f"remove it, then {again}",
        )
    return good("node", subject)
