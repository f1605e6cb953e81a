"""What the fake kernel is made of: ports, interfaces, RDMA devices and their /dev nodes.

Why: a node's number belongs to no device for long.  Who has which minor, and what node it
is, is bookkeeping beside the kernel's behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Link, NetnsId

INFINIBAND_MAJOR = 231
RDMA_CM = CharDevice(kind=CharDeviceKind.RDMA_CM, name="rdma_cm", major=10, minor=58)
_MINOR_BASES = {CharDeviceKind.UMAD: 0, CharDeviceKind.ISSM: 64, CharDeviceKind.UVERBS: 192}


class FakePort(msgspec.Struct, frozen=True, kw_only=True):
    """A port below a fake RDMA device; ``netdev`` is its first interface's name.

    ``broadcast_mtu`` is the InfiniBand MTU that the subnet manager gave the fabric's IPoIB
    broadcast group; None if it is not below the port's.
    """

    number: int
    guid: Guid
    netdev: str | None = None
    mtu: int = 2048
    broadcast_mtu: int | None = None


class FakeLink(msgspec.Struct, kw_only=True):
    """An interface: what rtnetlink shows, and whose it is; ``below`` is a child's parent.

    ``asked_mtu`` is what somebody asked for, None if nobody did; once it has ``joined`` its
    broadcast group, its MTU is at most that one's.
    """

    link: Link
    asked_mtu: int | None = None
    joined: bool = False
    below: FakeLink | None = None
    netns: NetnsId
    rdma: str
    port: int
    addresses: tuple[str, ...] = ()


class FakeRdma(msgspec.Struct, kw_only=True):
    """An RDMA device and the minors it has at the moment, by kind and port."""

    name: str
    pci: PciAddress
    ports: tuple[FakePort, ...]
    netns: NetnsId
    minors: dict[tuple[CharDeviceKind, int], int] = {}


def refused(problem: str, code: int) -> KernelRefused:
    """Say no as the kernel does, in our own tree."""
    return KernelRefused(problem, remedy="the simulated kernel says so", errno=code)


def give_minors(device: FakeRdma, machine: Iterable[FakeRdma]) -> None:
    """Give a device new minors among the machine's devices, lowest free first."""
    others = [other for other in machine if other is not device]
    wanted = [(CharDeviceKind.UVERBS, 0)]
    for port in device.ports:
        wanted += [(CharDeviceKind.UMAD, port.number), (CharDeviceKind.ISSM, port.number)]
    device.minors = {}
    for kind, port_number in wanted:
        taken = {m for d in (*others, device) for (k, _), m in d.minors.items() if k is kind}
        lowest = next(i for i in range(len(taken) + 1) if i not in taken)
        device.minors = {**device.minors, (kind, port_number): lowest}


def nodes_of(device: FakeRdma) -> list[CharDevice]:
    """List one device's nodes."""
    return [
        CharDevice(
            kind=kind,
            name=f"{kind}{minor}",
            major=INFINIBAND_MAJOR,
            minor=_MINOR_BASES[kind] + minor,
            rdma_device=device.name,
            port=port,
            pci=device.pci,
        )
        for (kind, port), minor in device.minors.items()
    ]


def hardware_address(guid: Guid, *, queue_pair: int) -> str:
    """Write an IPoIB interface's 20 bytes (RFC 4391, 9.1.1)."""
    raw = bytes.fromhex(f"00{queue_pair & 0xFFFFFF:06x}fe80000000000000{guid.replace(':', '')}")
    return raw.hex(":")
