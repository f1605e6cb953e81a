"""What is left of the driver on a node -> what a cleanup does, or whose pod is in the way.

Why: an uninstall is the one command that may take devices from pods, so what it would take
is a value that can be printed before anything is touched.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from ibdra_domain.identifiers import DeviceName
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.records import ClaimRecord, Phase


class ClaimEnd(msgspec.Struct, frozen=True, kw_only=True):
    """One claim's end: ``away`` tells that its devices must be brought home.

    ``in_use`` says by whom it may be in use, empty if by nobody.
    """

    claim: ClaimRef
    devices: tuple[DeviceName, ...]
    away: bool = False
    in_use: str = ""

    def __str__(self) -> str:
        """Say what is done: ``bring home pci-…, and end claim a/b (…)``."""
        home = f"bring home {', '.join(self.devices)}, and " if self.away else ""
        return f"{home}end claim {self.claim}"


class CleanupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a cleanup does, in this order.

    ``unreadable`` are records that say nothing any more; ``specs`` are CDI specs, ``marks``
    marks of no claim.
    """

    slices: tuple[str, ...] = ()
    claims: tuple[ClaimEnd, ...] = ()
    unreadable: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def in_the_way(self, *, force: bool) -> tuple[str, ...]:
        """Give a line about each thing that keeps it from being done."""
        if force:
            return ()
        used = [f"claim {end.claim} is in use: {end.in_use}" for end in self.claims if end.in_use]
        lost = [
            f"{trouble}; what its devices were like is known from this file only"
            for trouble in self.unreadable
        ]
        return (*used, *lost)

    def steps(self) -> tuple[str, ...]:
        """Say each step in a line."""
        return (
            *(f"delete ResourceSlice {name}" for name in self.slices),
            *map(str, self.claims),
            *(f"remove what is left of {trouble}" for trouble in self.unreadable),
            *(f"remove the CDI spec of {uid}, which has no record" for uid in self.specs),
            *(f"remove the mark of {uid}, which has no record" for uid in self.marks),
            *(f"remove {path}" for path in self.files),
        )


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Something that could not be done, and why."""

    what: str
    why: str


class CleanupReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, in order, and what is left."""

    done: tuple[str, ...] = ()
    left: tuple[Left, ...] = ()

    @property
    def complete(self) -> bool:
        """Nothing is left."""
        return not self.left


def plan_cleanup(
    records: Mapping[str, ClaimRecord],
    *,
    boot_id: str,
    living: Collection[str],
    unreadable: Sequence[str] = (),
    set_aside: Collection[str] = (),
    slices: Sequence[str] = (),
    specs: Sequence[str] = (),
    marks: Sequence[str] = (),
    files: Sequence[str] = (),
) -> CleanupPlan:
    """Decide.

    Parameters
    ----------
    records:
        By claim UID.
    living:
        The UIDs whose attachment's namespace is alive.
    unreadable:
        A line about each record that cannot be read; ``set_aside`` are the UIDs of those
        that were put aside before.
    specs, marks:
        The UIDs that have one.
    """
    return CleanupPlan(
        slices=tuple(slices),
        claims=tuple(
            ClaimEnd(
                claim=record.prepared.claim,
                devices=record.prepared.device_names,
                away=record.attachment is not None and record.boot_id == boot_id,
                in_use=_in_use(record, lives=uid in living) if record.boot_id == boot_id else "",
            )
            for uid, record in records.items()
        ),
        unreadable=(
            *unreadable,
            *(f"claim {uid}, whose record was set aside as corrupt" for uid in sorted(set_aside)),
        ),
        specs=tuple(uid for uid in specs if uid not in records),
        marks=tuple(uid for uid in marks if uid not in records),
        files=tuple(files),
    )


def _in_use(record: ClaimRecord, *, lives: bool) -> str:
    """Say who may be using a claim of this boot; an attach that was interrupted is nobody's."""
    attachment = record.attachment
    if attachment is not None and attachment.phase is Phase.DONE and lives:
        return f"{attachment.holder} has its devices"
    if record.on_host_network:
        return "a container on the host's network was started with it"
    if record.prepared.ports and not record.prepared.moving:
        return "it has admin access, and nobody tells when its containers end"
    return ""
