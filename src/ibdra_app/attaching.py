"""The moves: a claim's devices into its container's namespace, and home again.

Why: a container must not start with less than it asked for, and a device must not be lost
with a pod.  So what a device was like is written down before it is touched, every round
looks at what is there before it does the next steps, and a failed attach is taken back
before it is reported.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial

from msgspec.structs import replace

from ibdra_app.ledger import Ledger
from ibdra_app.moving import Mover, Spaces
from ibdra_domain.attachment import attach_steps, detach_steps, leaving_steps, origin_of
from ibdra_domain.container_edits import HookSettings, to_cdi_spec
from ibdra_domain.errors import AttachRefused, IbdraError
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import Guid
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.netlink import Namespaces, Netns
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedClaim, PreparedPort, with_nodes_of_now
from ibdra_domain.records import Attachment, ClaimRecord, Phase

_log = logging.getLogger(__name__)


class Attaching:
    """Attaches prepared claims to containers, and takes their devices back."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        mover: Mover,
        namespaces: Namespaces,
        sysfs: Sysfs,
        cdi: CdiSpecs,
        hook: HookSettings,
        with_umad: bool = False,
    ) -> None:
        self._ledger = ledger
        self._mover = mover
        self._namespaces = namespaces
        self._sysfs = sysfs
        self._cdi = cdi
        self._hook = hook
        self._with_umad = with_umad

    def attach(self, uid: str, pid: int) -> None:
        """Give a claim's devices to the namespace of a container's process.

        Does nothing if they are there already, or if the process is in the host's
        namespace and the claim has no IbConfig.  Raises AttachRefused or KernelRefused;
        then the devices are home, or (device nodes changed) where the next try finds them.
        """
        with self._ledger.lock, closing(self._namespaces.host()) as host:
            record = self._ledger.get(uid)
            if record is None or record.phase is not Phase.DONE:
                raise AttachRefused(
                    f"claim {uid} is not prepared on this node",
                    remedy="delete the pod; the kubelet prepares its claims anew",
                )
            with closing(self._namespaces.of_process(pid)) as container:
                if container.id == host.id:
                    _check_host_network(record.prepared)
                    return
                record = self._free_from_elsewhere(record, container)
                self._attach(record, pid, Spaces(host=host, container=container))

    def detach(self, uid: str) -> None:
        """Bring a claim's devices home, as they were; nothing to do if they never left.

        Raises AttachRefused or KernelRefused if that is not possible now; what is known
        of the devices is kept, so that it can be tried again.
        """
        with self._ledger.lock, closing(self._namespaces.host()) as host:
            record = self._ledger.get(uid)
            if record is None or record.attachment is None:
                return
            with _open_or_none(self._namespaces.find(record.attachment.netns)) as container:
                self._detach(record, Spaces(host=host, container=container))

    def _attach(self, record: ClaimRecord, pid: int, spaces: Spaces) -> None:
        prepared = record.prepared
        record, attachment = self._noted(record, pid, spaces)
        done = replace(record, attachment=replace(attachment, phase=Phase.DONE))
        try:
            plan = partial(attach_steps, displaced=self._displaced())
            for port in prepared.moving:
                self._mover.settle(port, spaces, leaving_steps)
            for port in prepared.moving:
                plan = partial(attach_steps, displaced=self._displaced(named=port.device.netdev))
                self._mover.settle(port, spaces, plan)
            self._ledger.put(done)
        except IbdraError:
            # Not if the pod's first container has the devices: they stay with it.
            if attachment.phase is Phase.INTENT:
                with contextlib.suppress(IbdraError):  # the record says what is still to be done
                    self._detach(record, spaces)
            raise
        self._check_nodes(done)
        _log.info("claim %s: attached to process %d (%s)", prepared.claim, pid, spaces.container_id)

    def _noted(
        self, record: ClaimRecord, pid: int, spaces: Spaces
    ) -> tuple[ClaimRecord, Attachment]:
        """Write down where the devices go and what they were, before the first change."""
        if record.attachment is not None:
            return record, record.attachment
        origins = tuple(
            origin_of(port.device, self._mover.view(port, spaces))
            for port in _touched(record.prepared)
        )
        attachment = Attachment(
            netns=spaces.container_id, pid=pid, phase=Phase.INTENT, origins=origins
        )
        noted = replace(record, attachment=attachment)
        self._ledger.put(noted)
        return noted, attachment

    def _free_from_elsewhere(self, record: ClaimRecord, container: Netns) -> ClaimRecord:
        """Let a new sandbox of the pod take over from a dead one, but from no living one."""
        attachment = record.attachment
        if attachment is None or attachment.netns == container.id:
            return record
        with _open_or_none(self._namespaces.find(attachment.netns)) as other:
            if other is not None and attachment.phase is Phase.DONE:
                raise AttachRefused(
                    f"claim {record.prepared.claim} is attached to {attachment.netns}, "
                    f"the namespace of process {attachment.pid}",
                    remedy="an HCA serves one pod at a time; wait until that pod has ended",
                )
        self.detach(record.prepared.claim.uid)
        return replace(record, attachment=None)

    def _detach(self, record: ClaimRecord, spaces: Spaces) -> None:
        attachment = record.attachment
        if attachment is None:
            return
        origins = {origin.device: origin for origin in attachment.origins}
        displaced = self._displaced()
        for port in _touched(record.prepared):
            origin = origins.get(port.device.name)
            if origin is not None:
                plan = partial(detach_steps, origin=origin, displaced=displaced)
                self._mover.settle(port, spaces, plan)
        self._ledger.put(replace(record, attachment=None))
        _log.info("claim %s: detached", record.prepared.claim)

    def _displaced(self, *, named: str | None = None) -> frozenset[Guid]:
        """Give the port GUIDs of what we moved, but for those that are ``named`` so by right."""
        return frozenset(
            port.device.netdev_guid
            for record in self._ledger.all().values()
            if record.attachment is not None
            for port in _touched(record.prepared)
            if port.device.netdev_guid is not None
            and (named is None or port.device.netdev != named)
        )

    def _check_nodes(self, record: ClaimRecord) -> None:
        """Compare the container's device nodes with what the devices have after the moves.

        The runtime resolved them from the CDI spec before the hook ran.  If the kernel
        gave other numbers, the spec is corrected and this start refused; the devices stay
        where they are, so that the next try needs no move and its nodes are right (D5).
        """
        nodes = self._sysfs.char_devices()
        prepared = record.prepared
        corrected = with_nodes_of_now(prepared, nodes, with_umad=self._with_umad)
        if corrected == prepared:
            return
        self._cdi.write(
            prepared.claim.uid, to_cdi_spec(corrected, char_devices=nodes, hook=self._hook)
        )
        self._ledger.put(replace(record, prepared=corrected))
        raise AttachRefused(
            f"the device nodes of claim {prepared.claim} changed when its devices were moved",
            remedy="nothing to do: the CDI spec was corrected and the runtime's next try succeeds",
        )


@contextlib.contextmanager
def _open_or_none(netns: Netns | None) -> Iterator[Netns | None]:
    try:
        yield netns
    finally:
        if netns is not None:
            netns.close()


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


def _touched(prepared: PreparedClaim) -> Iterable[PreparedPort]:
    """Give every port that moving the claim's devices changes, allocated or not."""
    return (
        *prepared.moving,
        *(PreparedPort(request="", device=device) for device in prepared.companions),
    )
