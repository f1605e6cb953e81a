"""Debian's archive, asked for packages that are unpacked and never installed.

Why: a kernel comes from another suite than this machine's, and today in several packages.
apt is asked, with lists of its own beside the machine's: it knows where the archive is, and
checks what it gets against the archive's keys.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Debian's releases in their order: backports of the one after the machine's are newer still.
_CODENAMES = ("bookworm", "trixie", "forky", "duke")
_DEPENDS = re.compile(r"^ *(?:Pre)?Depends: ([^<\s]+)$", re.MULTILINE)
_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Suite:
    """A part of the archive: the options with which apt knows it, and no other."""

    name: str
    options: tuple[str, ...] = ()
    # Its programs may want libraries that this machine does not have.
    foreign: bool = False

    def update(self) -> None:
        """Fetch its list of packages."""
        apt("apt-get", *self.options, "update")

    def depends(self, package: str) -> list[str]:
        """Name what a package of this suite cannot do without."""
        return _DEPENDS.findall(run("apt-cache", *self.options, "depends", package))

    def closure(self, packages: Sequence[str], follow: re.Pattern[str]) -> list[str]:
        """Name the packages and what they need, as far as those names match."""
        found = list(packages)
        for package in found:  # it grows meanwhile
            needed = self.depends(package)
            found += [name for name in needed if follow.match(name) and name not in found]
        return found

    def unpack(self, packages: Sequence[str], *, into: Path) -> None:
        """Fetch packages and unpack them below a folder; nothing of them is run."""
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into) as debs:
            apt("apt-get", *self.options, "download", *packages, cwd=Path(debs))
            for deb in Path(debs).glob("*.deb"):
                run("dpkg-deb", "-x", str(deb), str(into))


def backports(state: Path) -> list[Suite]:
    """Give the backports there may be, newest first, each with apt state of its own below a folder.

    Their names are worked out; whether the archive has them shows when they are updated.
    """
    only = ("Origin: Debian", "Component: main", "Created-By: Packages")
    targets = run("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", *only)
    for line in targets.splitlines():
        site, codename = line.split()
        if "-" not in codename:  # not its updates, nor its security archive
            own = _suite(state, site, f"{codename}-backports")
            after = _CODENAMES[_CODENAMES.index(codename) + 1 :] if codename in _CODENAMES else ()
            return [_suite(state, site, f"{name}-backports", name) for name in after[:1]] + [own]
    return []


def _suite(state: Path, site: str, name: str, base: str = "") -> Suite:
    """Describe a suite, and what it builds on if that is not this machine's."""
    folder = state / name
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    signed = f"signed-by={_KEYRING} " if Path(_KEYRING).exists() else ""
    sources = folder / "sources.list"
    sources.write_text(
        "".join(
            f"deb [{signed}target=Packages lang=none] {site} {each} main\n"
            for each in (name, base)
            if each
        )
    )
    options = (
        f"-oDir::Etc::sourcelist={sources}",
        "-oDir::Etc::sourceparts=/dev/null",
        f"-oDir::State::lists={folder / 'lists'}",
        f"-oDir::Cache={folder / 'cache'}",
        f"-oAPT::Default-Release={name}",
    )
    return Suite(name, options, foreign=bool(base))


def apt(program: str, *arguments: str, cwd: Path | None = None) -> None:
    """Run a program of apt's."""
    # The sandbox user may not write below a cache that only root can enter.
    run(program, "-oAPT::Sandbox::User=root", "-q", *arguments, cwd=cwd)


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a command, give what it prints; raises SubprocessError."""
    done = subprocess.run(
        command,
        check=True,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"},
    )
    return done.stdout


def why(failure: subprocess.SubprocessError) -> str:
    """Tell in a line why a command failed: its own last words."""
    if isinstance(failure, subprocess.CalledProcessError):
        lines = str(failure.stderr).strip().splitlines()
        return lines[-1] if lines else str(failure)
    return str(failure)
