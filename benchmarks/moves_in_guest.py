"""What ``bench_moves.py`` runs in the virtual node: one exclusive move, in two ways.

Both do the same: the RDMA device, its new interface looked for, moved, renamed, given its
MTU, brought up, with a child in a partition; then all back.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_domain.ports.netlink import Link, Netns
from measure import medians, row

DEVICE, NAME, MTU, PKEY = "mlx5_0", "ib0", 2044, 0x8001
GUID = "0c42:a103:0041:0000"
AWAY = Path("/run/netns/away")
PATIENCE = 30.0
SeenT = TypeVar("SeenT")


def main() -> None:
    """Measure and print."""
    run(f"ip netns add {AWAY.name}")
    run("ip netns attach home 1")  # rdma knows namespaces by name only
    eventually(lambda: Path(f"/sys/class/infiniband/{DEVICE}").exists())
    netdev = next(Path(f"/sys/class/infiniband/{DEVICE}/device/net").iterdir()).name
    if netdev != NAME:
        run(f"ip link set {netdev} down")
        run(f"ip link set {netdev} name {NAME}")
    run(f"ip link set {NAME} up")
    took = medians({"ours": through_adapters(), "programs": through_programs}, rounds=5)
    row("a move into a namespace and back, our adapters", f"{took['ours'] * 1e3:.0f} ms")
    row("the same by rdma and ip", f"{took['programs'] * 1e3:.0f} ms")
    row("ratio", f"{took['programs'] / took['ours']:.1f}", "must stay above 1")


def through_adapters() -> Callable[[], None]:
    """Give the move through our adapters."""
    namespaces = LinuxNamespaces()
    rdma, links = LinuxRdmaDevices(namespaces), LinuxLinks()

    def landed(*where: Netns) -> tuple[Link, Netns]:
        """Find the device's new interface, which is made in one namespace or the other."""
        return eventually(
            lambda: next(
                (link, netns)
                for netns in where
                for link in links.list(netns)
                if link.port_guid == GUID and link.parent is None
            )
        )

    def put_up(netdev: Link, netns: Netns) -> None:
        if netdev.name != NAME:
            links.rename(netdev.index, NAME, netns=netns)
        links.configure(netdev.index, netns=netns, mtu=MTU, up=True)

    def move() -> None:
        host, away = namespaces.host(), LinuxNamespaces(host=AWAY).host()
        try:
            rdma.move(DEVICE, source=host, target=away)
            netdev, where = landed(host, away)
            if where is host:
                links.move(netdev.index, source=host, target=away)
                netdev, _ = landed(away)
            put_up(netdev, away)
            links.add_pkey_child(netdev.index, name=f"{NAME}.child", pkey=PKEY, netns=away)
            child = next(x for x in links.list(away) if x.name == f"{NAME}.child")
            links.configure(child.index, netns=away, up=True)
            rdma.move(DEVICE, source=away, target=host)
            netdev, _ = landed(host)
            put_up(netdev, host)
        finally:
            host.close()
            away.close()

    return move


def through_programs() -> None:
    """Move as an administrator would."""
    away = f"ip -n {AWAY.name}"
    run(f"rdma dev set {DEVICE} netns {AWAY.name}")
    name, where = eventually(lambda: _shown("ip", away))
    if where == "ip":
        run(f"ip link set {name} netns {AWAY.name}")
        name, _ = eventually(lambda: _shown(away))
    if name != NAME:
        run(f"{away} link set {name} name {NAME}")
    run(f"{away} link set {NAME} mtu {MTU} up")
    run(f"{away} link add link {NAME} name {NAME}.child type ipoib pkey {PKEY:#x}")
    run(f"{away} link set {NAME}.child up")
    run(f"ip netns exec {AWAY.name} rdma dev set {DEVICE} netns home")
    name, _ = eventually(lambda: _shown("ip"))
    if name != NAME:
        run(f"ip link set {name} name {NAME}")
    run(f"ip link set {NAME} mtu {MTU} up")


def _shown(*programs: str) -> tuple[str, str]:
    """Find the interface with the port's GUID in what ``ip`` prints."""
    tail = GUID.replace(":", "")
    return next(
        (link["ifname"], program)
        for program in programs
        for link in json.loads(run(f"{program} -j link") or "[]")
        if str(link["address"]).replace(":", "").endswith(tail) and "link" not in link
    )


def run(command: str) -> str:
    """Run a program; what it complains of ends the measurement."""
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


def eventually(look: Callable[[], SeenT]) -> SeenT:
    """Look until what is looked for is there."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(StopIteration, OSError):
            if seen := look():
                return seen
        time.sleep(0.005)
    raise TimeoutError("what was looked for did not come")


if __name__ == "__main__":
    main()
