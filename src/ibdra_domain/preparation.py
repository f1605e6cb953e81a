"""Allocation + inventory + what others hold -> a prepared claim, or a refusal.

Why: this is the last place to say no before hardware is touched.  The scheduler may have
acted on a stale slice, on an API server that drops counters, or on a config no port can
fulfil; every such case ends here, with a reason a person can act on (D7, D8, D9).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ibdra_domain.allocation import AllocatedDevice, Allocation
from ibdra_domain.errors import ConfigRefused, DeviceRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import DeviceName, Pkey, format_pkey, partition_of
from ibdra_domain.inventory import IbDevice, Inventory, Presence
from ibdra_domain.ports.driver import ClaimRef


class PreparedPort(msgspec.Struct, frozen=True, kw_only=True):
    """One port, decided: its facts at that time, its effective config, its device nodes.

    ``pkey_index`` is the key's place in the port's partition table, None without a pkey.
    """

    request: str
    device: IbDevice
    admin: bool = False
    share_id: str | None = None
    config: IbConfig = IbConfig()
    pkey_index: int | None = None
    char_devices: tuple[CharDevice, ...] = ()

    @property
    def child_pkey(self) -> Pkey | None:
        """The pkey of the IPoIB child this port gets in the container, if it gets one.

        Index 0 is the partition the parent interface is in already.
        """
        if self.config.pkey is None or self.device.netdev is None or not self.pkey_index:
            return None
        return Pkey(self.config.pkey)

    def __str__(self) -> str:
        """Say what was decided: ``request vf: … (mlx5_0v0 port 1), pkey 0x8001 at index 1``."""
        device, config = self.device, self.config
        said = [f"request {self.request}: {device.name} ({device.rdma_device} port {device.port})"]
        if self.admin:
            said.append("admin access")
        if config.pkey is not None:
            said.append(f"pkey {format_pkey(config.pkey)} at index {self.pkey_index}")
        if config.mtu is not None:
            unknown = device.link.active_mtu is None
            said.append(f"MTU {config.mtu}{' (the active MTU is unknown)' if unknown else ''}")
        if config.traffic_class is not None:
            said.append(f"traffic class {config.traffic_class}")
        return ", ".join(said)


class PreparedClaim(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to know about a claim after it was prepared.

    ``companions`` are ports that were not allocated but sit on the RDMA devices that
    move: their interfaces are torn down with the device, and must be put right with it.
    """

    claim: ClaimRef
    pool: str
    ports: tuple[PreparedPort, ...]
    companions: tuple[IbDevice, ...] = ()

    @property
    def moving(self) -> tuple[PreparedPort, ...]:
        """The ports that go into the container's namespace: all but admin access."""
        return tuple(port for port in self.ports if not port.admin)

    @property
    def device_names(self) -> tuple[DeviceName, ...]:
        """The devices that were allocated, by name."""
        return tuple(port.device.name for port in self.ports)

    def __str__(self) -> str:
        """Say what was decided, for the log: each request's port and how it is set."""
        return "; ".join(str(port) for port in self.ports)


def prepare_claim(
    allocation: Allocation,
    *,
    inventory: Inventory,
    held: Iterable[PreparedClaim],
    pkey_tables: Mapping[DeviceName, Sequence[Pkey]],
    char_devices: Iterable[CharDevice],
    with_umad: bool = False,
) -> PreparedClaim:
    """Decide a claim.

    Parameters
    ----------
    held:
        What is prepared on this node; an entry for this very claim is ignored.
    pkey_tables:
        The partition table of every device whose config names a pkey.
    char_devices:
        All RDMA character devices of the node, as they are now.
    with_umad:
        Give ordinary claims their port's umad node too.

    Raises
    ------
    DeviceRefused
        A device is not here, not fit, or its hardware is held by another claim.
    ConfigRefused
        A port cannot do what its IbConfig asks for.
    """
    others = [other for other in held if other.claim.uid != allocation.claim.uid]
    nodes = tuple(char_devices)
    taken: set[DeviceName] = set()
    ports = []
    for allocated in allocation.devices:
        device = _fit_device(allocated, inventory, others)
        if not allocated.admin:
            if device.name in taken:
                raise DeviceRefused(
                    f"device {device.name} is allocated twice in claim {allocation.claim}",
                    remedy="delete the claim: no scheduler should have done this",
                )
            taken.add(device.name)
        ports.append(
            PreparedPort(
                request=allocated.request,
                device=device,
                admin=allocated.admin,
                share_id=allocated.share_id,
                config=allocated.config,
                pkey_index=pkey_index_in(device, allocated.config, pkey_tables),
                char_devices=choose_char_devices(
                    device, nodes, admin=allocated.admin, with_umad=with_umad
                ),
            )
        )
    moving = {p.device.pci for p in ports if not p.admin}
    return PreparedClaim(
        claim=allocation.claim,
        pool=allocation.pool,
        ports=tuple(ports),
        companions=tuple(
            device
            for device in inventory.devices
            if device.pci in moving and device.name not in taken
        ),
    )


