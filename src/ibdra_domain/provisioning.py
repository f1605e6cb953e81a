"""Wanted VFs against present ones -> what is to be done at each PF, or why not.

Why: this is the one part of the driver that could take a working device from a pod.  So
it can only add: VFs are made where there are none, and GUIDs are given to VFs that have
none and that nobody can be using (D10).  A kernel that is told another number removes all
VFs first, also from running pods, and asks nobody; there is no step for that, and a PF with
another number of VFs is reported and left.

The same function plans the first run and the one after a crash.  A run makes VFs without
drivers, tells them who they are, and only then binds them; one that was killed on the way
leaves VFs without driver, which no pod can have, and the next run goes on with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress
from ibdra_domain.link import LinkLayer
from ibdra_domain.pf_views import PfView, VfPlace, VfView
from ibdra_domain.ports.sriov import VfLinkState
from ibdra_domain.vf_guid_choice import PfRefused, choose_guids, guids_of, intended_guids, vf_name
from ibdra_domain.vf_steps import (
    AwaitVfs,
    BindVf,
    SetAutoprobe,
    SetNumVfs,
    SetVfLinkState,
    SetVfNodeGuid,
    SetVfPortGuid,
    UnbindVf,
    VfIdentity,
    VfStep,
)
from ibdra_domain.vf_wishes import WantedVfs


class Verdict(StrEnum):
    """What becomes of a PF."""

    CHANGE = "change"
    READY = "ready"
    LEFT = "left"
    REFUSED = "refused"


class PfPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done at one PF.

    READY has what is wanted, LEFT was not asked for, REFUSED was asked for and must not
    be touched; ``reason`` says why.  ``chosen_by`` is the option ``wanted`` comes from.
    """

    address: PciAddress
    rdma_device: str | None
    present: int | None
    possible: int
    wanted: int
    chosen_by: str
    verdict: Verdict
    reason: str | None = None
    notes: tuple[str, ...] = ()
    steps: tuple[VfStep, ...] = ()

    @property
    def name(self) -> str:
        """Name the PF for people."""
        return f"{self.address} ({self.rdma_device})" if self.rdma_device else self.address


class ProvisioningPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done on this node; ``unmatched`` are overrides that fit no PF."""

    pfs: tuple[PfPlan, ...] = ()
    unmatched: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        """Something that was asked for is not going to be."""
        return bool(self.unmatched) or any(pf.verdict is Verdict.REFUSED for pf in self.pfs)

    def pf(self, address: PciAddress) -> PfPlan | None:
        """Find a PF's plan."""
        return next((pf for pf in self.pfs if pf.address == address), None)


def plan_provisioning(
    views: Iterable[PfView], wanted: WantedVfs, *, others: Mapping[Guid, str] = {}
) -> ProvisioningPlan:
    """Decide for each PF; the first in the order of ``views`` wins where GUIDs clash.

    ``others`` are GUIDs that are had by anything else on this node, and by what.
    """
    pfs = tuple(views)
    taken = dict(others)
    for pf in pfs:
        taken |= dict.fromkeys(pf.own_guids, pf.address)
        for vf in pf.vfs:
            taken |= dict.fromkeys(guids_of(vf), vf_name(pf, vf.index))
    return ProvisioningPlan(
        pfs=tuple(_plan_pf(pf, wanted, taken) for pf in pfs),
        unmatched=tuple(
            f"--pf {o.pattern}={o.count}" for o in wanted.overrides if not any(map(o.fits, pfs))
        ),
    )


def _plan_pf(pf: PfView, wanted: WantedVfs, taken: dict[Guid, str]) -> PfPlan:
    asked, chosen_by, named = wanted.choose(pf)
    count = min(asked, pf.possible)
    notes: list[str] = []
    if count < asked:
        notes.append(f"{asked} VFs are wanted, {pf.possible} are possible (sriov_totalvfs)")

    def plan(verdict: Verdict, reason: str | None, steps: tuple[VfStep, ...] = ()) -> PfPlan:
        return PfPlan(
            address=pf.address,
            rdma_device=pf.rdma_device,
            present=pf.present,
            possible=pf.possible,
            wanted=count,
            chosen_by=chosen_by,
            verdict=verdict,
            reason=reason,
            notes=tuple(notes),
            steps=steps,
        )

    if count == 0:
        return plan(Verdict.LEFT, "no VFs are wanted")
    if pf.link_layers and LinkLayer.INFINIBAND not in pf.link_layers:
        layer = pf.link_layers[0] or "of unknown link layer"
        verdict = Verdict.REFUSED if named else Verdict.LEFT
        return plan(verdict, f"its port is {layer}, only InfiniBand ports get VFs")
    try:
        if pf.rdma_device is None and pf.holder is not None and pf.present == count:
            _check_usable(pf)
            return plan(Verdict.READY, f"it has {count} VFs; claim {pf.holder} has the PF itself")
        _check(pf, count)
        steps = _missing(pf, wanted, taken) if pf.present else _new_vfs(pf, count, wanted, taken)
        notes += _remarks(pf, wanted, changing=bool(steps))
    except PfRefused as reason:
        return plan(Verdict.REFUSED, str(reason))
    if steps:
        return plan(Verdict.CHANGE, None, steps)
    return plan(Verdict.READY, f"it has the {count} VFs that are wanted")


def _check(pf: PfView, count: int) -> None:
    """Refuse a PF that cannot be judged, or has another number of VFs."""
    if pf.driver is None:
        raise PfRefused("no driver is bound to the PF")
    if pf.rdma_device is None:
        raise PfRefused(
            "the PF shows no RDMA device here; it is in another network namespace, or the RDMA "
            "driver is not loaded"
        )
    if pf.present is None:
        raise PfRefused("how many VFs it has cannot be read (sriov_numvfs)")
    if pf.present not in (0, count):
        raise PfRefused(
            f"it has {pf.present} VFs, {count} are wanted, and the kernel would remove all of them "
            "first; the driver never removes VFs"
        )


