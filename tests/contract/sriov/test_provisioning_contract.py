"""Provisioning from none to all VFs, on the simulation and on a kernel alike."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from contract.netlink.kernel_machine import IN_GUEST, eventually
from contract.sriov.sriov_machines import (
    PFS,
    TOTAL,
    Machine,
    hca_of,
    made,
    netdev_of,
    settled,
    vfs_of,
)
from ibdra_app.provisioning import Provisioning
from ibdra_domain.hardware import RdmaIsolation, VerbsReading
from ibdra_domain.identifiers import Guid, gid_guid
from ibdra_domain.inventory import FunctionType, take_inventory
from ibdra_domain.provisioning import Verdict
from ibdra_domain.vf_guids import GuidFile, derived_guid
from ibdra_domain.vf_wishes import PfOverride, WantedVfs

ALL = WantedVfs(count=TOTAL)


def provisioning(machine: Machine) -> Provisioning:
    """Wire it to a machine's ports."""
    return Provisioning(
        sysfs=machine.sysfs,
        sriov=machine.sriov,
        vf_attributes=machine.vf_attributes,
        namespaces=machine.namespaces,
        links=machine.links,
        watch=machine.events,
        clock=machine.clock,
        patience=20,
    )


def state(machine: Machine) -> dict[str, object]:
    """Tell what must stay as it is: functions, devices, interfaces, nodes."""
    reading = machine.sysfs.read()
    return {
        "functions": reading.functions,
        "devices": reading.hcas,
        "interfaces": {(n.name, n.pci, n.hardware_address) for n in reading.netdevs},
        "nodes": set(machine.sysfs.char_devices()),
    }


def test_two_pfs_get_eight_vfs_each(
    machine: Machine, record_property: Callable[[str, object], None]
) -> None:
    """All with the GUIDs derived for them, in the inventory; the next run changes nothing."""
    started = time.monotonic()
    report = provisioning(machine).provision(ALL)
    inventory = take_inventory(machine.sysfs.read(), VerbsReading())
    seconds = time.monotonic() - started
    if IN_GUEST:
        record_property("2 PFs x 8 VFs from 0 to inventory", f"{seconds:.1f} s")
    assert report.complete, report
    vfs = [d for d in inventory.devices if d.function_type is FunctionType.VF]
    assert 2 * TOTAL == len(vfs)
    assert not [d for d in inventory.devices if d.lacks_guid]
    host = machine.namespaces.host()
    assert {d.rdma_device for d in vfs} <= set(machine.rdma.names(host))
    host.close()
    for vf in vfs:
        pf = hca_of(machine, vf.hardware)
        assert pf is not None
        assert pf.ports[0].gid0 is not None
        guid = derived_guid(gid_guid(pf.ports[0].gid0), vf.vf_index or 0)
        assert (guid, f"fe80:0000:0000:0000:{guid}", guid) == (
            vf.node_guid,
            vf.link.gid0,
            vf.netdev_guid,
        )
    assert 2 * (TOTAL + 1) == len({d.node_guid for d in inventory.devices})
    before = state(machine)
    again = provisioning(machine).provision(ALL)
    assert {Verdict.READY} == {pf.plan.verdict for pf in again.pfs}
    assert before == state(machine)


