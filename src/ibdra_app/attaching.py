"""The moves: a claim's devices into its container's namespace.

Why: a container must not start with less than it asked for.  So what a device was like is
written down before it is touched, every round looks at what is there before it does the
next steps, a failed attach is taken back before it is reported, and in the end the
container's device nodes are those of the devices it got.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from contextlib import closing
from functools import partial

from msgspec.structs import replace

from ibdra_app.counts import Counts
from ibdra_app.detaching import Detaching, open_or_none, touched
from ibdra_app.ledger import Ledger
from ibdra_app.moving import Mover, Spaces
from ibdra_app.reports import Reports, Unheard
from ibdra_app.speaking import speaking_of
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_domain.attachment import attach_steps, leaving_steps, origin_of
from ibdra_domain.container_edits import node_numbers
from ibdra_domain.errors import AttachRefused, DeviceRefused, IbdraError, StateFailed
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import DeviceName
from ibdra_domain.ports.netlink import Namespaces, Netns
from ibdra_domain.ports.runtime import AttachedMarks, ContainerStart
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.records import Attachment, ClaimRecord, Phase
from ibdra_domain.renewal import with_home_of_now
from ibdra_domain.steps import Place, PortView

_log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a container's start waits for a device that is on its way."""


class Attaching:
    """Fulfils :class:`ibdra_domain.ports.runtime.ContainerHook`."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        mover: Mover,
        detaching: Detaching,
        namespaces: Namespaces,
        sysfs: Sysfs,
        specs: SpecUpkeep,
        marks: AttachedMarks,
        counts: Counts,
        reports: Reports | None = None,
    ) -> None:
        self._ledger = ledger
        self._mover = mover
        self._detaching = detaching
        self._namespaces = namespaces
        self._sysfs = sysfs
        self._specs = specs
        self._marks = marks
        self._counts = counts
        self._reports = reports or Unheard()

    def attach(self, start: ContainerStart) -> None:
        """Give a claim's devices to the namespace of a container's process.

        Does nothing if they are there already, or if the process is in the host's
        namespace and the claim has no IbConfig.  The process is held from now on: while
        this call waits for others', its number may be given to somebody else's.

        Raises AttachRefused or KernelRefused; then the devices are home, or (device nodes
        changed) where the next try finds them.
        """
        record = self._ledger.get(start.claim)
        devices = record.prepared.device_names if record is not None else ()
        with speaking_of(claim=start.claim, pod=start.pod, devices=devices):
            self._attach_and_tell(start)

    def _attach_and_tell(self, start: ContainerStart) -> None:
        try:
            self._attach_claim(start)
        except IbdraError as error:
            self._counts.failed("attach", error)
            record = self._ledger.get(start.claim)
            if record is not None:
                self._reports.refused(record.prepared.claim, action="attach", error=error)
            _log.warning(
                "claim %s: container %s of pod %s (process %d) may not start: %s",
                *(start.claim, start.container or "?", start.pod or "?", start.pid, error),
            )
            raise
        self._counts.done("attach")
        record = self._ledger.get(start.claim)
        if record is not None:
            self._reports.changed(record.prepared.claim)

    def _attach_claim(self, start: ContainerStart) -> None:
        with (
            closing(self._namespaces.process(start.pid)) as process,
            self._ledger.lock,
            closing(self._namespaces.host()) as host,
        ):
            record = self._ledger.get(start.claim)
            if record is None or record.phase is not Phase.DONE:
                raise AttachRefused(
                    f"claim {start.claim} is not prepared on this node",
                    remedy="delete the pod; the kubelet prepares its claims anew",
                )
            with closing(process.netns()) as container:
                record = self._free_from_elsewhere(record, container)
                if container.id == host.id:
                    self._on_host_network(record, start)
                    return
                _check_free_from_host(record)
                try:
                    self._attach(record, start, Spaces(host=host, container=container))
                except IbdraError:
                    self._marks.remove(start.claim)
                    raise
                finally:
                    self._specs.keep_unhooked()

    def is_whole(self, record: ClaimRecord) -> bool:
        """Tell whether an attached claim's devices still are where and as they were put.

        A driver's reset takes them home, or gives them other nodes, without asking anybody.
        """
        attachment = record.attachment
        if attachment is None:
            return False
        with (
            closing(self._namespaces.host()) as host,
            open_or_none(self._namespaces.find(attachment.netns)) as container,
        ):
            if container is None:
                return False
            spaces = Spaces(host=host, container=container)
            try:
                return self._specs.as_now(record.prepared) == record.prepared and not any(
                    attach_steps(
                        port,
                        self._mover.view(port, spaces),
                        displaced=self._detaching.displaced(named=port.device.netdev),
                    )
                    for port in record.prepared.moving
                )
            except (AttachRefused, DeviceRefused):
                return False

    def _on_host_network(self, record: ClaimRecord, start: ContainerStart) -> None:
        """Let a container on the host's network start; the record keeps that there is one."""
        _check_host_network(record.prepared)
        _check_given_nodes(self._with_right_nodes(record), start)
        if not record.on_host_network:
            self._ledger.put(replace(record, on_host_network=True))

    def _attach(self, record: ClaimRecord, start: ContainerStart, spaces: Spaces) -> None:
        whole = self.is_whole(record)
        if record.attachment is not None and not whole:
            self._marks.remove(start.claim)  # moving anew, its node numbers may be others
        noted, attachment = self._noted(record, start, spaces)
        done = replace(noted, attachment=replace(attachment, phase=Phase.DONE))
        try:
            if not whole:
                self._settle(noted, spaces)
            for port in noted.prepared.moving if whole else ():  # another container is at work
                self._mover.tell_of_mtus(port, spaces)
            if done != noted:  # the pod's second container: nothing to write down
                self._ledger.put(done)
        except IbdraError:
            # Not if the pod's first container has the devices: they stay with it.
            if attachment.phase is Phase.INTENT:
                with contextlib.suppress(IbdraError):  # the record says what is still to be done
                    self._detaching.take_back(noted, spaces, patience=PATIENCE)
            raise
        prepared = self._with_right_nodes(done)
        _check_given_nodes(prepared, start)
        try:
            self._marks.put(start.claim, netns=spaces.container_id, nodes=node_numbers(prepared))
        except StateFailed as error:  # it serves restarts while we are down, nothing else
            _log.warning("claim %s: %s", prepared.claim, error)
        _log.info("claim %s: attached to %s", prepared.claim, done.attachment and attachment.holder)

    def _settle(self, record: ClaimRecord, spaces: Spaces) -> None:
        """Carry the moves out: what can be done at home first, for all ports."""
        for port in record.prepared.moving:
            self._mover.settle(port, spaces, leaving_steps, patience=PATIENCE)
        for port in record.prepared.moving:
            displaced = self._detaching.displaced(named=port.device.netdev)
            plan = partial(attach_steps, displaced=displaced)
            self._mover.settle(port, spaces, plan, patience=PATIENCE)

    def _noted(
        self, record: ClaimRecord, start: ContainerStart, spaces: Spaces
    ) -> tuple[ClaimRecord, Attachment]:
        """Write down where the devices go and what they were, before the first change."""
        if record.attachment is not None:
            return record, record.attachment
        views = {
            port.device.name: self._mover.view(port, spaces) for port in touched(record.prepared)
        }
        record = self._as_at_home(record, views)
        origins = tuple(
            origin_of(port.device, views[port.device.name]) for port in touched(record.prepared)
        )
        attachment = Attachment(
            netns=spaces.container_id,
            pid=start.pid,
            pod=start.pod,
            phase=Phase.INTENT,
            origins=origins,
        )
        noted = replace(record, attachment=attachment)
        self._ledger.put(noted)
        return noted, attachment

    def _as_at_home(self, record: ClaimRecord, views: Mapping[DeviceName, PortView]) -> ClaimRecord:
        """Compare what was decided with what the devices are, while they are at home.

        What the container was told of them stands in its spec.  If that is no longer so, the
        spec is corrected and this start refused, as with device nodes.
        """
        prepared = record.prepared
        tables = {
            port.device.name: self._sysfs.pkey_table(view.rdma_device, port.device.port)
            for port in prepared.moving
            for view in [views[port.device.name]]
            if port.config.pkey is not None and Place.HOST in view.rdma_in
        }
        now = with_home_of_now(prepared, views, tables)
        if now != prepared and self._specs.spec_of(now) != self._specs.spec_of(prepared):
            self._specs.keep(record, now)
            raise AttachRefused(
                f"the devices of claim {prepared.claim} are not as they were when it was prepared",
                remedy="nothing to do: the CDI spec was corrected and the runtime's next try "
                "succeeds",
            )
        return replace(record, prepared=now)

    def _free_from_elsewhere(self, record: ClaimRecord, container: Netns) -> ClaimRecord:
        """Let a new sandbox of the pod take over from a dead one, but from no living one."""
        attachment = record.attachment
        if attachment is None or attachment.netns == container.id:
            return record
        with open_or_none(self._namespaces.find(attachment.netns)) as other:
            if other is not None and attachment.phase is Phase.DONE:
                raise AttachRefused(
                    f"claim {record.prepared.claim} is attached to {attachment.holder}",
                    remedy="an HCA serves one pod at a time; wait until that pod has ended",
                )
        self._detaching.detach(record.prepared.claim.uid)
        return replace(record, attachment=None)

    def _with_right_nodes(self, record: ClaimRecord) -> PreparedClaim:
        """Compare the recorded device nodes with what the devices have after the moves.

        The runtime resolved them from the CDI spec before the hook ran.  If the kernel
        gave other numbers, the spec is corrected and this start refused; the devices stay
        where they are, so that the next try needs no move and its nodes are right (D5).
        """
        prepared, corrected = record.prepared, self._specs.as_now(record.prepared)
        if corrected == prepared:
            return prepared
        self._specs.keep(record, corrected)
        raise AttachRefused(
            f"the device nodes of claim {prepared.claim} changed when its devices were moved",
            remedy="nothing to do: the CDI spec was corrected and the runtime's next try succeeds",
        )


