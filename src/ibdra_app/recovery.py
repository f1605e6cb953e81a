"""Start after a stop, a crash or a reboot: what was half done is finished or undone.

Why: the kubelet does not ask again for claims it believes prepared, and nobody else knows
about a device that was on its way into a pod.  Records, CDI specs, marks, namespaces,
devices and the API's claims are compared; what one of them says and no other bears out is
put right, and told.
"""

from __future__ import annotations

import contextlib
import logging

from msgspec.structs import replace

from ibdra_app.attaching import Attaching
from ibdra_app.detaching import PATIENCE, Detaching
from ibdra_app.ledger import Ledger
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_domain.errors import DeviceRefused, IbdraError, KubeFailed, KubeNotFound
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.kube import Claims
from ibdra_domain.ports.runtime import AttachedMarks
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
        specs: SpecUpkeep,
    ) -> None:
        self._ledger = ledger
        self._attaching = attaching
        self._detaching = detaching
        self._claims = claims
        self._cdi = cdi
        self._marks = marks
        self._specs = specs

    def run(self) -> tuple[str, ...]:
        """Do it; gives a line about everything that was found wrong.

        Raises StateFailed or CdiFailed only if nothing can be read at all.
        """
        with self._ledger.lock:
            loaded = self._ledger.load()
            notes = list(loaded.warnings)
            for uid in self._ledger.all():
                notes += self._recover(uid)
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
                    if now is None or _may_be_in_use(now):
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

    def _recover(self, uid: str) -> list[str]:
        """Put one claim right; what fails of it does not keep the rest from being done."""
        notes: list[str] = []
        for put_right in (self._after_reboot, self._preparation, self._attachment, self._spec):
            record = self._ledger.get(uid)
            if record is None:
                break
            try:
                notes += put_right(record)
            except IbdraError as error:
                notes.append(f"claim {record.prepared.claim} is not recovered: {error}")
        return notes

    def _after_reboot(self, record: ClaimRecord) -> list[str]:
        """Forget an attachment of another boot: no namespace of then exists, devices are home."""
        if record.boot_id == self._ledger.boot_id:
            return []
        boot_id = self._ledger.boot_id
        self._ledger.put(replace(record, boot_id=boot_id, attachment=None, on_host_network=False))
        return [f"claim {record.prepared.claim} was prepared before the last reboot"]

    def _preparation(self, record: ClaimRecord) -> list[str]:
        if record.phase is Phase.DONE:
            return []
        claim = record.prepared.claim
        self._cdi.remove(claim.uid)
        self._ledger.remove(claim.uid)
        return [f"claim {claim} was being prepared: that was undone"]

    def _attachment(self, record: ClaimRecord) -> list[str]:
        claim, attachment = record.prepared.claim, record.attachment
        if attachment is None:
            return []
        if attachment.phase is Phase.INTENT:
            self._detaching.detach(claim.uid)
            return [f"claim {claim} was being attached: its devices were brought home"]
        try:
            if self._attaching.is_whole(record):
                return []
        except IbdraError:
            self._marks.remove(claim.uid)  # it may say what is no longer true
            raise
        self._marks.remove(claim.uid)
        if self._detaching.bring_home_if_over(claim.uid, patience=PATIENCE):
            return [
                f"claim {claim} was attached to a namespace that has died: its devices are home"
            ]
        return [
            f"claim {claim} is attached to {attachment.holder}, but its devices are not there "
            "as they should be: they are when its next container starts"
        ]

    def _spec(self, record: ClaimRecord) -> list[str]:
        """Compare record and spec with the device nodes of now; those of admin have no hook."""
        claim, prepared = record.prepared.claim, record.prepared
        # A device that is not there has no nodes: they are corrected when it is attached.
        with contextlib.suppress(DeviceRefused):
            prepared = self._specs.as_now(prepared)
        found = self._specs.keep(record, prepared)
        if found == self._specs.spec_of(prepared):
            return []
        what = "was missing" if found is None else "was not up to date"
        return [f"the CDI spec of claim {claim} {what}: it was written again"]

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


def _may_be_in_use(record: ClaimRecord) -> bool:
    """Tell whether a container may have the claim's devices; one of admin access has no hook."""
    attached = record.attachment is not None or record.on_host_network
    return attached or not record.prepared.moving
