"""Kubernetes', etcd's and Helm's commands, built from their Go modules.

Why: the behaviour that tests must see (what a server drops, defaults, refuses) is in the code
that clusters run, not in a model of it.  Go is the only tool needed.  A release is a folder
with ``go.mod`` and ``go.sum``, which fix every source by hash.  A cold build takes many
minutes, so the result is kept under a stamp of what went in, and a lock makes a second
process wait instead of building too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).with_name("go")
CACHE = Path(__file__).parents[4] / ".cache/cluster"

_SECONDS_BETWEEN_REPORTS = 30.0
_VERSION_VARIABLES = "k8s.io/component-base/version"
_TOOLS = {
    "go": "Go to build a Kubernetes control plane",
    "openssl": "openssl for a control plane's certificates",
    "setpriv": "setpriv to end a control plane with its owner",
}
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


class Lacking(Exception):
    """Something is not on this machine; the text begins with "needs"."""


class BuildFailed(Exception):
    """The commands are not there, and not for want of Go."""


@dataclass(frozen=True, slots=True)
class Build:
    """One module folder, and the commands that it gives.

    Attributes
    ----------
    name
        What people call it.
    module
        The folder below ``go``.
    version
        As its ``go.mod`` has it, with the ``v``.
    packages
        For each command the package it is built from.
    ldflags
        What the linker is told, so that a command knows its version.
    """

    name: str
    module: Path
    version: str
    packages: Mapping[str, str]
    ldflags: str = "-s -w"

    @property
    def folder(self) -> Path:
        """Where the result is kept."""
        return CACHE / self.name.lower().replace(" ", "-") / "bin"


def kubernetes_minors() -> tuple[str, ...]:
    """List the minor releases that there are modules for, newest first.

    ``IBDRA_KUBERNETES`` chooses some of them, ``1.37,1.34``; "newest" is the first.
    """
    found = [path.name for path in MODULES.iterdir() if re.fullmatch(r"1\.\d+", path.name)]
    every = tuple(sorted(found, key=lambda minor: int(minor[2:]), reverse=True))
    chosen = os.environ.get("IBDRA_KUBERNETES", "")
    wanted = (every[0] if chosen == "newest" else chosen).split(",") if chosen else every
    unknown = sorted(set(wanted) - set(every))
    if unknown:
        raise BuildFailed(f"IBDRA_KUBERNETES: there is no {', '.join(unknown)} among {every}")
    return tuple(minor for minor in every if minor in wanted)


def kubernetes(minor: str, commands: tuple[str, ...] = _CONTROL_PLANE) -> Build:
    """Say how this release of Kubernetes is built."""
    module = MODULES / minor
    version = _required(module, "k8s.io/kubernetes")
    major, number = minor.split(".")
    said = {"gitVersion": version, "gitMajor": major, "gitMinor": number}
    variables = [f"-X {_VERSION_VARIABLES}.{name}={value}" for name, value in said.items()]
    return Build(
        name=f"Kubernetes {version}",
        module=module,
        version=version,
        packages={command: f"k8s.io/kubernetes/cmd/{command}" for command in commands},
        ldflags=" ".join(["-s -w", *variables]),
    )


def etcd() -> Build:
    """Say how etcd is built: one for all releases, which speak to it in the same words."""
    module = MODULES / "etcd"
    package = "go.etcd.io/etcd/server/v3"
    version = _required(module, package)
    return Build(name=f"etcd {version}", module=module, version=version, packages={"etcd": package})


def containerd() -> Build:
    """Say how the container runtime is built."""
    module = MODULES / "containerd"
    package = "github.com/containerd/containerd/v2"
    version = _required(module, package)
    commands = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Build(
        name=f"containerd {version}",
        module=module,
        version=version,
        packages={command: f"{package}/cmd/{command}" for command in commands},
    )


def helm() -> Build:
    """Say how the program that installs charts is built."""
    module = MODULES / "helm"
    package = "helm.sh/helm/v4"
    version = _required(module, package)
    return Build(
        name=f"Helm {version}",
        module=module,
        version=version,
        packages={"helm": f"{package}/cmd/helm"},
        ldflags=f"-s -w -X {package}/internal/version.version={version}",
    )


def all_builds() -> tuple[Build, ...]:
    """List all that the tests want."""
    everything = (*_CONTROL_PLANE, "kubelet", "kubectl")
    kubernetes_builds = [kubernetes(minor, everything) for minor in kubernetes_minors()]
    return (etcd(), *kubernetes_builds, containerd(), helm())


def check_machine() -> None:
    """Raise `Lacking` if a program is missing that a control plane wants."""
    for name in _TOOLS:
        _tool(name)


def is_built(build: Build) -> bool:
    """Tell whether the commands are there, so that nobody waits for a build; `Lacking` if no Go."""
    stamp = _stamp(build, _go(build))
    return all(_is_kept(build, name, stamp) for name in build.packages)


def commands(build: Build) -> Path:
    """Give the folder with the commands; build those that are not there.

    Raises
    ------
    Lacking
        There is no Go, or one that is too old.
    BuildFailed
        Go could not build them.
    """
    go = _go(build)
    stamp = _stamp(build, go)
    with _locked(build):
        missing = [name for name in build.packages if not _is_kept(build, name, stamp)]
        if missing:
            _compile(build, go, missing)
        for name in missing:
            _stamp_file(build, name).write_text(stamp)
    return build.folder


def _go(build: Build) -> str:
    """Find a Go that this module can be built with."""
    go = _tool("go")
    told = _run([go, "list", "-m"], build)
    if "requires go >=" in told.stderr:
        raise Lacking(f"needs a newer Go to build {build.name}: {told.stderr.strip()}")
    if told.returncode:
        raise BuildFailed(f"Go cannot read {build.module}/go.mod: {told.stderr.strip()}")
    return go


def _tool(name: str) -> str:
    """Find a program."""
    found = shutil.which(name)
    if found is None:
        raise Lacking(f"needs {_TOOLS[name]}: install it")
    return found


def _compile(build: Build, go: str, names: list[str]) -> None:
    """Build commands in one go, which compiles what they share once."""
    for name in names:
        _stamp_file(build, name).unlink(missing_ok=True)
    packages = [build.packages[name] for name in names]
    command = [go, "build", "-v", "-trimpath", f"-ldflags={build.ldflags}"]
    command += ["-o", f"{build.folder}/", *packages]
    log = build.folder / "build.log"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=build.module, env=_environment(), stdout=output, stderr=output
        )
        try:
            while (code := _ended(process, _SECONDS_BETWEEN_REPORTS)) is None:
                _report(build, log, time.monotonic() - begun)
        finally:
            process.kill()
            process.wait()
    if code:
        raise BuildFailed(f"{build.name} does not build ({log}):\n{_complaints(log)}")
    for name, package in zip(names, packages, strict=True):
        # Go names a command by its package, less a major version.
        made = re.sub(r"/v\d+$", "", package).rpartition("/")[2]
        (build.folder / made).rename(build.folder / name)


def _ended(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _report(build: Build, log: Path, seconds: float) -> None:
    """Tell somebody who waits that it goes on: minutes without a word look like a hang."""
    packages = log.read_bytes().count(b"\n")
    print(
        f"building {build.name}: {packages} packages compiled in {seconds:.0f} s (once only)",
        file=sys.__stderr__,
        flush=True,
    )


def _complaints(log: Path) -> str:
    """Read what Go said, less the packages that it was glad with."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join([line for line in lines if " " in line][-40:])


