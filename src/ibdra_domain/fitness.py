"""What a look at a node ends in: findings, each with its remedy; and the checks of the kernel.

Why: most incidents begin with a node that was never fit, and whoever looks at it at night
should get one list, not ten tools.  Everything here is facts in, findings out.  An ERROR is
what keeps pods from getting devices or gives them less than is demanded; a WARNING what
works and will surprise somebody.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from ibdra_domain.errors import IbdraError
from ibdra_domain.hardware import IsolationDemand, RdmaIsolation
from ibdra_domain.ports.host import MemoryLimit, PathFacts, PathKind, ProcessRights


class Grade(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at.

    ``check`` is the kind of look, ``subject`` what was looked at and what was seen; what is
    wrong and what to do about it are empty where nothing is.
    """

    check: str
    subject: str
    grade: Grade = Grade.GOOD
    problem: str = ""
    remedy: str = ""


class Fitness(msgspec.Struct, frozen=True, kw_only=True):
    """All findings about a node."""

    findings: tuple[Finding, ...] = ()

    @property
    def fit(self) -> bool:
        """Nothing is so wrong that the driver cannot do its work here."""
        return not self.count(Grade.ERROR)

    def count(self, grade: Grade) -> int:
        """Count the findings of a grade."""
        return sum(finding.grade is grade for finding in self.findings)


