"""What the demo saw, as values: printed for people or given as JSON."""

from __future__ import annotations

import msgspec

from ibdra_domain.link import IPOIB_HEADER


class InterfaceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An interface inside a container's namespace; ``mtu`` in bytes."""

    name: str
    mtu: int
    up: bool
    pkey: str | None = None


class ContainerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What one container got.

    ``device_nodes`` are ``path (type major:minor)``; ``node_access`` tells for each path
    whether a process in the container, and one on the host, can open it.
    """

    name: str
    namespace: str
    cdi_ids: tuple[str, ...]
    device_nodes: tuple[str, ...]
    node_access: dict[str, dict[str, str]]
    env: dict[str, str]
    rdma_devices: tuple[str, ...]
    interfaces: tuple[InterfaceSeen, ...]


def complaints(seen: ContainerSeen, *, exclusive: bool) -> tuple[str, ...]:
    """Hold what a container was promised in its environment against what it got.

    ``exclusive``: the host must not be able to open a moved device.
    """
    found = [
        f"{seen.name} cannot open {path}"
        for path, access in seen.node_access.items()
        if access["container"] != "opens"
    ]
    interfaces = {interface.name: interface for interface in seen.interfaces}
    prefixes = [key.removesuffix("_IBDEV") for key in seen.env if key.endswith("_IBDEV")]
    if not prefixes:
        found.append(f"{seen.name} was told of no device")
    for prefix in prefixes:
        told = {
            k: seen.env.get(f"{prefix}_{k}") for k in ("IBDEV", "NETDEV", "MTU", "PKEY", "ADMIN")
        }
        if told["IBDEV"] not in seen.rdma_devices:
            found.append(f"{prefix}: {told['IBDEV']} is not visible in {seen.namespace}")
        if told["ADMIN"] or not told["NETDEV"]:
            continue
        interface = interfaces.get(told["NETDEV"])
        if interface is None or not interface.up:
            found.append(f"{prefix}: interface {told['NETDEV']} is not up in {seen.namespace}")
        elif told["MTU"] and interface.mtu != int(told["MTU"]) - IPOIB_HEADER:
            found.append(f"{prefix}: {interface.name} has MTU {interface.mtu} of {told['MTU']}")
        elif told["PKEY"] and interface.pkey not in (told["PKEY"], None):
            found.append(f"{prefix}: {interface.name} has pkey {interface.pkey}")
    if exclusive and not any(key.endswith("_ADMIN") for key in seen.env):
        found += [
            f"the host can still open {path}"
            for path, access in seen.node_access.items()
            if "uverbs" in path and access["host"] == "opens"
        ]
    return tuple(found)


class ExampleSeen(msgspec.Struct, frozen=True, kw_only=True):
    """How one example went.

    ``outcome`` is "ran", or "pending" with the scheduler's reason.  ``wrong`` lists what
    was not as it should be.
    """

    name: str
    outcome: str
    reason: str | None = None
    allocated: tuple[str, ...] = ()
    containers: tuple[ContainerSeen, ...] = ()
    wrong: tuple[str, ...] = ()


class DemoReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole demo; ``left_over`` is what a machine should not have afterwards."""

    profile: str
    description: str
    platform: str
    isolation: str
    devices: int
    slices: int
    examples: tuple[ExampleSeen, ...]
    left_over: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether everything was as it should be."""
        return not self.left_over and not any(example.wrong for example in self.examples)
