"""Planning VFs for 8 PFs of 127: what deciding costs, and the floor beside it."""

from __future__ import annotations

from ibdra_domain.hardware import Hca, HcaPort, NetDevice, PciFunction, SysfsReading
from ibdra_domain.identifiers import Gid, PciAddress, guid_from_int
from ibdra_domain.link import LinkLayer
from ibdra_domain.pf_views import pf_views
from ibdra_domain.ports.sriov import VfLinkState, VfSettings
from ibdra_domain.provisioning import Verdict, plan_provisioning
from ibdra_domain.vf_guids import derived_guid
from ibdra_domain.vf_wishes import WantedVfs
from measure import medians, row

PFS, VFS = 8, 127
WANTED = WantedVfs(count=VFS)


def machine(*, made: bool) -> tuple[SysfsReading, dict[PciAddress, list[VfSettings]]]:
    """Describe the node, with its VFs unbound and without GUIDs, or without any."""
    functions, hcas, netdevs, settings = [], [], [], {}
    for number in range(PFS):
        pf = PciAddress(f"0000:{16 * number + 16:02x}:00.0")
        guid = guid_from_int(0xA088C20300401000 + number)
        vfs = tuple(
            PciAddress(f"{pf[:5]}{16 * number + 17 + i // 256:02x}:{i // 8 % 32:02x}.{i % 8}")
            for i in range(VFS if made else 0)
        )
        functions.append(
            PciFunction(
                address=pf,
                driver="mlx5_core",
                vfs=vfs,
                total_vfs=VFS,
                num_vfs=len(vfs),
                autoprobe=True,
            )
        )
        functions += [PciFunction(address=vf, physfn=pf) for vf in vfs]
        gid = Gid(f"fe80:0000:0000:0000:{guid}")
        port = HcaPort(number=1, link_layer=LinkLayer.INFINIBAND, gid0=gid)
        hcas.append(Hca(name=f"mlx5_{number}", pci=pf, node_guid=guid, ports=(port,)))
        netdevs.append(NetDevice(name=f"ib{number}", pci=pf, port=1, infiniband=True))
        zero = guid_from_int(0)
        settings[pf] = [
            VfSettings(index=i, node_guid=zero, port_guid=zero, link_state=VfLinkState.DISABLE)
            for i in range(len(vfs))
        ]
    reading = SysfsReading(
        addresses=frozenset(function.address for function in functions),
        functions=tuple(functions),
        hcas=tuple(hcas),
        netdevs=tuple(netdevs),
    )
    return reading, settings


def main() -> None:
    """Measure and print."""
    none, cut_short = machine(made=False), machine(made=True)
    views = [pf_views(reading, settings=settings) for reading, settings in (none, cut_short)]
    plans = [plan_provisioning(each, WANTED) for each in views]
    if {Verdict.CHANGE} != {pf.verdict for plan in plans for pf in plan.pfs}:
        raise SystemExit("the planner does not plan")
    guids = [pf.port_guid for pf in views[0] if pf.port_guid is not None]
    took = medians(
        {
            "views": lambda: pf_views(cut_short[0], settings=cut_short[1]),
            "from none": lambda: plan_provisioning(views[0], WANTED),
            "cut short": lambda: plan_provisioning(views[1], WANTED),
            "floor": lambda: [derived_guid(pf, i) for pf in guids for i in range(VFS)],
        }
    )
    row("PFs x VFs", f"{PFS} x {VFS}")
    row("steps from none", str(sum(len(pf.steps) for pf in plans[0].pfs)))
    row("joining what is known", f"{took['views'] * 1e3:.1f} ms")
    row("a plan from none", f"{took['from none'] * 1e3:.1f} ms")
    row("a plan after a run that was cut short", f"{took['cut short'] * 1e3:.1f} ms")
    row("floor: deriving the GUIDs only", f"{took['floor'] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