def good(check: str, subject: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(check=check, subject=subject)


def warning(check: str, subject: str, problem: str, *, remedy: str) -> Finding:
    """Say that something works and is not as one might think."""
    return Finding(
        check=check, subject=subject, grade=Grade.WARNING, problem=problem, remedy=remedy
    )


def error(check: str, subject: str, problem: str, *, remedy: str) -> Finding:
    """Say that something keeps the driver from its work."""
    return Finding(check=check, subject=subject, grade=Grade.ERROR, problem=problem, remedy=remedy)


def not_looked_at(check: str, cause: Exception) -> Finding:
    """Say that a check itself failed: what is not known is not taken for good."""
    if isinstance(cause, IbdraError):
        return error(check, check, cause.problem, remedy=cause.remedy)
    return error(
        check,
        check,
        f"it could not be looked at ({type(cause).__name__}: {cause})",
        remedy="this is an error of ours: report it with this line; the other checks went on",
    )


class KernelPart(msgspec.Struct, frozen=True):
    """A kernel module, what shows below /sys that it is there, and what it is for."""

    module: str
    shown_by: tuple[str, ...]
    purpose: str
    needed: bool


def kernel_parts(*, with_umad: bool) -> tuple[KernelPart, ...]:
    """List what the kernel must have; built in is as good as loaded."""
    parts = (
        KernelPart("ib_core", ("module/ib_core", "class/infiniband"), "there is no RDMA", True),
        KernelPart(
            "ib_uverbs",
            ("module/ib_uverbs", "class/infiniband_verbs"),
            "no container can use an HCA",
            True,
        ),
        KernelPart(
            "rdma_cm",
            ("module/rdma_cm", "class/misc/rdma_cm"),
            "programs cannot connect by IP address",
            False,
        ),
        KernelPart(
            "rdma_ucm",
            ("module/rdma_ucm", "class/misc/rdma_cm"),
            "containers get no /dev/infiniband/rdma_cm",
            False,
        ),
        KernelPart(
            "ib_ipoib",
            ("module/ib_ipoib",),
            "ports have no interfaces, and VFs get no GUIDs",
            False,
        ),
    )
    umad = KernelPart(
        "ib_umad", ("module/ib_umad", "class/infiniband_mad"), "there are no umad nodes", True
    )
    return (*parts, umad) if with_umad else parts


def check_kernel(parts: Iterable[tuple[KernelPart, bool]]) -> tuple[Finding, ...]:
    """Judge which parts are there."""
    found = []
    for part, there in parts:
        subject = f"kernel module {part.module}"
        grade = error if part.needed else warning
        found.append(
            good("kernel", subject)
            if there
            else grade(
                "kernel",
                subject,
                f"{part.module} is not loaded: {part.purpose}",
                remedy=f"`modprobe {part.module}`, and write {part.module} to "
                "/etc/modules-load.d/ibdra.conf",
            )
        )
    return tuple(found)


_NETNS_MODE = {RdmaIsolation.EXCLUSIVE: 0, RdmaIsolation.SHARED: 1}


def check_isolation(
    mode: RdmaIsolation | None, demand: IsolationDemand, *, other_namespaces: int | None
) -> Finding:
    """Judge the RDMA isolation mode; ``other_namespaces`` is None where it is not known."""
    check, subject = "isolation", f"RDMA isolation mode: {mode or 'unknown'}"
    wanted = demand.mode
    if mode is None:
        grade = warning if wanted is None else error
        return grade(
            check,
            subject,
            "the kernel does not tell its RDMA isolation mode",
            remedy="load ib_core, of kernel 5.3 or newer; `rdma system` shows the mode",
        )
    if wanted is None:
        if mode is RdmaIsolation.EXCLUSIVE:
            return good(check, subject)
        return warning(
            check,
            subject,
            "the mode is shared: pods can open each other's HCAs",
            remedy="for isolation write `options ib_core netns_mode=0` to /etc/modprobe.d, rebuild "
            "the initramfs, reboot, and demand it with --rdma-isolation=exclusive",
        )
    if mode is wanted:
        return good(check, subject)
    if other_namespaces == 0:
        return good(check, f"{subject}; {wanted} is demanded, and `ibdra run` can switch to it")
    why = (
        f"the kernel does not switch (EBUSY) while there are {other_namespaces} other network "
        "namespaces"
        if other_namespaces
        else "the kernel does not switch while there is any other network namespace"
    )
    return error(
        check,
        subject,
        f"{wanted} is demanded, the mode is {mode}, and {why}",
        remedy=f"write `options ib_core netns_mode={_NETNS_MODE[wanted]}` to /etc/modprobe.d, "
        "rebuild the initramfs and reboot, or demand --rdma-isolation=auto",
    )


_CAPABILITIES = {
    "CAP_NET_ADMIN": "devices cannot be moved",
    "CAP_SYS_ADMIN": "pods' namespaces cannot be entered",
    "CAP_SYS_PTRACE": "other processes' namespaces cannot be looked at",
}


def check_rights(rights: ProcessRights, *, sys: PathFacts) -> tuple[Finding, ...]:
    """Judge what this process may do; ``sys`` is /sys as it is mounted here."""
    found = [
        good("rights", "user root")
        if rights.root
        else error(
            "rights",
            "user",
            "this process is not root",
            remedy="run it as root, as `ibdra run` must be",
        )
    ]
    found += [
        good("rights", name)
        if name in rights.capabilities
        else error(
            "rights",
            name,
            f"this process lacks {name}: {loss}",
            remedy=f"add {name.removeprefix('CAP_')} to the container's capabilities",
        )
        for name, loss in _CAPABILITIES.items()
    ]
    # Not by access(2): /sys itself is for reading only, for a root without CAP_DAC_OVERRIDE too.
    if sys.kind is not PathKind.FOLDER or sys.read_only:
        found.append(
            error(
                "rights",
                sys.path,
                f"{sys.path} is read-only here: no VFs, no traffic class, no RDMA mode can be set",
                remedy="mount the host's /sys into the container, writable",
            )
        )
    else:
        found.append(good("rights", f"{sys.path} is writable"))
    return tuple(found)


RUNTIMES = ("containerd", "crio")


def check_memory_limits(limits: Iterable[MemoryLimit]) -> tuple[Finding, ...]:
    """Judge what containers may lock: what RDMA registers is locked memory."""
    found = []
    for limit in limits:
        subject = f"locked memory of {limit.program} (process {limit.pid})"
        found.append(
            good("runtime", f"{subject}: unlimited")
            if limit.locked is None
            else warning(
                "runtime",
                subject,
                f"{limit.program} lets containers lock {limit.locked} bytes: registering more "
                "memory for RDMA fails in them with ENOMEM",
                remedy=f"set LimitMEMLOCK=infinity in a drop-in of {limit.program}'s service, "
                "restart it, and start the pods anew",
            )
        )
    return tuple(found) or (
        good("runtime", f"no process {' or '.join(RUNTIMES)} is seen here, so no limit of it"),
    )