def _check_usable(pf: PfView) -> None:
    """Refuse a PF that is in a pod, with VFs that nobody can use."""
    if todo := _unusable(pf):
        raise PfRefused(
            f"VF {_numbers(todo)} lacks a GUID or a driver, but claim {pf.holder} has the PF, "
            "through which alone the kernel tells VFs who they are; nothing is done until the PF "
            "is back"
        )


def _check_reach(pf: PfView) -> None:
    """Refuse a PF whose VFs cannot be told who they are, or that is in use itself."""
    if pf.holder is not None:
        raise PfRefused(f"the PF is held by claim {pf.holder}")
    if len(pf.link_layers) > 1:
        raise PfRefused(
            f"it has {len(pf.link_layers)} ports on one function, and the kernel gives a GUID "
            "to the first port of a VF only; ConnectX-3 makes VFs by its module's num_vfs"
        )
    if pf.interface is None:
        raise PfRefused(
            "the PF has no IPoIB interface here, through which alone the kernel sets its VFs' "
            "GUIDs; load the kernel module ib_ipoib"
        )


def _new_vfs(
    pf: PfView, count: int, wanted: WantedVfs, taken: dict[Guid, str]
) -> tuple[VfStep, ...]:
    """Make VFs without drivers, tell them who they are, bind them."""
    _check_reach(pf)
    guids = choose_guids(pf, range(count), wanted, taken)
    steps: list[VfStep] = []
    if pf.autoprobe is not None:
        steps.append(SetAutoprobe(enabled=False))
    steps.append(SetNumVfs(count=count))
    for vf, guid in guids.items():
        steps += [
            SetVfLinkState(vf=vf, state=VfLinkState.AUTO),
            SetVfNodeGuid(vf=vf, guid=guid),
            SetVfPortGuid(vf=vf, guid=guid),
        ]
    if pf.autoprobe is not None:
        steps.append(SetAutoprobe(enabled=True))
    identities = tuple(VfIdentity(vf, guid, guid) for vf, guid in guids.items())
    return (*steps, *_bound(pf, identities, rebind=range(0 if pf.autoprobe is not None else count)))


def _missing(pf: PfView, wanted: WantedVfs, taken: dict[Guid, str]) -> tuple[VfStep, ...]:
    """Give GUIDs to VFs that lack one, and bind those without driver."""
    todo = _unusable(pf)
    if not todo:
        return ()
    used = next((vf for vf in pf.vfs if vf.holder or vf.place is VfPlace.AWAY), None)
    if used is not None:
        raise PfRefused(
            f"VF {_numbers(todo)} lacks a GUID or a driver, but VF "
            f"{used.index} is "
            + (f"held by claim {used.holder}" if used.holder else "in another network namespace")
            + "; binding one changes device numbers, so nothing is done until no pod has a VF of "
            "this PF"
        )
    _check_reach(pf)
    lacking = [vf.index for vf in todo if ZERO_GUID in intended_guids(vf)]
    guids = choose_guids(pf, lacking, wanted, taken)
    steps: list[VfStep] = []
    identities = []
    for vf in todo:
        node, port = (guid if guid != ZERO_GUID else guids[vf.index] for guid in intended_guids(vf))
        if vf.settings is None or vf.settings.link_state is not VfLinkState.AUTO:
            steps.append(SetVfLinkState(vf=vf.index, state=VfLinkState.AUTO))
        if vf.settings is None or vf.settings.node_guid != node:
            steps.append(SetVfNodeGuid(vf=vf.index, guid=node))
        if vf.settings is None or vf.settings.port_guid != port:
            steps.append(SetVfPortGuid(vf=vf.index, guid=port))
        identities.append(VfIdentity(vf.index, node, port))
    if pf.autoprobe is False:
        steps.append(SetAutoprobe(enabled=True))
    rebind = [vf.index for vf in todo if vf.place is VfPlace.HERE]
    return (*steps, *_bound(pf, tuple(identities), rebind=rebind))


def _unusable(pf: PfView) -> list[VfView]:
    """Give the VFs that a run left half-way, or that were made by hand."""
    return [vf for vf in pf.vfs if vf.lacks_guid or vf.place is VfPlace.UNBOUND]


def _numbers(vfs: Iterable[VfView]) -> str:
    return ", ".join(str(vf.index) for vf in vfs)


def _bound(pf: PfView, vfs: tuple[VfIdentity, ...], *, rebind: Iterable[int]) -> tuple[VfStep, ...]:
    again = frozenset(rebind)
    steps: list[VfStep] = []
    for each in vfs:
        if each.vf in again:
            steps.append(UnbindVf(vf=each.vf))
        steps.append(BindVf(vf=each.vf, driver=pf.driver or ""))
    return (*steps, AwaitVfs(vfs=vfs))


def _remarks(pf: PfView, wanted: WantedVfs, *, changing: bool) -> list[str]:
    """Say what is not as one might think."""
    notes = (
        ["driver autoprobe was off and will be on"] if changing and pf.autoprobe is False else []
    )
    notes += [
        f"VF {vf.index} is {vf.place}, and is left"
        for vf in pf.vfs
        if vf.place in (VfPlace.OTHER_DRIVER, VfPlace.NO_DEVICE)
    ]
    for vf in pf.vfs:
        given, has = wanted.guids.of(pf.address, vf.index), intended_guids(vf)
        if given is not None and any(g not in (ZERO_GUID, given) for g in has):
            notes.append(f"VF {vf.index} has GUID {has[1]}, the GUID file says {given}: it is left")
    return notes
