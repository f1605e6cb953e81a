"""CDI specs, kept as the devices are: nodes have other numbers after each move, reset and boot.

Why: the runtime reads a claim's spec at each start of a container, and nobody asks us before
that.  The hook refuses a container that was given an older spec's nodes; a claim of admin
access has no hook, so its spec has to be right whenever a container may start.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from ibdra_app.ledger import Ledger
from ibdra_domain.cdi import CdiSpec
from ibdra_domain.container_edits import HookSettings, to_cdi_spec
from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.records import ClaimRecord, Phase
from ibdra_domain.renewal import with_nodes_of_now

_log = logging.getLogger(__name__)


class SpecUpkeep:
    """Writes specs, and the records they come from."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        cdi: CdiSpecs,
        sysfs: Sysfs,
        hook: HookSettings,
        with_umad: bool = False,
    ) -> None:
        self._ledger = ledger
        self._cdi = cdi
        self._sysfs = sysfs
        self._hook = hook
        self._with_umad = with_umad

    def as_now(self, prepared: PreparedClaim) -> PreparedClaim:
        """Give a claim with its devices' nodes and names of now.  Raises DeviceRefused."""
        nodes = self._sysfs.char_devices()
        return with_nodes_of_now(prepared, nodes, with_umad=self._with_umad)

    def spec_of(self, prepared: PreparedClaim) -> CdiSpec:
        """Give the spec that a claim should have."""
        return to_cdi_spec(prepared, char_devices=self._sysfs.char_devices(), hook=self._hook)

    def write(self, prepared: PreparedClaim) -> None:
        """Write a claim's spec.  Raises CdiFailed."""
        self._cdi.write(prepared.claim.uid, self.spec_of(prepared))

    def keep(self, record: ClaimRecord, prepared: PreparedClaim) -> CdiSpec | None:
        """Have spec and record as a claim is prepared; give the spec that there was.

        For who holds the ledger's lock.  Raises CdiFailed or StateFailed.
        """
        wanted, found = self.spec_of(prepared), self._cdi.read(prepared.claim.uid)
        if found != wanted:
            self._cdi.write(prepared.claim.uid, wanted)
        if prepared != record.prepared:
            self._ledger.put(replace(record, prepared=prepared))
        return found

    def keep_unhooked(self) -> None:
        """Put the specs right that no hook stands behind; what fails is tried at the next change.

        After whatever may have given nodes other numbers.
        """
        unhooked = [r for r in self._ledger.all().values() if not r.prepared.moving]
        if not unhooked:
            return
        with self._ledger.lock:
            for before in unhooked:
                claim = before.prepared.claim
                record = self._ledger.get(claim.uid)
                if record is None or record.phase is not Phase.DONE:
                    continue
                try:
                    self.keep(record, self.as_now(record.prepared))
                except IbdraError as error:
                    _log.warning("claim %s: its CDI spec was not looked after: %s", claim, error)