def _fit_device(
    allocated: AllocatedDevice, inventory: Inventory, others: Iterable[PreparedClaim]
) -> IbDevice:
    device = inventory.device(allocated.device)
    if device is None or device.presence is Presence.GONE:
        raise DeviceRefused(
            f"device {allocated.device} is not on this node, or not in the host's namespace",
            remedy="delete the pod so that it is scheduled by the slices as they are now; "
            "`ibdra devices` says what it sees",
        )
    if allocated.admin:
        return device
    _check_holders(device, others)  # before AWAY: a device in use is away, and we know where
    if device.presence is Presence.AWAY:
        raise DeviceRefused(
            f"device {device.name} ({device.rdma_device}) is in another network namespace",
            remedy="the kubelet will ask again; if this lasts, look for the process that holds it "
            "with `ip netns` and `rdma dev`",
        )
    if device.lacks_guid:
        raise DeviceRefused(
            f"device {device.name} ({device.rdma_device}) has an all-zero node or port GUID, "
            "with which it can neither register memory nor be told from others",
            remedy="run `ibdra provision` on this node with the number of VFs there are: it gives "
            "GUIDs to VFs that lack them",
        )
    mtu, active = allocated.config.mtu, device.link.active_mtu
    # Unknown where nobody may open the HCA, as in a pod that is not privileged.  No isolation
    # hangs on it, and a claim that cannot be met otherwise would never be.
    if mtu is not None and active is not None and mtu > active:
        raise ConfigRefused(
            f"mtu {mtu} is above the active MTU of {_port(device)} ({active})",
            remedy=f"ask for at most {active}, or have the fabric's administrator raise it",
        )
    return device


def shares_hardware(one: IbDevice, other: IbDevice) -> bool:
    """Tell whether two devices exclude each other (D9).

    They do if they are ports of one PCI function, or a PF and one of its VFs.  Two VFs
    of one PF are independent: that is what they are for.
    """
    return other.pci in (one.pci, one.parent_pci) or other.parent_pci == one.pci


def _check_holders(device: IbDevice, others: Iterable[PreparedClaim]) -> None:
    for other in others:
        for port in other.moving:
            if shares_hardware(device, port.device):
                how = (
                    ""
                    if port.device.name == device.name
                    else f" through {port.device.name} of the same HCA"
                )
                raise DeviceRefused(
                    f"device {device.name} is held by claim {other.claim}{how}",
                    remedy="wait until that claim's pod has ended, or delete the waiting pod so "
                    "that it is scheduled elsewhere",
                )


def pkey_index_in(
    device: IbDevice, config: IbConfig, tables: Mapping[DeviceName, Sequence[Pkey]]
) -> int | None:
    """Find an IbConfig's pkey in its port's table.  Raises ConfigRefused if it is not there."""
    if config.pkey is None:
        return None
    table = tables.get(device.name, ())
    if config.pkey in table:
        return table.index(Pkey(config.pkey))
    listed = ", ".join(format_pkey(p) for p in table if partition_of(p)) or "empty"
    other = next((p for p in table if partition_of(p) == partition_of(config.pkey)), None)
    raise ConfigRefused(
        f"pkey {format_pkey(config.pkey)} is not in the partition table of {_port(device)} "
        f"({listed})",
        remedy="ask the subnet manager's administrator"
        + (f", or use {format_pkey(other)}, this port's membership" if other is not None else ""),
    )


def choose_char_devices(
    device: IbDevice, nodes: Iterable[CharDevice], *, admin: bool, with_umad: bool = False
) -> tuple[CharDevice, ...]:
    """Pick a device's nodes by need (D8), in a stable order; rdma_cm is not among them.

    Raises DeviceRefused if the device has no uverbs node: a container without one could
    not use it.
    """
    wanted = {CharDeviceKind.UVERBS}
    if admin or with_umad:
        wanted.add(CharDeviceKind.UMAD)
    if admin:
        wanted.add(CharDeviceKind.ISSM)
    found = tuple(
        sorted(
            (n for n in nodes if n.kind in wanted and _serves(n, device)),
            key=lambda n: (list(CharDeviceKind).index(n.kind), n.minor),
        )
    )
    if not any(n.kind is CharDeviceKind.UVERBS for n in found):
        raise DeviceRefused(
            f"device {device.name} ({device.rdma_device}) has no uverbs node",
            remedy="load the kernel module ib_uverbs",
        )
    return found


def _serves(node: CharDevice, device: IbDevice) -> bool:
    """Match by PCI function, as names change; a function's planes have management nodes too."""
    if node.pci is not None and node.pci != device.pci:
        return False
    renamed_at_will = node.kind is CharDeviceKind.UVERBS and node.pci is not None
    return (renamed_at_will or node.rdma_device == device.rdma_device) and node.port in (
        0,
        device.port,
    )


def _port(device: IbDevice) -> str:
    return f"{device.rdma_device} port {device.port}"
