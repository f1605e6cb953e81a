"""The way home: at unprepare, after a failed attach, and when a namespace has died under us.

Why: a device must not be lost with a pod, and must be at home as it was before anybody
else gets it.  What it was like is in the record; the record loses its attachment only when
every port is back, so whatever does not come home now is tried again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from msgspec.structs import replace

from ibdra_app.counts import Counts
from ibdra_app.ledger import Ledger
from ibdra_app.moving import Mover, Spaces
from ibdra_app.reports import Reports, Unheard
from ibdra_app.speaking import speaking_of
from ibdra_domain.attachment import detach_steps, nothing_comes_home
from ibdra_domain.errors import IbdraError, KernelRefused, NotSettled
from ibdra_domain.identifiers import Guid
from ibdra_domain.ports.netlink import Namespaces, Netns
from ibdra_domain.ports.runtime import AttachedMarks
from ibdra_domain.preparation import PreparedClaim, PreparedPort
from ibdra_domain.records import Attachment, ClaimRecord, Phase, PortOrigin
from ibdra_domain.shortfalls import not_as_it_was
from ibdra_domain.steps import Step

_log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a call waits for the kernel; the kubelet gives a call 45, and calls again."""


class Detaching:
    """Brings devices home."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        mover: Mover,
        namespaces: Namespaces,
        marks: AttachedMarks,
        counts: Counts,
        reports: Reports | None = None,
    ) -> None:
        self._ledger = ledger
        self._mover = mover
        self._namespaces = namespaces
        self._marks = marks
        self._counts = counts
        self._reports = reports or Unheard()

    def detach(self, uid: str, *, patience: float = PATIENCE) -> None:
        """Bring a claim's devices home, as they were; nothing to do if they never left.

        Raises NotSettled, AttachRefused or KernelRefused if that is not possible now;
        what is known of the devices is kept, so that it can be tried again.
        """
        with self._ledger.lock, closing(self._namespaces.host()) as host:
            record = self._ledger.get(uid)
            if record is None or record.attachment is None:
                return
            with open_or_none(self._namespaces.find(record.attachment.netns)) as container:
                self.take_back(record, Spaces(host=host, container=container), patience=patience)

    def bring_home(self) -> bool:
        """Bring home what was in namespaces that have died, and what an attach left half-way.

        For whoever watches the machine: waits for nothing, and raises only if the host's
        namespace cannot be opened.  Tells whether all is at home that should be.
        """
        complete = True
        for uid, record in self._ledger.all().items():
            try:
                self.bring_home_if_over(uid)
            except IbdraError as error:
                _log.warning("claim %s: still away: %s", record.prepared.claim, error)
                complete = False
        return complete

    def bring_home_if_over(self, uid: str, *, patience: float = 0) -> bool:
        """Bring a claim's devices home if its namespace has died, or an attach was not undone.

        Tells whether it did; raises as :meth:`detach` does.
        """
        with self._ledger.lock:
            record = self._ledger.get(uid)
            if record is None or record.attachment is None or not self._is_over(record.attachment):
                return False
            self.detach(uid, patience=patience)
            return True

    def take_back(self, record: ClaimRecord, spaces: Spaces, *, patience: float) -> None:
        """Undo an attachment, as far as it came; for who holds the ledger's lock.

        Every port is tried, also after one failed; the first error is raised.
        """
        attachment, prepared = record.attachment, record.prepared
        if attachment is None:
            return
        with speaking_of(
            claim=prepared.claim.uid, pod=attachment.pod, devices=prepared.device_names
        ):
            self._take_back(record, attachment, spaces, patience=patience)

    def _take_back(
        self, record: ClaimRecord, attachment: Attachment, spaces: Spaces, *, patience: float
    ) -> None:
        claim = record.prepared.claim
        self._marks.remove(claim.uid)
        origins = {origin.device: origin for origin in attachment.origins}
        first: IbdraError | None = None
        left_over: list[str] = []
        for port in touched(record.prepared):
            origin = origins.get(port.device.name)
            if origin is None:
                continue
            try:
                self._home(record, port, origin, spaces, patience=0 if first else patience)
                left_over += not_as_it_was(port, origin, self._mover.view(port, spaces))
            except IbdraError as error:
                first = first or error
        if first is not None:
            self._counts.failed("detach", first)
            raise first
        self._ledger.put(replace(record, attachment=None))
        self._counts.done("detach")
        self._reports.changed(claim)
        for line in left_over:
            _log.warning("claim %s: %s", claim, line)
        _log.info("claim %s: detached from %s", claim, attachment.holder)

    def displaced(self, *, named: str | None = None) -> frozenset[Guid]:
        """Give the port GUIDs of what we moved, but for those that are ``named`` so by right."""
        return frozenset(
            port.device.netdev_guid
            for record in self._ledger.all().values()
            if record.attachment is not None
            for port in touched(record.prepared)
            if port.device.netdev_guid is not None
            and (named is None or port.device.netdev != named)
        )

    def _home(
        self,
        record: ClaimRecord,
        port: PreparedPort,
        origin: PortOrigin,
        spaces: Spaces,
        *,
        patience: float,
    ) -> None:
        plan = partial(
            detach_steps,
            displaced=self.displaced(),
            owed=self._names_at_home() - {origin.netdev},
            allocated=port in record.prepared.moving,
        )
        try:
            self._put_back(port, origin, spaces, plan, patience=patience)
        except NotSettled as error:
            # A device on its way shows nowhere for a moment: who has not waited cannot tell.
            if patience <= 0 or not nothing_comes_home(port, self._mover.view(port, spaces)):
                raise
            _log.warning(
                "%s: nothing of it is left to bring home (%s)", port.device.name, error.problem
            )

    def _put_back(
        self,
        port: PreparedPort,
        origin: PortOrigin,
        spaces: Spaces,
        plan: Callable[..., tuple[Step, ...]],
        *,
        patience: float,
    ) -> None:
        settle = self._mover.settle
        try:
            settle(port, spaces, partial(plan, origin=origin), patience=patience)
        except KernelRefused as error:
            if error.errno != errno.EINVAL or origin.mtu is None:
                raise
            # An MTU of connected mode is none in datagram mode; all else can still be as it was.
            rest = partial(plan, origin=replace(origin, mtu=None))
            settle(port, spaces, rest, patience=patience)

    def _names_at_home(self) -> frozenset[str]:
        """Give the names that interfaces had at home which we moved."""
        return frozenset(
            origin.netdev
            for record in self._ledger.all().values()
            if record.attachment is not None
            for origin in record.attachment.origins
            if origin.netdev is not None
        )

    def _is_over(self, attachment: Attachment) -> bool:
        with open_or_none(self._namespaces.find(attachment.netns)) as netns:
            return netns is None or attachment.phase is Phase.INTENT


@contextlib.contextmanager
def open_or_none(netns: Netns | None) -> Iterator[Netns | None]:
    """Close a namespace at the end, if there is one."""
    try:
        yield netns
    finally:
        if netns is not None:
            netns.close()


def touched(prepared: PreparedClaim) -> Iterable[PreparedPort]:
    """Give every port that moving the claim's devices changes, allocated or not."""
    return (
        *prepared.moving,
        *(PreparedPort(request="", device=device) for device in prepared.companions),
    )
