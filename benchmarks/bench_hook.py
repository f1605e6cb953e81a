"""The attach hook: what the program on the host costs, beside the cheapest program there is.

By a mark: the short way without the daemon.  By a server: one that says yes at once, and the
driver's own with a hook that does nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ibdra_adapters.hook.marks import MarkFolder
from ibdra_adapters.hook.server import HookServer
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_domain.ports.runtime import ContainerStart
from measure import percentile, row

ROOT = Path(__file__).parents[1]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UID = "7f9d4b2e-6a51-4c0e-9f64-0b9f1a2c3d4e"
NODES = "231:202,231:203"
YES = b'{"version":1,"attached":true}'
ROUNDS = 200
MOST = 5e-3
"""Seconds the program may take by itself."""

# A process of its own, so that neither this one's size nor its threads count.
SPAWN = """
import os, sys, time
state, rounds, *command = sys.argv[1:]
for _ in range(int(rounds)):
    with open(state, "rb") as given:
        began = time.perf_counter()
        actions = [(os.POSIX_SPAWN_DUP2, given.fileno(), 0)]
        pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(time.perf_counter() - began)
    assert code == 0, code
"""


class Nothing:
    """A hook that says yes."""

    def attach(self, start: ContainerStart) -> None:
        """Fulfil the port."""


def times(state: Path, *command: str) -> list[float]:
    """Run a command again and again; seconds of each."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", SPAWN, str(state), str(ROUNDS), *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(line) for line in done.stdout.split()]


@contextmanager
def at_once(path: Path) -> Iterator[None]:
    """Serve with nothing but the sockets."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def work() -> None:
            for _ in range(ROUNDS):
                connection, _ = listener.accept()
                with connection:
                    while connection.recv(1 << 16):
                        pass
                    connection.sendall(YES)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield
        thread.join()


async def by_the_driver(path: Path, state: Path, *command: str) -> list[float]:
    """Serve with the driver's own server."""
    async with HookServer(path, hook=Nothing()):
        return await asyncio.to_thread(times, state, *command)


def report(what: str, samples: list[float], floor: float) -> None:
    """Print a line."""
    median = statistics.median(samples)
    note = f"p95 {percentile(samples, 95) * 1e3:.2f} ms, {(median - floor) * 1e3:+.2f} ms"
    row(what, f"{median * 1e3:.2f} ms", note)


def main() -> None:
    """Measure and print; exit 1 if the program is too slow."""
    if not (shutil.which("cc") and shutil.which("make")):
        row("attach hook", "-", "needs cc and make")
        return
    with tempfile.TemporaryDirectory(prefix="ibdra-") as temporary:
        folder = Path(temporary)
        subprocess.run(["make", "-s", "-C", ROOT / "deploy/hook", f"OUT={folder}"], check=True)
        state = folder / "state.json"
        state.write_text(f'{{"ociVersion":"1.0.2","id":"c0ffee","pid":{os.getpid()}}}')
        path, marks = folder / "hook.sock", folder / "attached"
        program = [str(folder / "ibdra-hook"), "--socket", str(path), "--marks", str(marks)]
        command = [*program, "attach", UID, NODES]

        plain = times(state, "/bin/true")
        floor = statistics.median(plain)
        report("/bin/true", plain, floor)
        with at_once(path):
            asked = times(state, *command)
        path.unlink()
        report("attach hook, a server that answers at once", asked, floor)
        report(
            "attach hook, the driver's server",
            asyncio.run(by_the_driver(path, state, *command)),
            floor,
        )
        slowest = statistics.median(asked)
        if os.geteuid() == 0:
            netns = LinuxNamespaces().of_process(os.getpid())
            boot_id = BOOT_ID.read_text(encoding="ascii").strip()
            MarkFolder(marks, boot_id=boot_id).put(UID, netns=netns.id, nodes=NODES)
            netns.close()
            marked = times(state, *command)
            report("attach hook, a mark and no daemon", marked, floor)
            slowest = max(slowest, statistics.median(marked))
        else:
            row("attach hook, a mark and no daemon", "-", "needs root")
    if slowest >= MOST:
        sys.exit(f"the attach hook takes {slowest * 1e3:.1f} ms, {MOST * 1e3:.0f} are allowed")


if __name__ == "__main__":
    main()