def _stamp(build: Build, go: str) -> str:
    """Tell apart what goes into a build: the sources, Go, and how it is called."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((build.module / name).read_bytes())
    for part in (_run([go, "version"], build).stdout, build.ldflags):
        digest.update(part.encode())
    return digest.hexdigest()


def _is_kept(build: Build, name: str, stamp: str) -> bool:
    file = _stamp_file(build, name)
    return (build.folder / name).is_file() and file.is_file() and file.read_text() == stamp


def _stamp_file(build: Build, name: str) -> Path:
    return build.folder / f"{name}.stamp"


@contextmanager
def _locked(build: Build) -> Iterator[None]:
    """Hold the folder against other processes; the kernel lets go of it when we die."""
    build.folder.mkdir(parents=True, exist_ok=True)
    with (build.folder.parent / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: list[str], build: Build) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=build.module,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """Build without a C compiler, and without looking at the repository around the folder."""
    flags = f"{os.environ.get('GOFLAGS', '')} -buildvcs=false".strip()
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": flags}


def _required(module: Path, package: str) -> str:
    """Read which version of a package a module requires."""
    found = re.search(rf"{re.escape(package)} (v\S+)", (module / "go.mod").read_text())
    if found is None:
        raise BuildFailed(f"{module}/go.mod does not require {package}")
    return found[1]