def _check_free_from_host(record: ClaimRecord) -> None:
    """Refuse to take devices from a pod on the host's network, which may have them open.

    When its containers end nobody tells; the claim ends when all of its pods have.
    """
    if record.on_host_network:
        raise AttachRefused(
            f"claim {record.prepared.claim} is in use by a pod on the host's network, from which "
            "its devices would be taken",
            remedy="an HCA serves one pod at a time; give this pod a claim of its own",
        )


def _check_host_network(prepared: PreparedClaim) -> None:
    """Refuse what cannot be had on the host's network, where nothing is moved or changed."""
    asking = [port for port in prepared.moving if port.config != IbConfig()]
    if asking:
        raise AttachRefused(
            f"claim {prepared.claim} has an IbConfig for {asking[0].device.name}, but the pod is "
            "on the host's network, where the driver leaves devices as they are",
            remedy="take hostNetwork from the pod, or the IbConfig from the claim",
        )
    _log.info("claim %s: the pod is on the host's network, nothing moves", prepared.claim)


def _check_given_nodes(prepared: PreparedClaim, start: ContainerStart) -> None:
    """Refuse a container whose runtime read an older spec, with other device nodes in it."""
    now = node_numbers(prepared)
    if start.nodes not in ("", now):
        raise AttachRefused(
            f"container {start.container or '?'} was given the device nodes {start.nodes} of "
            f"claim {prepared.claim}, which now has {now}",
            remedy="nothing to do: the runtime's next try reads the CDI spec as it is now",
        )
