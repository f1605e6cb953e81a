"""VFs made and told who they are: a plan carried out, PF by PF.

Why: deciding and doing are different things.  The domain decides; here the machine is
looked at again before each PF, each step becomes one call of a port, and what was asked of
the kernel is compared with what it did.  One PF's trouble does not touch the others.
From that look to the last VF that is bound the node is ours: an older agent that still
serves it must neither give the PF to a pod nor move a device while numbers are given out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext, suppress

import msgspec

from ibdra_app.pf_run import PfRun
from ibdra_domain.errors import IbdraError, KernelRefused, ProvisioningRefused
from ibdra_domain.hardware import HcaPort, SysfsReading
from ibdra_domain.identifiers import Guid, PciAddress, gid_guid
from ibdra_domain.pf_views import PfView, pf_views
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.netlink import Link, Links, Namespaces, Netns
from ibdra_domain.ports.sriov import SriovControl, VfAttributes, VfSettings
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.provisioning import PfPlan, ProvisioningPlan, Verdict, plan_provisioning
from ibdra_domain.vf_wishes import WantedVfs

_log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds for the devices of one PF's VFs to come, after the last of them was bound."""


class PfOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one PF: its plan as it was carried out, and what went wrong."""

    plan: PfPlan
    error: str | None = None


class ProvisioningReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a node's PFs; ``unmatched`` are overrides that fit none."""

    pfs: tuple[PfOutcome, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Everything that was asked for is there."""
        return not self.unmatched and not any(
            pf.error or pf.plan.verdict is Verdict.REFUSED for pf in self.pfs
        )


class Provisioning:
    """Plans VFs, and makes them.

    Parameters
    ----------
    held:
        What is prepared on this node.
    turn:
        Gives the node's turn, for one PF: pods that start and end wait meanwhile.
    watch:
        Opens the machine's events; ``clock`` goes on while one waits for them.
    patience:
        Seconds to wait for the devices of a PF's VFs.
    """

    def __init__(
        self,
        *,
        sysfs: Sysfs,
        sriov: SriovControl,
        vf_attributes: VfAttributes,
        namespaces: Namespaces,
        links: Links,
        watch: Callable[[], Events],
        held: Callable[[], Iterable[PreparedClaim]] = tuple,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._sysfs = sysfs
        self._sriov = sriov
        self._vf_attributes = vf_attributes
        self._namespaces = namespaces
        self._links = links
        self._watch = watch
        self._held = held
        self._turn = turn
        self._clock = clock
        self._patience = patience

    def plan(self, wanted: WantedVfs) -> ProvisioningPlan:
        """Look, and say what would be done; changes nothing."""
        return self._plan(wanted)[1]

    def provision(self, wanted: WantedVfs) -> ProvisioningReport:
        """Do what is wanted, as far as it can be done without harm."""
        first = self.plan(wanted)
        return ProvisioningReport(
            pfs=tuple(
                self._outcome(pf, wanted) if pf.verdict is Verdict.CHANGE else PfOutcome(plan=pf)
                for pf in first.pfs
            ),
            unmatched=first.unmatched,
        )

    def provision_pf(self, pf: PciAddress, wanted: WantedVfs) -> PfPlan:
        """Do what is wanted at one PF, and give the plan that was carried out.

        Raises ProvisioningRefused, or StateFailed without a turn, if nothing was changed,
        otherwise what went wrong half-way: KernelRefused or ProvisioningFailed.
        """
        with closing(self._namespaces.host()) as host:
            with self._turn():
                plan, run = self._decide(pf, wanted, host)
                run.make()
            run.settle()
        return plan

    def _decide(self, pf: PciAddress, wanted: WantedVfs, host: Netns) -> tuple[PfPlan, PfRun]:
        views, whole = self._plan(wanted)
        plan = whole.pf(pf)
        view = next((v for v in views if v.address == pf), None)
        if plan is None or view is None:
            raise ProvisioningRefused(
                f"{pf} is no PF with SR-IOV, or is gone", remedy="look with `ibdra provision`"
            )
        if plan.verdict is Verdict.REFUSED:
            raise ProvisioningRefused(
                f"{plan.name} is left as it is", remedy=plan.reason or "look with `ibdra provision`"
            )
        return plan, PfRun(
            plan,
            autoprobe=view.autoprobe,
            interface=self._interface(plan, host) if plan.steps else 0,
            host=host,
            sysfs=self._sysfs,
            sriov=self._sriov,
            vf_attributes=self._vf_attributes,
            watch=self._watch,
            clock=self._clock,
            patience=self._patience,
        )

    def _outcome(self, planned: PfPlan, wanted: WantedVfs) -> PfOutcome:
        try:
            return PfOutcome(plan=self.provision_pf(planned.address, wanted))
        except IbdraError as error:
            return PfOutcome(plan=planned, error=str(error))

    def provision_at_start(self, wanted: WantedVfs) -> None:
        """Do what is wanted and log what became of each PF; nothing of it stops the driver."""
        if wanted == WantedVfs():
            return
        report = self.provision(wanted)
        for pf in report.pfs:
            plan = pf.plan
            level = logging.WARNING if pf.error or plan.verdict is Verdict.REFUSED else logging.INFO
            said = (pf.error or plan.reason or "done", *plan.notes)
            _log.log(level, "VFs of %s: %s: %s", plan.name, plan.verdict, "; ".join(said))
        for option in report.unmatched:
            _log.warning("%s fits no PF with SR-IOV of this node", option)

    # -- looking ---------------------------------------------------------------------

    def _plan(self, wanted: WantedVfs) -> tuple[tuple[PfView, ...], ProvisioningPlan]:
        """Look at everything, and plan."""
        reading = self._sysfs.read()
        held = [
            (device, str(claim.claim))
            for claim in self._held()
            for device in (*(p.device for p in claim.moving), *claim.companions)
        ]
        views = pf_views(
            reading,
            nodes=self._sysfs.char_devices(),
            settings=self._settings(reading),
            holders={device.pci: claim for device, claim in held},
            held_devices={device.pci: device.rdma_device for device, _ in held},
        )
        others = {
            guid: hca.name for hca in reading.hcas for guid in _guids(hca.node_guid, hca.ports)
        } | {
            guid: f"{device.rdma_device} (claim {claim})"
            for device, claim in held
            for guid in _guids(device.node_guid, [device.link])
        }
        return views, plan_provisioning(views, wanted, others=others)

    def _settings(self, reading: SysfsReading) -> dict[PciAddress, tuple[VfSettings, ...]]:
        """Read what is set for the VFs there are; a PF that does not tell is left out."""
        pfs = [f.address for f in reading.functions if f.total_vfs and any(f.vfs)]
        found: dict[PciAddress, tuple[VfSettings, ...]] = {}
        if not pfs:
            return found
        with closing(self._namespaces.host()) as host:
            links = self._links.list(host)
            for pf in pfs:
                link = _interface_of(pf, reading, links)
                if link is not None:
                    with suppress(KernelRefused):
                        found[pf] = self._vf_attributes.read(link.index, netns=host)
        return found

    def _interface(self, plan: PfPlan, host: Netns) -> int:
        link = _interface_of(plan.address, self._sysfs.read(), self._links.list(host))
        if link is None:
            raise ProvisioningRefused(
                f"the IPoIB interface of {plan.name} is gone", remedy="run it again"
            )
        return link.index


def _guids(node: Guid | None, ports: Iterable[HcaPort]) -> Iterator[Guid]:
    """Give a device's node and port GUIDs."""
    if node is not None:
        yield node
    for port in ports:
        if port.gid0 is not None:
            yield gid_guid(port.gid0)


def _interface_of(pf: PciAddress, reading: SysfsReading, links: Iterable[Link]) -> Link | None:
    """Find a PF's own interface, by name and GUID: an index holds for one namespace only."""
    netdev = next((n for n in reading.netdevs if n.pci == pf and n.port == 1), None)
    if netdev is None or netdev.port_guid is None:
        return None
    return next(
        (x for x in links if (x.name, x.port_guid) == (netdev.name, netdev.port_guid)), None
    )
