"""Start after a stop, a crash or a reboot: what was half done is finished or undone.

Why: the kubelet does not ask again for claims it believes prepared, and nobody else knows
about a device that was on its way into a pod.  Records, CDI specs, marks, namespaces,
devices and the API's claims are compared; what one of them says and no other bears out is
put right, and told.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from ibdra_app.attaching import Attaching
from ibdra_app.detaching import PATIENCE, Detaching
from ibdra_app.ledger import Ledger
from ibdra_domain.container_edits import HookSettings, to_cdi_spec
from ibdra_domain.errors import IbdraError, KubeFailed, KubeNotFound
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.kube import Claims
from ibdra_domain.ports.runtime import AttachedMarks
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import with_nodes_of_now
from ibdra_domain.records import ClaimRecord, Phase

_log = logging.getLogger(__name__)


class Recovery:
    """Brings records, CDI specs, marks and devices into agreement at start."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        attaching: Attaching,
        detaching: Detaching,
        claims: Claims,
        cdi: CdiSpecs,
        marks: AttachedMarks,
        sysfs: Sysfs,
        hook: HookSettings,
        with_umad: bool = False,
    ) -> None:
        self._ledger = ledger
        self._attaching = attaching
        self._detaching = detaching
        self._claims = claims
        self._cdi = cdi
        self._marks = marks
        self._sysfs = sysfs
        self._hook = hook
        self._with_umad = with_umad

    def run(self) -> tuple[str, ...]:
        """Do it; gives a line about everything that was found wrong.

        Raises StateFailed or CdiFailed only if nothing can be read at all.
        """
        with self._ledger.lock:
            loaded = self._ledger.load()
            notes = list(loaded.warnings)
            for uid, record in self._ledger.all().items():
                try:
                    notes += self._recover(uid, record)
                except IbdraError as error:
                    notes.append(f"claim {record.prepared.claim} is not recovered: {error}")
            notes += self._without_record(loaded.set_aside)
        for note in notes:
            _log.warning("%s", note)
        return tuple(notes)

    def forget_orphans(self) -> tuple[str, ...]:
        """Undo what claims left behind that the API server does not know any more.

        Not while a container may still use it; the kubelet unprepares that one itself.
        Asks the API server, so it is a step of its own: gives up at the first claim that
        it does not answer for.
        """
        notes: list[str] = []
        for uid, record in self._ledger.all().items():
            claim = record.prepared.claim
            try:
                if self._is_known(claim):
                    continue
                with self._ledger.lock:
                    now = self._ledger.get(uid)
                    if now is None or now.attachment is not None or now.on_host_network:
                        continue
                    self._cdi.remove(uid)
                    self._ledger.remove(uid)
                notes.append(f"claim {claim} is gone from the API server: it was unprepared")
            except KubeFailed as error:
                notes.append(f"it is not known which claims still exist: {error}")
                break
            except IbdraError as error:
                notes.append(f"claim {claim} is gone from the API server: {error}")
        for note in notes:
            _log.warning("%s", note)
        return tuple(notes)

    def _recover(self, uid: str, record: ClaimRecord) -> list[str]:
        claim = record.prepared.claim
        notes = []
        if record.boot_id != self._ledger.boot_id:
            # The machine was rebooted: no namespace of then exists, every device is home.
            record = replace(
                record, boot_id=self._ledger.boot_id, attachment=None, on_host_network=False
            )
            if record.phase is Phase.DONE:
                record = self._with_nodes_of_now(record)
            self._ledger.put(record)
            notes.append(f"claim {claim} was prepared before the last reboot")
        if record.attachment is not None:
            notes += self._recover_attachment(uid, record)
        if record.phase is Phase.INTENT:
            self._cdi.remove(uid)
            self._ledger.remove(uid)
            notes.append(f"claim {claim} was being prepared: that was undone")
        elif self._cdi.read(uid) is None:
            self._write_spec(self._ledger.get(uid) or record)
            notes.append(f"the CDI spec of claim {claim} was missing: it was written again")
        return notes

    def _recover_attachment(self, uid: str, record: ClaimRecord) -> list[str]:
        claim, attachment = record.prepared.claim, record.attachment
        if attachment is None:
            return []
        if attachment.phase is Phase.INTENT:
            self._detaching.detach(uid)
            return [f"claim {claim} was being attached: its devices were brought home"]
        if self._attaching.is_whole(record):
            return []
        self._marks.remove(uid)
        if self._detaching.bring_home_if_over(uid, patience=PATIENCE):
            return [
                f"claim {claim} was attached to a namespace that has died: its devices are home"
            ]
        return [
            f"claim {claim} is attached to {attachment.holder}, but its devices are not there "
            "as they should be: they are when its next container starts"
        ]

    def _without_record(self, set_aside: frozenset[str]) -> list[str]:
        """Remove the specs and marks of no claim."""
        notes = []
        for uid in self._cdi.keys():  # noqa: SIM118 -- a port's method, no mapping's
            # A record that was set aside may be that of a running pod: its spec stays.
            if self._ledger.get(uid) is None and uid not in set_aside:
                self._cdi.remove(uid)
                notes.append(f"the CDI spec of {uid} belonged to no claim: it was removed")
        for uid in self._marks.claims():
            record = self._ledger.get(uid)
            if record is None or record.attachment is None:
                self._marks.remove(uid)
        return notes

    def _is_known(self, claim: ClaimRef) -> bool:
        try:
            return self._claims.get(claim.namespace, claim.name).metadata.uid == claim.uid
        except KubeNotFound:
            return False

    def _with_nodes_of_now(self, record: ClaimRecord) -> ClaimRecord:
        """Give a record with the device nodes of this boot, and its spec with it."""
        nodes = self._sysfs.char_devices()
        fresh = replace(
            record, prepared=with_nodes_of_now(record.prepared, nodes, with_umad=self._with_umad)
        )
        if self._cdi.read(record.prepared.claim.uid) is not None:
            self._write_spec(fresh)
        return fresh

    def _write_spec(self, record: ClaimRecord) -> None:
        prepared, nodes = record.prepared, self._sysfs.char_devices()
        self._cdi.write(
            prepared.claim.uid, to_cdi_spec(prepared, char_devices=nodes, hook=self._hook)
        )
