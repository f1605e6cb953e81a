"""What this driver has prepared and attached: the records, in memory and on disk.

Why: every use case that changes the node decides by what is held, so they share one
memory and one lock.  The lock is the node's: moves are made one at a time, because the
kernel gives device numbers out anew at each of them (D5).  In a rolling update another
process has it in turn; what that one wrote is read before anything is decided here.
"""

from __future__ import annotations

import logging

from ibdra_app.node_lock import NodeLock
from ibdra_domain.inventory import IbDevice
from ibdra_domain.ports.instances import NodeTurn
from ibdra_domain.ports.state import Loaded, StateStore
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.records import ClaimRecord

_log = logging.getLogger(__name__)


class Ledger:
    """Records by claim UID; what is in memory is on disk.

    Hold ``lock`` from the decision to the last write.
    """

    def __init__(
        self, store: StateStore[ClaimRecord], *, boot_id: str, turn: NodeTurn | None = None
    ) -> None:
        self._store = store
        self._records: dict[str, ClaimRecord] = {}
        self.boot_id = boot_id
        self.lock = NodeLock(turn, taken=self._read_again)

    def load(self) -> Loaded[ClaimRecord]:
        """Read everything from disk, and tell what was set aside."""
        loaded = self._store.load()
        self._records = dict(loaded.records)
        return loaded

    def _read_again(self) -> None:
        for warning in self.load().warnings:
            _log.warning("%s", warning)

    def get(self, uid: str) -> ClaimRecord | None:
        """Find a claim's record."""
        return self._records.get(uid)

    def all(self) -> dict[str, ClaimRecord]:
        """Give all records."""
        return dict(self._records)

    def put(self, record: ClaimRecord) -> None:
        """Write a record down.  Raises StateFailed; memory then stays as the disk is."""
        uid = record.prepared.claim.uid
        self._store.save(uid, record)
        self._records[uid] = record

    def remove(self, uid: str) -> None:
        """Forget a claim.  Raises StateFailed."""
        self._store.remove(uid)
        self._records.pop(uid, None)

    def held(self) -> tuple[PreparedClaim, ...]:
        """Give what is prepared, or was being prepared when something went wrong."""
        return tuple(record.prepared for record in self._records.values())

    def remembered(self) -> tuple[IbDevice, ...]:
        """Give the devices of all held claims, as they were when they were prepared."""
        return tuple(
            device
            for prepared in self.held()
            for device in (*(p.device for p in prepared.moving), *prepared.companions)
        )
