"""Eight network namespaces asked at once, beside a live gRPC server: our helper and pyroute2's.

Each work opens every namespace in a thread of its own and lists its interfaces.  pyroute2
forks for each, which gRPC's threads make slow and unsafe; ours is a thread that ends there.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

os.environ["GRPC_VERBOSITY"] = "NONE"  # or gRPC tells of each fork that it cannot follow it

import grpc
from pyroute2 import NetNS

from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from measure import medians, row

COUNT = 8
MOUNTED = Path("/run/netns")
LINKS = LinuxLinks()


@contextmanager
def namespaces() -> Iterator[list[Path]]:
    """Make the namespaces, and let them die at the end."""
    names = [f"ibdra-bench-{os.getpid()}-{number}" for number in range(COUNT)]
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
        yield [MOUNTED / name for name in names]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


@contextmanager
def live_server(folder: Path) -> Iterator[None]:
    """Serve on a unix socket, in a thread with its own event loop, with a client connected."""
    ready, done = threading.Event(), threading.Event()
    address = f"unix:{folder}/bench.sock"

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_insecure_port(address)
        await server.start()
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.channel_ready()
            ready.set()
            await asyncio.to_thread(done.wait)
        await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def ours(path: Path) -> int:
    """List a namespace's interfaces through our adapter."""
    netns = LinuxNamespaces(host=path).host()
    try:
        return len(LINKS.list(netns))
    finally:
        netns.close()


def pyroute2s(path: Path) -> int:
    """List them through pyroute2's own way into a namespace."""
    with NetNS(str(path), flags=0) as netns:
        return len(list(netns.get_links()))


def main() -> None:
    """Measure and print."""
    if os.geteuid() != 0:
        row("namespaces", "-", "needs root: it makes network namespaces")
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        namespaces() as paths,
        live_server(Path(folder)),
        ThreadPoolExecutor(COUNT) as pool,
    ):

        def all_at_once(look: Callable[[Path], int]) -> None:
            if list(pool.map(look, paths)) != [1] * COUNT:
                raise AssertionError("a namespace has an interface beside lo")

        took = medians(
            {"ours": lambda: all_at_once(ours), "pyroute2": lambda: all_at_once(pyroute2s)},
            rounds=9,
        )
    row(f"{COUNT} namespaces at once, beside a gRPC server", f"{took['ours'] * 1e3:.1f} ms")
    row("the same through pyroute2's NetNS (fork)", f"{took['pyroute2'] * 1e3:.1f} ms")
    row("ratio", f"{took['pyroute2'] / took['ours']:.1f}", "must stay above 1")


if __name__ == "__main__":
    main()
