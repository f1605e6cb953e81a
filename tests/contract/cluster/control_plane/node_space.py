"""A node on this machine: a PID and a mount namespace in which a kubelet and its pods run.

Why: a container runtime leaves its shims, mounts and containers behind when it dies, on
purpose.  Here all of them are in one PID namespace, whose first process dies with the one who
started it: the kernel then kills whatever is in there, and mounts that only the namespace has
are gone with it.  Cgroups have no such end; they are below one folder a hierarchy, which is
removed here.

A kubelet sets the kernel up for itself (to panic on an oops, among others).  It gets files
that look like these settings; the machine's own stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.processes import Process, Starter

_CGROUPS = Path("/sys/fs/cgroup")
_PREFIX = "ibdra-node-"
_SETTINGS = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
# Folders that the programs write to, whatever they are told.  Where they are not there, empty
# ones stay behind: to remove one would take it from a node that another process has.
_OWN = ("/run/containerd", "/var/lib/kubelet", "/var/log")


class NodeSpace:
    """The namespaces, their first process, and what is entered into them."""

    def __init__(self, folder: Path, *, starter: Starter, more: Sequence[str] = ()) -> None:
        self._folder = folder
        self._own = (*_OWN, *more)
        self._starter = starter
        self.logs = folder / "logs"
        self.cgroup = f"/{_PREFIX}{os.getpid()}-{folder.name}"

    def open(self) -> None:
        """Start the first process, and wait until the mounts are made."""
        self.logs.mkdir(parents=True)
        remove_left_cgroups()
        for hierarchy in _hierarchies():
            (hierarchy / self.cgroup[1:]).mkdir(exist_ok=True)
        command = [
            *("unshare", "--mount", "--propagation=private", "--pid", "--fork"),
            *("--kill-child=KILL", "--mount-proc", "sh", "-euc", self._script()),
        ]
        self._init = Process("node", command, logs=self.logs, starter=self._starter)
        self._init.start()
        ready = self._folder / "ready"
        wait_until(
            lambda: ready.exists() or not self._init.is_alive, what="the node's mounts", seconds=10
        )
        if not ready.exists():
            raise RuntimeError(f"the node's namespaces cannot be made:\n{self._init.tail()}")
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children")
        (self._first,) = children.read_text().split()

    def enter(self, *command: str) -> list[str]:
        """Give a command line that runs a command in the node; it dies with its caller's."""
        space = f"/proc/{self._init.pid}/ns"
        namespaces = [f"--mount={space}/mnt", f"--pid={space}/pid_for_children", "--wdns=/"]
        return ["nsenter", *namespaces, "setpriv", "--pdeathsig", "KILL", *command]

    def close(self) -> None:
        """End everything in the node, and remove its cgroups."""
        self._init.kill()
        # The kernel ends a namespace's first process last.
        wait_until(lambda: _has_ended(self._first), what="the end of the node's processes")
        wait_until(
            lambda: all(_remove(each / self.cgroup[1:]) for each in _hierarchies()),
            what=f"the end of the cgroups {self.cgroup}",
        )

    def _script(self) -> str:
        """Write what the first process does: mounts, then it waits and reaps."""
        settings = self._folder / "settings"
        lines = ["mount --make-rshared /"]
        for name in _SETTINGS:
            own = settings / name.replace("/", ".")
            own.parent.mkdir(exist_ok=True)
            own.write_text(Path("/proc/sys", name).read_text())
            lines.append(f"mount --bind {own} /proc/sys/{name}")
        for name in self._own:
            own = self._folder / name[1:]
            own.mkdir(parents=True)
            lines += [f"mkdir -p {name}", f"mount --bind {own} {name}"]
        lines += [f"touch {self._folder}/ready", "while :; do sleep 1000 & wait; done"]
        return "\n".join(lines)


def cgroups_refusal() -> str | None:
    """Try to make a cgroup in each hierarchy; give the reason if that cannot be done."""
    hierarchies = _hierarchies()
    if not hierarchies:
        return f"there are none in {_CGROUPS}"
    for hierarchy in hierarchies:
        probe = hierarchy / f"{_PREFIX}{os.getpid()}-probe"
        try:
            probe.mkdir()
            probe.rmdir()
        except OSError as error:
            return str(error)
    return None


def remove_left_cgroups() -> None:
    """Remove what killed test runs have left."""
    for hierarchy in _hierarchies():
        for path in hierarchy.glob(f"{_PREFIX}*"):
            pid = path.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path("/proc", pid).exists():
                _remove(path)


def _hierarchies() -> list[Path]:
    """List the cgroup hierarchies: one in version 2, one a controller in version 1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [path.parent for path in _CGROUPS.glob("*/cgroup.procs")]


def _has_ended(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _remove(cgroup: Path) -> bool:
    """Remove a cgroup with all below it; say whether it is gone (processes take a moment)."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:
            return False
    return True
