"""A prepared claim -> what its containers get: device nodes, environment, the attach hook.

Why: names in the environment are an interface to people's job scripts.  They are built
from the request names a user wrote, they cannot collide inside a claim, and the
variables that NCCL and UCX read by themselves are set only where there is one right
answer.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ibdra_domain.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode, Hook
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.identifiers import format_pkey
from ibdra_domain.ports.driver import PreparedDevice
from ibdra_domain.preparation import PreparedClaim, PreparedPort
from ibdra_domain.publication import DRIVER_NAME

CDI_KIND = f"{DRIVER_NAME}/claim"
PREFIX = "IB_DEVICE"


class HookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The attach hook on the host: where it is, and how long the runtime waits, in seconds.

    ``options`` are the helper's own (where the daemon's socket and marks are), left out
    where they are what it takes for granted.
    """

    path: str = "/opt/ibdra/bin/ibdra-hook"
    timeout: int = 60
    options: tuple[str, ...] = ()


def cdi_device_name(claim: PreparedClaim, port: PreparedPort) -> str:
    """Name a port's CDI device: unique on the node, since device and claim UID are in it."""
    return f"{port.device.name}_{claim.claim.uid}_{port.request}"


def to_cdi_spec(
    claim: PreparedClaim, *, char_devices: Iterable[CharDevice], hook: HookSettings
) -> CdiSpec:
    """Write a claim's spec.

    Every container of the pod that references one of the claim's requests gets that
    request's devices; what stands at the spec's level (``rdma_cm``, the claim-wide
    environment, the hook) comes with any of them.  A claim of admin access only has no
    hook, because nothing moves.
    """
    prefixes = env_prefixes([port.request for port in claim.ports])
    shared = tuple(n for n in char_devices if n.kind is CharDeviceKind.RDMA_CM)
    return CdiSpec(
        kind=CDI_KIND,
        devices=tuple(
            CdiDevice(
                name=cdi_device_name(claim, port),
                container_edits=ContainerEdits(
                    env=_lines(port_environment(port, prefix=prefix)),
                    device_nodes=_device_nodes(port.char_devices),
                ),
            )
            for port, prefix in zip(claim.ports, prefixes, strict=True)
        ),
        container_edits=ContainerEdits(
            env=_lines(claim_environment(claim)),
            device_nodes=_device_nodes(shared),
            hooks=(_attach_hook(claim, hook),) if claim.moving else (),
        ),
    )


def to_prepared_devices(claim: PreparedClaim) -> tuple[PreparedDevice, ...]:
    """Write the kubelet's answer."""
    return tuple(
        PreparedDevice(
            requests=(port.request,),
            pool=claim.pool,
            device=port.device.name,
            cdi_ids=(f"{CDI_KIND}={cdi_device_name(claim, port)}",),
            share_id=port.share_id,
        )
        for port in claim.ports
    )


def node_numbers(claim: PreparedClaim) -> str:
    """Write the numbers of a claim's device nodes: ``231:192,231:193``, ``-`` for none.

    They stand in the hook's arguments, so that the daemon can tell a container which got
    the nodes of an older spec.
    """
    nodes = [f"{node.major}:{node.minor}" for port in claim.ports for node in port.char_devices]
    return ",".join(nodes) or "-"


def env_prefixes(requests: Sequence[str]) -> tuple[str, ...]:
    """Give each device of a claim its variables' prefix, from its request's name.

    ``hca`` becomes ``IB_DEVICE_HCA``; several devices of one request are numbered from 0
    (``IB_DEVICE_HCA_0``).  A request whose prefix would be another's too (``a`` twice
    numbered, beside a request ``a-1``) is numbered as well: numbered names are unique,
    because the number is what follows the last underscore.
    """
    counts = Counter(requests)
    numbered = {request for request, count in counts.items() if count > 1}
    while True:
        seen: Counter[str] = Counter()
        prefixes = []
        for request in requests:
            base = f"{PREFIX}_{_upper(request)}"
            prefixes.append(f"{base}_{seen[request]}" if request in numbered else base)
            seen[request] += 1
        clashes = {p for p, count in Counter(prefixes).items() if count > 1}
        more = {
            r for r, p in zip(requests, prefixes, strict=True) if p in clashes and r not in numbered
        }
        if not more:
            return tuple(prefixes)
        numbered |= more


def port_environment(port: PreparedPort, *, prefix: str) -> dict[str, str]:
    """Describe one port to the program that uses it; what is not known is left out."""
    device, config = port.device, port.config
    pairs: dict[str, str | None] = {
        "IBDEV": device.rdma_device,
        "PORT": str(device.port),
        "PCI": device.pci,
        "NETDEV": container_netdev(port),
        "PKEY": format_pkey(config.pkey) if config.pkey is not None else None,
        "PKEY_INDEX": str(port.pkey_index) if port.pkey_index is not None else None,
        "TRAFFIC_CLASS": str(config.traffic_class) if config.traffic_class is not None else None,
        "MTU": str(config.mtu) if config.mtu is not None else None,
        "ADMIN": "true" if port.admin else None,
    }
    return {f"{prefix}_{key}": value for key, value in pairs.items() if value is not None}


def claim_environment(claim: PreparedClaim) -> dict[str, str]:
    """Give what NCCL and UCX read by themselves, for the ports that carry data.

    A value is set only if all of them agree on it: one variable cannot say two things.
    NCCL wants the pkey's index, UCX the key.
    """
    ports = claim.moving
    if not ports:
        return {}
    names = ",".join(f"{p.device.rdma_device}:{p.device.port}" for p in ports)
    found = {"NCCL_IB_HCA": f"={names}", "UCX_NET_DEVICES": names}
    pkey = _agreed(p.config.pkey for p in ports)
    index = _agreed(p.pkey_index for p in ports)
    traffic_class = _agreed(p.config.traffic_class for p in ports)
    if pkey is not None:
        found["UCX_IB_PKEY"] = format_pkey(pkey)
        if index is not None:
            found["NCCL_IB_PKEY"] = str(index)
    if traffic_class is not None:
        found["NCCL_IB_TC"] = found["UCX_IB_TRAFFIC_CLASS"] = str(traffic_class)
    return found


def container_netdev(port: PreparedPort) -> str | None:
    """Name the interface a program should use: the pkey's child if there is one."""
    if port.admin or port.device.netdev is None:
        return None
    pkey = port.child_pkey
    return port.device.netdev if pkey is None else child_name(port.device.netdev, pkey)


def child_name(netdev: str, pkey: int) -> str:
    """Name a pkey's IPoIB child: ``ib0.8001``, as sysfs' create_child would.

    Interface names have at most 15 characters: a longer one keeps six of the parent's
    and four digits that tell parents with the same beginning apart.
    """
    name = f"{netdev}.{pkey:04x}"
    if len(name) <= 15:
        return name
    return f"{netdev[:6]}{zlib.crc32(netdev.encode()) & 0xFFFF:04x}.{pkey:04x}"


def _agreed(values: Iterable[int | None]) -> int | None:
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _upper(request: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", request.upper())


def _lines(pairs: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in pairs.items())


def _device_nodes(nodes: Iterable[CharDevice]) -> tuple[DeviceNode, ...]:
    return tuple(DeviceNode(path=n.path, major=n.major, minor=n.minor) for n in nodes)


def _attach_hook(claim: PreparedClaim, hook: HookSettings) -> Hook:
    return Hook(
        hook_name="createRuntime",
        path=hook.path,
        args=("ibdra-hook", *hook.options, "attach", claim.claim.uid, node_numbers(claim)),
        timeout=hook.timeout,
    )
