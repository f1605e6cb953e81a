"""What the guest's tests ask of the guest: its files and two programs, nothing of ours.

The node must not be seen through the code it is there to test.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

_Seen = TypeVar("_Seen")
MODE = os.environ.get("IBDRA_VIRTUAL_NODE_MODE", "")
NEEDS = "needs the virtual node"
PCI = Path("/sys/bus/pci/devices")
RDMA = Path("/sys/class/infiniband")
NODES = Path("/dev/infiniband")
# The distribution's own kernel, not one of its backports'.
IS_STABLE = os.uname().release.startswith("6.1.")
# 6.12 has one namespace for all names, 7.3 one for each network namespace.
NAMES_ARE_GLOBAL = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) < (6, 13)
_SECONDS = 15.0


def run(command: str, *, namespace: str | None = None) -> str:
    """Run a command, in a namespace if one is named; a failure carries what it printed."""
    prefix = ["ip", "netns", "exec", namespace] if namespace else []
    done = subprocess.run(
        [*prefix, *command.split()], check=False, capture_output=True, text=True, timeout=60
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def physical_functions() -> list[Path]:
    """Give the HCAs' physical functions."""
    found = (path for path in PCI.iterdir() if (path / "stub_port_state").exists())
    return sorted(path for path in found if not (path / "physfn").exists())


def virtual_functions(function: Path) -> list[Path]:
    """Give a function's virtual ones, in their order."""
    links = sorted(function.glob("virtfn*"), key=lambda link: int(link.name[6:]))
    return [PCI / link.resolve().name for link in links]


def read(path: Path) -> str:
    """Give a file's text without its newline."""
    return path.read_text().strip()


def write(path: Path, text: str) -> None:
    """Write at once, so that the kernel's error is this call's."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def rdma_device(function: Path) -> str:
    """Give the name of a function's RDMA device."""
    (device,) = (function / "infiniband").iterdir()
    return device.name


def parent_netdev(function: Path) -> str:
    """Give the name of a function's IPoIB netdev, not of its pkey children."""
    (netdev,) = (path.name for path in (function / "net").iterdir() if "." not in path.name)
    return netdev


def carrier(netdev: str) -> bool:
    """Say whether a netdev that is up has its carrier.

    Not by operstate, which the kernel brings up to date some time later: it may still be
    what it was before the netdev was last set down.
    """
    return read(Path("/sys/class/net", netdev, "carrier")) == "1"


def node_of(function: Path, kind: str) -> Path:
    """Give a function's uverbs, umad or issm node."""
    folder = "infiniband_verbs" if kind == "uverbs" else "infiniband_mad"
    (name,) = (path.name for path in (function / folder).iterdir() if path.name.startswith(kind))
    return NODES / name


def links(namespace: str | None = None) -> dict[str, int]:
    """Give the names and indices of a namespace's netdevs."""
    output = run("ip -o link", namespace=namespace)
    return {
        name: int(index) for index, name in re.findall(r"^(\d+): ([^:@]+)", output, re.MULTILINE)
    }


def rdma_devices(namespace: str | None = None) -> set[str]:
    """Give the RDMA devices that netlink shows in a namespace."""
    output = run("rdma dev", namespace=namespace)
    return set(re.findall(r"^\d+: (\S+):", output, re.MULTILINE))


def eventually(look: Callable[[], _Seen]) -> _Seen:
    """Look until what is seen is true, or can be seen at all; fail as the last look did."""
    until = time.monotonic() + _SECONDS
    while True:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            if seen := look():
                return seen
        if time.monotonic() > until:
            seen = look()
            assert seen
            return seen
        time.sleep(0.05)


@contextlib.contextmanager
def network_namespace(name: str) -> Iterator[str]:
    """Make a network namespace, and let it die at the end."""
    run(f"ip netns add {name}")
    try:
        yield name
    finally:
        run(f"ip netns del {name}")


@contextlib.contextmanager
def virtual(function: Path, count: int) -> Iterator[list[Path]]:
    """Give a function virtual ones, and take them away at the end."""
    write(function / "sriov_numvfs", str(count))
    try:
        found = virtual_functions(function)
        eventually(lambda: [parent_netdev(each) for each in found])
        yield found
    finally:
        write(function / "sriov_numvfs", "0")


def refused(call: Callable[[], object]) -> int:
    """Give the error number a call fails with, 0 if it succeeds."""
    try:
        call()
    except OSError as failure:
        return failure.errno or -1
    return 0