def test_another_number_is_refused_and_nothing_touched(machine: Machine) -> None:
    """Four against eight, also while one of the eight is in another namespace."""
    if machine.rdma.isolation() is RdmaIsolation.SHARED:
        machine.rdma.set_isolation(RdmaIsolation.EXCLUSIVE)
    assert provisioning(machine).provision(WantedVfs(overrides=(PfOverride(PFS[0], 8),))).complete
    fewer = WantedVfs(overrides=(PfOverride(PFS[0], 4),))
    before = state(machine)
    report = provisioning(machine).provision(fewer)
    assert "it has 8 VFs, 4 are wanted" in str(report.pfs[0].plan.reason)
    assert before == state(machine)
    name = settled(machine, vfs_of(machine, PFS[0])[3]).name
    host = machine.namespaces.host()
    pod = machine.namespaces.of_process(machine.start_process())
    try:
        machine.rdma.move(name, source=host, target=pod)
        eventually(lambda: hca_of(machine, vfs_of(machine, PFS[0])[3]) is None)
        away = state(machine)
        report = provisioning(machine).provision(fewer)
        assert Verdict.REFUSED is report.pfs[0].plan.verdict
        assert away == state(machine)
        assert (name,) == machine.rdma.names(pod)
        same = provisioning(machine).provision(WantedVfs(overrides=(PfOverride(PFS[0], 8),)))
        assert Verdict.READY is same.pfs[0].plan.verdict
        assert away == state(machine)
        machine.rdma.move(name, source=pod, target=host)
    finally:
        pod.close()
        host.close()


def test_a_file_says_who_a_vf_is(machine: Machine) -> None:
    """The VF it names has its GUID; the other one has the derived one."""
    given = Guid("02aa:0000:0000:0001")
    wanted = WantedVfs(overrides=(PfOverride(PFS[1], 2),), guids=GuidFile({(PFS[1], 1): given}))
    assert provisioning(machine).provision(wanted).complete
    first, second = (settled(machine, vf) for vf in vfs_of(machine, PFS[1]))
    assert given == second.node_guid
    assert first.node_guid not in (given, None)
    netdev = netdev_of(machine, vfs_of(machine, PFS[1])[1])
    assert netdev is not None
    assert given == netdev.port_guid


def test_a_run_that_was_cut_short_is_finished(machine: Machine) -> None:
    """VFs without drivers, autoprobe off: what a kill leaves."""
    machine.sriov.set_autoprobe(PFS[0], enabled=False)
    machine.sriov.set_num_vfs(PFS[0], 2)
    report = provisioning(machine).provision(WantedVfs(overrides=(PfOverride(PFS[0], 2),)))
    assert report.complete, report
    devices = [settled(machine, vf) for vf in vfs_of(machine, PFS[0])]
    assert 2 == len({device.node_guid for device in devices})
    assert "0000:0000:0000:0000" not in {device.node_guid for device in devices}


@pytest.mark.parametrize("which", ["node", "port"])
def test_a_vf_that_lacks_a_guid_gets_one(machine: Machine, which: str) -> None:
    """It is bound again, and its neighbour is not."""
    vfs = made(machine, 2)
    pf = PFS[0]
    netdev = netdev_of(machine, pf)
    assert netdev is not None
    host = machine.namespaces.host()
    index = next(x.index for x in machine.links.list(host) if x.name == netdev.name)
    for vf in range(2):
        lacking = vf == 1
        for kind, setter in (
            ("node", machine.vf_attributes.set_node_guid),
            ("port", machine.vf_attributes.set_port_guid),
        ):
            zero = lacking and kind == which
            guid = Guid("0000:0000:0000:0000" if zero else f"02cc:0000:0000:000{vf + 1}")
            setter(index, vf, guid, netns=host)
        machine.sriov.unbind(vfs[vf])
        machine.sriov.bind(vfs[vf], "mlx5_core")
        settled(machine, vfs[vf])
    host.close()
    before = settled(machine, vfs[0])
    report = provisioning(machine).provision(WantedVfs(overrides=(PfOverride(pf, 2),)))
    assert report.complete, report
    assert before == hca_of(machine, vfs[0])
    inventory = take_inventory(machine.sysfs.read(), VerbsReading())
    (mended,) = [d for d in inventory.devices if d.pci == vfs[1]]
    assert not mended.lacks_guid
    assert mended.link.gid0 is not None
    kept = {"node": gid_guid(mended.link.gid0), "port": mended.node_guid}[which]
    assert "02cc:0000:0000:0002" == kept
