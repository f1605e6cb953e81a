"""NodePrepareResources and NodeUnprepareResources: the way of a claim.

Why: this is the order that a crash at any point can be recovered from.  Decide (pure),
write the intent, write the CDI spec, write that it is done, answer; and back: bring the
devices home, remove the spec, forget.  Asked twice, the answer comes from the record.  A
claim that is unprepared ends the calls of before that would still prepare it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence

from ibdra_app.counts import Counts
from ibdra_app.detaching import Detaching
from ibdra_app.discovery import Discovery
from ibdra_app.ledger import Ledger
from ibdra_app.reports import Reports, Unheard
from ibdra_app.speaking import speaking_of
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_app.under_way import PrepareCall, UnderWay
from ibdra_domain.allocation import Allocation, read_allocation
from ibdra_domain.container_edits import to_prepared_devices
from ibdra_domain.errors import ClaimRefused, IbdraError, KubeNotFound
from ibdra_domain.identifiers import DeviceName, Pkey
from ibdra_domain.inventory import Inventory, Presence
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice
from ibdra_domain.ports.kube import Claims
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedClaim, prepare_claim
from ibdra_domain.records import ClaimRecord, Phase
from ibdra_domain.renewal import allocation_of

_log = logging.getLogger(__name__)


class Preparing:
    """Fulfils :class:`ibdra_domain.ports.driver.DraDriver` for InfiniBand."""

    def __init__(
        self,
        *,
        claims: Claims,
        discovery: Discovery,
        sysfs: Sysfs,
        cdi: CdiSpecs,
        ledger: Ledger,
        detaching: Detaching,
        counts: Counts,
        pool: str,
        specs: SpecUpkeep,
        with_umad: bool = False,
        reports: Reports | None = None,
    ) -> None:
        self._claims = claims
        self._discovery = discovery
        self._sysfs = sysfs
        self._cdi = cdi
        self._ledger = ledger
        self._detaching = detaching
        self._counts = counts
        self._pool = pool
        self._specs = specs
        self._with_umad = with_umad
        self._reports = reports or Unheard()
        self._under_way = UnderWay()

    def prepare(
        self, claims: Sequence[ClaimRef]
    ) -> Mapping[str, tuple[PreparedDevice, ...] | IbdraError]:
        """Fulfil the port."""
        answers: dict[str, tuple[PreparedDevice, ...] | IbdraError] = {}
        with self._under_way.call(claim.uid for claim in claims) as call:
            for claim in claims:
                with speaking_of(claim=claim.uid):
                    answers[claim.uid] = self._prepare_or_refuse(claim, call)
        return answers

    def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, IbdraError | None]:
        """Fulfil the port."""
        answers: dict[str, IbdraError | None] = {}
        for claim in claims:
            with speaking_of(claim=claim.uid):
                answers[claim.uid] = self._unprepare_or_fail(claim)
        return answers

    def _prepare_or_refuse(
        self, claim: ClaimRef, call: PrepareCall
    ) -> tuple[PreparedDevice, ...] | IbdraError:
        try:
            prepared = self._prepare(claim, call)
        except IbdraError as error:
            self._counts.failed("prepare", error)
            self._reports.refused(claim, action="prepare", error=error)
            _log.warning("claim %s: not prepared: %s", claim, error)
            return error
        self._counts.done("prepare")
        with speaking_of(devices=prepared.device_names):
            _log.info("claim %s: prepared: %s", claim, prepared)
        return to_prepared_devices(prepared)

    def _unprepare_or_fail(self, claim: ClaimRef) -> IbdraError | None:
        try:
            self._unprepare(claim)
        except IbdraError as error:
            self._counts.failed("unprepare", error)
            _log.warning("claim %s: not unprepared: %s", claim, error)
            return error
        self._counts.done("unprepare")
        _log.info("claim %s: unprepared", claim)
        return None

    def _prepare(self, claim: ClaimRef, call: PrepareCall) -> PreparedClaim:
        with self._ledger.lock:
            if (known := self._from_record(claim)) is not None:
                return known
            _check_wanted(claim, call)
        allocation = self._allocation(claim)  # the API server may take its time: no lock
        with self._ledger.lock:
            if (
                known := self._from_record(claim)
            ) is not None:  # the kubelet's other try was faster
                return known
            _check_wanted(claim, call)
            return self._prepare_anew(claim, allocation)

    def _from_record(self, claim: ClaimRef) -> PreparedClaim | None:
        """Give what was prepared before; its spec is written again if it is gone or wrong.

        A claim that no container has is decided once more, by what the devices are now: since
        then there may have been a reboot.
        """
        record = self._ledger.get(claim.uid)
        if record is None or record.phase is not Phase.DONE:
            return None
        prepared = record.prepared
        if record.attachment is None and not record.on_host_network:
            prepared = self._decide(allocation_of(prepared))
        self._specs.keep(record, prepared)
        return prepared

    def _prepare_anew(self, claim: ClaimRef, allocation: Allocation) -> PreparedClaim:
        prepared = self._decide(allocation)
        record = ClaimRecord(boot_id=self._ledger.boot_id, phase=Phase.INTENT, prepared=prepared)
        self._ledger.put(record)
        try:
            self._specs.write(prepared)
            self._ledger.put(
                ClaimRecord(boot_id=record.boot_id, phase=Phase.DONE, prepared=prepared)
            )
        except IbdraError:
            # What cannot be undone now is undone at the next start: the intent stays.
            with contextlib.suppress(IbdraError):
                self._cdi.remove(claim.uid)
                self._ledger.remove(claim.uid)
            raise
        if len(prepared.moving) < len(prepared.ports):
            self._reports.changed(claim)  # admin access: no container's start comes after this
        return prepared

    def _allocation(self, claim: ClaimRef) -> Allocation:
        try:
            body = self._claims.get(claim.namespace, claim.name)
        except KubeNotFound as error:
            raise ClaimRefused(
                f"claim {claim} is gone from the API server",
                remedy="delete the pod that waits for it; its owner makes a new one",
            ) from error
        return read_allocation(body, wanted=claim, pool=self._pool)

    def _decide(self, allocation: Allocation) -> PreparedClaim:
        inventory = self._discovery.take(self._ledger.remembered())
        return prepare_claim(
            allocation,
            inventory=inventory,
            held=self._ledger.held(),
            pkey_tables=self._pkey_tables(allocation, inventory),
            char_devices=self._sysfs.char_devices(),
            with_umad=self._with_umad,
        )

    def _pkey_tables(
        self, allocation: Allocation, inventory: Inventory
    ) -> dict[DeviceName, tuple[Pkey, ...]]:
        found: dict[DeviceName, tuple[Pkey, ...]] = {}
        for allocated in allocation.devices:
            device = inventory.device(allocated.device)
            if device is None or device.presence is not Presence.HERE:
                continue  # refused anyway, for a better reason
            if allocated.config.pkey is not None:
                found[device.name] = self._sysfs.pkey_table(device.rdma_device, device.port)
        return found

    def _unprepare(self, claim: ClaimRef) -> None:
        with self._ledger.lock:
            self._under_way.revoke(claim.uid)
            record = self._ledger.get(claim.uid)
            if record is not None and record.attachment is not None:
                self._detaching.detach(claim.uid)
                self._specs.keep_unhooked()
            self._cdi.remove(claim.uid)
            self._ledger.remove(claim.uid)  # also one that was set aside as corrupt
        if record is not None:
            self._reports.changed(claim)


def _check_wanted(claim: ClaimRef, call: PrepareCall) -> None:
    """Refuse what was unprepared meanwhile; for who holds the ledger's lock."""
    if call.is_revoked(claim.uid):
        raise ClaimRefused(
            f"claim {claim} was unprepared while it was being prepared",
            remedy="wait: the kubelet asks again if a pod still wants it",
        )
