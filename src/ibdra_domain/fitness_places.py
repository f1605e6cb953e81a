"""The folders, sockets and programs that the driver shares with kubelet and runtime.

Why: each of them belongs to two parties, and what one of them left, mounted read-only or
never made shows only when a pod starts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from ibdra_domain.container_edits import CDI_KIND
from ibdra_domain.fitness import Finding, error, good, warning
from ibdra_domain.ports.host import PathFacts, PathKind
from ibdra_domain.publication import DRIVER_NAME

_KIND_IN_SPEC = re.compile(
    rb"""["']?\bkind["']?\s*:\s*["']?""" + re.escape(DRIVER_NAME.encode()) + rb"/"
)


def check_folder(
    check: str,
    folder: PathFacts,
    nearest: PathFacts,
    *,
    purpose: str,
    made: bool = True,
    written: bool = True,
) -> Finding:
    """Judge a folder.

    ``nearest`` is the first folder above it that is there, or itself; ``made`` tells that
    the driver makes a missing one, ``written`` that it writes there itself.
    """
    path = folder.path
    if folder.kind not in (PathKind.MISSING, PathKind.FOLDER):
        return error(
            check,
            path,
            f"{path} is a {folder.kind}, no folder",
            remedy="move away what lies there",
        )
    if folder.kind is PathKind.MISSING and not made:
        return error(
            check,
            path,
            f"{path} is missing: {purpose}",
            remedy="start what makes it, or mount the host's folder here",
        )
    if written and not nearest.writable:
        return error(
            check,
            path,
            f"{nearest.path} cannot be written to: {purpose}",
            remedy="mount the host's folder here, writable",
        )
    if nearest.full:
        return error(
            check,
            path,
            f"the file system of {nearest.path} is full: {purpose}",
            remedy="make room on it",
        )
    there = folder.kind is PathKind.FOLDER
    return good(check, path if there else f"{path} (will be made)")


def check_socket(check: str, socket: PathFacts, *, answers: bool, whose: str) -> Finding:
    """Judge what lies where a socket of ours goes; nothing is as good as a daemon's."""
    path = socket.path
    if socket.kind is PathKind.MISSING:
        return good(check, f"{path} (no daemon runs, none left it)")
    if socket.kind is not PathKind.SOCKET:
        return error(
            check,
            path,
            f"{path} is a {socket.kind}, no socket: {whose} cannot be served",
            remedy="find out whose it is and move it away",
        )
    if answers:
        return good(check, f"{path} answers")
    return warning(
        check,
        path,
        f"nobody answers at {path}: a daemon that was killed left it",
        remedy="start `ibdra run`, which replaces it, or remove it with `ibdra cleanup`",
    )


def check_daemon(*, answers: bool, socket: str) -> Finding:
    """Judge whether the daemon runs."""
    if answers:
        return good("daemon", f"it answers at {socket}")
    return warning(
        "daemon",
        "the daemon",
        f"no daemon answers at {socket}, so no pod with a claim can start here",
        remedy="start `ibdra run` (its DaemonSet), if this node is in use",
    )


def check_run_folder(folder: PathFacts) -> Finding:
    """Judge who may write to the folder of the hook's socket."""
    if folder.kind is PathKind.FOLDER and folder.mode & 0o022:
        return error(
            "run folder",
            folder.path,
            f"others than its owner may write to {folder.path} (mode {folder.mode:04o}): they "
            "could put a socket of their own there, and the daemon does not start",
            remedy=f"`chmod 0700 {folder.path}`",
        )
    return good("run folder", f"who may write to {folder.path}")


def check_cdi_conflicts(
    specs: Mapping[str, bytes | None], *, ours: Iterable[str] = ()
) -> tuple[Finding, ...]:
    """Judge other spec files: one of our kind can hide or forge a claim's.

    ``specs`` has each file's content by its path, ``ours`` are the paths of our own.
    """
    own = set(ours)
    foreign = [
        path
        for path, content in sorted(specs.items())
        if path not in own and content is not None and _KIND_IN_SPEC.search(content)
    ]
    return tuple(
        error(
            "cdi",
            path,
            f"{path} is a CDI spec of kind {CDI_KIND} that is not the driver's: the runtime may "
            "take its devices for a claim's",
            remedy="remove it",
        )
        for path in foreign
    ) or (good("cdi", "no other CDI spec of our kind"),)


def check_hook(
    hook: PathFacts, installed: bytes | None, shipped: bytes | None, *, source: str
) -> Finding:
    """Judge the program that runtimes run, against the one that came with this driver."""
    path = hook.path
    again = "run `ibdra install-hook`"
    if hook.kind is PathKind.MISSING:
        return error(
            "hook",
            path,
            f"the attach hook is not installed at {path}: no container with a claim starts",
            remedy=again,
        )
    if hook.kind is not PathKind.FILE or not hook.executable:
        return error(
            "hook",
            path,
            f"{path} cannot be run (it is a {hook.kind}, mode {hook.mode:04o})",
            remedy=f"{again}; if it stays so, mount its file system without noexec",
        )
    if shipped is None:
        return good("hook", f"{path} (not compared: there is no {source} here)")
    if installed != shipped:
        return warning(
            "hook",
            path,
            f"{path} is another version than the one shipped with this driver, {source}",
            remedy=again,
        )
    return good("hook", f"{path}, as shipped")


class RecordsSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The folder of records: how many are good, what is wrong with others, what was set aside."""

    good: int = 0
    bad: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()


def check_records(folder: str, seen: RecordsSeen) -> tuple[Finding, ...]:
    """Judge the records of claims."""
    found = [
        error(
            "state",
            folder,
            trouble,
            remedy="the next start sets it aside; see the page on troubleshooting, Files, before "
            "that: its devices may be in a pod",
        )
        for trouble in seen.bad
    ]
    found += [
        warning(
            "state",
            f"{folder}/{key}.corrupt",
            f"the record of claim {key} was set aside as corrupt: nobody knows what its devices "
            "were like",
            remedy="delete its pod, put its devices right by hand, then remove the file and the "
            "claim's CDI spec",
        )
        for key in seen.set_aside
    ]
    return (good("state", f"{seen.good} records in {folder}"), *found)
