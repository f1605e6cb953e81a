"""Start after a stop, a crash or a reboot: what was half done is finished or undone.

Why: the kubelet does not ask again for claims it believes prepared, and nobody else knows
about a device that was on its way into a pod.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from ibdra_app.attaching import Attaching
from ibdra_app.ledger import Ledger
from ibdra_domain.container_edits import HookSettings, to_cdi_spec
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import with_nodes_of_now
from ibdra_domain.records import ClaimRecord, Phase

_log = logging.getLogger(__name__)


class Recovery:
    """Brings records, CDI specs and devices into agreement at start."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        attaching: Attaching,
        cdi: CdiSpecs,
        sysfs: Sysfs,
        hook: HookSettings,
        with_umad: bool = False,
    ) -> None:
        self._ledger = ledger
        self._attaching = attaching
        self._cdi = cdi
        self._sysfs = sysfs
        self._hook = hook
        self._with_umad = with_umad

    def run(self) -> tuple[str, ...]:
        """Do it; gives a line about everything that was found wrong."""
        with self._ledger.lock:
            loaded = self._ledger.load()
            notes = list(loaded.warnings)
            for uid, record in self._ledger.all().items():
                try:
                    notes += self._recover(uid, record)
                except IbdraError as error:
                    notes.append(f"claim {record.prepared.claim} is not recovered: {error}")
            for uid in self._cdi.keys():  # noqa: SIM118 -- a port's method, no mapping's
                # A record that was set aside may be that of a running pod: its spec stays.
                if self._ledger.get(uid) is None and uid not in loaded.set_aside:
                    self._cdi.remove(uid)
                    notes.append(f"the CDI spec of {uid} belonged to no claim: it was removed")
        for note in notes:
            _log.warning("%s", note)
        return tuple(notes)

    def _recover(self, uid: str, record: ClaimRecord) -> list[str]:
        claim = record.prepared.claim
        notes = []
        if record.boot_id != self._ledger.boot_id:
            # The machine was rebooted: no namespace of then exists, every device is home.
            record = replace(record, boot_id=self._ledger.boot_id, attachment=None)
            if record.phase is Phase.DONE:
                record = self._with_nodes_of_now(record)
            self._ledger.put(record)
            notes.append(f"claim {claim} was prepared before the last reboot")
        attachment = record.attachment
        if attachment is not None and attachment.phase is Phase.INTENT:
            self._attaching.detach(uid)
            notes.append(f"claim {claim} was being attached: its devices were brought home")
        if record.phase is Phase.INTENT:
            self._cdi.remove(uid)
            self._ledger.remove(uid)
            notes.append(f"claim {claim} was being prepared: that was undone")
        elif self._cdi.read(uid) is None:
            self._write_spec(record)
            notes.append(f"the CDI spec of claim {claim} was missing: it was written again")
        return notes

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
