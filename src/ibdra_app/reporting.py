"""What became of a claim's devices, told to the claim and to its pod.

Why: nobody looks into the driver's log first.  But telling must not be in the way of doing:
everything here happens in a thread of its own, from the records as they are when it gets to
it, later if the API server is away, and never for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime

import msgspec

from ibdra_app.ledger import Ledger
from ibdra_domain.claim_status import device_statuses, with_times
from ibdra_domain.errors import IbdraError, KubeConflict, KubeFailed, KubeNotFound
from ibdra_domain.kube_objects import AllocatedDeviceStatus, ResourceClaim
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.kube import Claims, ClaimStatus, PodEvents
from ibdra_domain.ports.netlink import Addresses, Link, Links, Namespaces
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord, Phase

_log = logging.getLogger(__name__)

TRIES = 8
FIRST_PAUSE = 1.0
"""Tries of one report, and seconds after the first; twice as long after each."""


class _Pending(msgspec.Struct):
    """What is still to be told about a claim."""

    claim: ClaimRef
    due: float
    tries: int = 0
    warnings: tuple[tuple[str, str], ...] = ()


class Reporting:
    """Fulfils :class:`ibdra_app.reports.Reports` from ``start`` to ``stop``.

    What is left at the stop is told after the next start.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        claims: Claims,
        status: ClaimStatus,
        pod_events: PodEvents,
        namespaces: Namespaces,
        links: Links,
        addresses: Addresses,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._claims = claims
        self._status = status
        self._pod_events = pod_events
        self._namespaces = namespaces
        self._links = links
        self._addresses = addresses
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._failures: dict[str, str] = {}
        self._woken = threading.Condition()
        self._stopped = True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin telling, first of every claim there is: a crash may have come before a word."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ibdra-reports", daemon=True)
        self._thread.start()
        for record in self._ledger.all().values():
            self.changed(record.prepared.claim)

    def stop(self, grace: float = 2.0) -> None:
        """End; waits ``grace`` seconds for a call under way."""
        with self._woken:
            self._stopped = True
            self._woken.notify()
        if self._thread is not None:
            self._thread.join(grace)

    def changed(self, claim: ClaimRef) -> None:
        """Fulfil the port."""
        self._failures.pop(claim.uid, None)
        self._enqueue(claim)

    def refused(self, claim: ClaimRef, *, action: str, error: IbdraError) -> None:
        """Fulfil the port."""
        if action == "attach":
            self._failures[claim.uid] = str(error)
        self._enqueue(claim, (f"{action.capitalize()}Failed", f"{DRIVER_NAME}: {error}"))

    def tell(self, claim: ClaimRef, warnings: Sequence[tuple[str, str]] = ()) -> None:
        """Tell about one claim now.  Raises KubeFailed; a claim that is gone is no error."""
        try:
            body = self._claims.get(claim.namespace, claim.name)
        except KubeNotFound:
            body = None
        if body is None or body.metadata.uid != claim.uid:
            self._failures.pop(claim.uid, None)
            return
        for reason, message in warnings:
            for consumer in body.status.reserved_for:
                if consumer.resource == "pods":
                    self._pod_events.warn(
                        consumer, namespace=claim.namespace, reason=reason, message=message
                    )
        self._apply(claim, body)

    def _apply(self, claim: ClaimRef, body: ResourceClaim) -> None:
        """Write the status, if it is not what it should be."""
        there = tuple(d for d in body.status.devices if d.driver == DRIVER_NAME)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wanted = with_times(self._statuses(claim.uid), there, now=now)
        if body.status.allocation is None or wanted == there:
            return
        try:
            self._status.apply(claim.namespace, claim.name, wanted, uid=claim.uid)
        except (KubeNotFound, KubeConflict) as error:  # it went between the two calls
            _log.debug("claim %s: %s", claim, error)

    def _statuses(self, uid: str) -> tuple[AllocatedDeviceStatus, ...]:
        record = self._ledger.get(uid)
        if record is None:
            self._failures.pop(uid, None)
            return ()
        links, ips = self._network(record)
        return device_statuses(record, links=links, ips=ips, failure=self._failures.get(uid))

    def _network(
        self, record: ClaimRecord
    ) -> tuple[tuple[Link, ...], Mapping[int, tuple[str, ...]]]:
        """Look into the pod's namespace; one that has died has nothing to show."""
        attachment = record.attachment
        if attachment is None or attachment.phase is not Phase.DONE:
            return (), {}
        try:
            netns = self._namespaces.find(attachment.netns)
            if netns is None:
                return (), {}
            with closing(netns):
                return self._links.list(netns), self._addresses.addresses(netns)
        except IbdraError as error:
            _log.debug("claim %s: %s", record.prepared.claim, error)
            return (), {}

    def _enqueue(self, claim: ClaimRef, *warnings: tuple[str, str]) -> None:
        with self._woken:
            if self._stopped:
                return
            known = self._pending.get(claim.uid)
            said = known.warnings if known is not None else ()
            self._pending[claim.uid] = _Pending(
                claim=claim,
                due=self._clock(),
                warnings=(*said, *(w for w in warnings if w not in said))[-8:],
            )
            self._woken.notify()

    def _run(self) -> None:
        while (pending := self._next()) is not None:
            try:
                self.tell(pending.claim, pending.warnings)
            except KubeFailed as error:
                self._later(pending, error)

    def _next(self) -> _Pending | None:
        """Wait for what is due, and take it; None at the end."""
        with self._woken:
            while not self._stopped:
                first = min(self._pending.values(), key=lambda p: p.due, default=None)
                if first is not None and first.due <= self._clock():
                    del self._pending[first.claim.uid]
                    return first
                self._woken.wait(None if first is None else first.due - self._clock())
        return None

    def _later(self, pending: _Pending, error: KubeFailed) -> None:
        pending.tries += 1
        if pending.tries >= TRIES:
            _log.warning("claim %s: nothing could be told of it: %s", pending.claim, error)
            return
        _log.debug("claim %s: not told yet: %s", pending.claim, error)
        pending.due = self._clock() + FIRST_PAUSE * 2 ** (pending.tries - 1)
        with self._woken:
            newer = self._pending.get(pending.claim.uid)
            if newer is not None:
                newer.warnings = (*pending.warnings, *newer.warnings)[-8:]
            else:
                self._pending[pending.claim.uid] = pending
