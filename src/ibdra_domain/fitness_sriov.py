"""PFs against the VFs that are wanted, and what stands between them and a machine's memory.

Why: SR-IOV is turned on in firmware, BIOS, kernel and sysfs, and each of them alone can keep
a node without VFs.  Judged is by the very plan that `ibdra provision` would carry out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ibdra_domain.fitness import Finding, error, good, warning
from ibdra_domain.hardware import PciFunction, SysfsReading
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import MELLANOX, FunctionType, function_type
from ibdra_domain.link import LinkLayer
from ibdra_domain.pf_views import PfView
from ibdra_domain.provisioning import PfPlan, ProvisioningPlan, Verdict
from ibdra_domain.vf_wishes import WantedVfs


def check_sriov(
    reading: SysfsReading,
    views: Iterable[PfView],
    plan: ProvisioningPlan,
    wanted: WantedVfs,
) -> tuple[Finding, ...]:
    """Judge PFs against the VFs that are wanted, by the plan `ibdra provision` would have."""
    infiniband = {
        hca.pci: hca
        for hca in reading.hcas
        if any(port.link_layer == LinkLayer.INFINIBAND for port in hca.ports)
    }
    found = [
        _without_vfs(
            PfView(address=f.address, rdma_device=infiniband[f.address].name),
            wanted,
            is_only_kind=not plan.pfs,
        )
        for f in reading.functions
        if f.address in infiniband and _could_have_vfs(f)
    ]
    autoprobe = {view.address: view.autoprobe for view in views}
    for pf in plan.pfs:
        found.append(_planned(pf))
        found += [
            warning("sriov", pf.name, f"{pf.name}: {note}", remedy="see docs/user/vfs.md")
            for note in pf.notes
        ]
        if autoprobe[pf.address] is False:
            found.append(
                warning(
                    "sriov",
                    f"{pf.name} sriov_drivers_autoprobe",
                    f"driver autoprobe of {pf.name} is off: its VFs get no driver",
                    remedy=f"`echo 1 > /sys/bus/pci/devices/{pf.address}/sriov_drivers_autoprobe`"
                    ", then bind the VFs that are there",
                )
            )
    found += [
        error(
            "sriov",
            option,
            f"{option} fits no PF with SR-IOV of this node",
            remedy="give a PCI address or RDMA name that `ibdra provision` lists",
        )
        for option in plan.unmatched
    ]
    return tuple(found)


def _could_have_vfs(function: PciFunction) -> bool:
    return (
        function.vendor == MELLANOX
        and not function.total_vfs
        and function_type(function) is FunctionType.PF
    )


def _without_vfs(pf: PfView, wanted: WantedVfs, *, is_only_kind: bool) -> Finding:
    """Judge a PF without SR-IOV: an old one beside others is no fault, unless it is named."""
    subject = f"PF {pf.address} ({pf.rdma_device}): no SR-IOV (sriov_totalvfs)"
    count, _, named = wanted.choose(pf)
    if not count:
        return good("sriov", f"{subject}; no VFs are wanted")
    grade = error if named or is_only_kind else warning
    return grade(
        "sriov",
        subject,
        f"the firmware of {pf.address} allows no VFs",
        remedy="set SRIOV_EN=1 and NUM_OF_VFS with mlxconfig, turn SR-IOV on in the BIOS, reboot",
    )


def _planned(pf: PfPlan) -> Finding:
    subject = f"{pf.name}: {pf.present} VFs, {pf.wanted} wanted, {pf.possible} possible"
    if pf.verdict is Verdict.REFUSED:
        other_number = pf.present not in (None, 0, pf.wanted)
        return error(
            "sriov",
            subject,
            f"{pf.name} will not get its VFs: {pf.reason}",
            remedy=f"ask for the {pf.present} there are, or change the number by hand while no pod "
            "has one of them"
            if other_number
            else "do what the reason says; `ibdra provision --dry-run` shows the plan",
        )
    if pf.verdict is Verdict.CHANGE:
        return good("sriov", f"{subject}: `ibdra run` would take {len(pf.steps)} steps")
    return good("sriov", subject)


def check_iommu(groups: Mapping[PciAddress, str | None]) -> tuple[Finding, ...]:
    """Judge each PF's IOMMU group type; None where it has no group."""
    translated = sorted(pci for pci, kind in groups.items() if kind and kind.startswith("DMA"))
    if translated:
        return (
            warning(
                "iommu",
                ", ".join(translated),
                "the IOMMU translates every access of these HCAs, which costs bandwidth",
                remedy="boot with iommu=pt, which keeps translation for what is given to VMs",
            ),
        )
    if groups and not any(groups.values()):
        return (good("iommu", "no IOMMU in use: VFs can be given to containers, not to VMs"),)
    return (good("iommu", "not in the way"),) if groups else ()
