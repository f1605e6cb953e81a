"""What a claim was decided by is otherwise when its container starts."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from ibdra_adapters.simulation.profile import SimulatedHca
from ibdra_domain.errors import AttachRefused, ConfigRefused, DeviceRefused
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.ports.driver import ClaimRef
from unit.app.app_node import VF, Node, ib_config

VF_PCI = PciAddress("0000:3b:00.1")
SPARE_PF = PciAddress("0000:d8:00.0")
WITH_PKEY = ib_config(pkey=0x8001)


def hca_of(node: Node, pci: PciAddress = VF_PCI) -> SimulatedHca:
    """Give a function as it is plugged in."""
    return node.container.machine().functions[pci]


def write_pkeys(node: Node, *pkeys: str) -> None:
    """Have the subnet manager write the VF's table."""
    hca = hca_of(node)
    ports = tuple(replace(port, pkeys=pkeys) for port in hca.ports)
    node.container.machine().change(replace(hca, ports=ports))


def told(node: Node, claim: ClaimRef) -> str:
    """Give all that a claim's containers are told."""
    return json.dumps(node.spec(claim))


def attach_at_last(node: Node, claim: ClaimRef) -> int:
    """Start a container, which is refused once; give its process."""
    pid = node.kernel.start_process()
    with pytest.raises(AttachRefused, match="are not as they were when it was prepared"):
        node.attach(claim, pid)
    node.attach(claim, pid)
    return pid


def check_nodes(node: Node, admin: ClaimRef) -> None:
    """See that an admin claim's spec has the VF's nodes of now, and no other's."""
    device = node.kernel.devices[hca_of(node).name]
    nodes = {(n.path, n.major, n.minor) for n in node.kernel.nodes_of(device)}
    given = {
        (each["path"], each["major"], each["minor"])
        for each in node.spec(admin)["devices"][0]["containerEdits"]["deviceNodes"]
    }
    assert nodes == given


def test_another_place_of_the_pkey_is_told_before_a_container_starts(node: Node) -> None:
    """NCCL goes by the index: with the old one it would be in another partition."""
    claim = node.prepared(VF, config=WITH_PKEY)
    write_pkeys(node, "0xffff", "0x0002", "0x8001")

    pid = attach_at_last(node, claim)

    assert "NCCL_IB_PKEY=2" in told(node, claim)
    assert "ib0v0.8001" in node.interfaces(pid)


def test_a_pkey_that_was_taken_away_starts_no_container(node: Node) -> None:
    """Nothing was moved then; and with the pkey back it starts."""
    claim = node.prepared(VF, config=WITH_PKEY)
    before = node.snapshot()
    write_pkeys(node, "0xffff", "0x8002")

    with pytest.raises(ConfigRefused, match="pkey 0x8001 is not in the partition table"):
        node.attach(claim, node.kernel.start_process())

    assert before == node.snapshot()
    write_pkeys(node, "0xffff", "0x8001")
    node.attach(claim, node.kernel.start_process())


def test_an_interface_that_came_late_is_in_the_container_all_the_same(node: Node) -> None:
    """Prepared just after a driver's reset, it has its partition too, and comes home as it was."""
    before = node.snapshot()
    links = {i: link for i, link in node.kernel.links.items() if link.rdma == hca_of(node).name}
    for index in links:
        del node.kernel.links[index]
    node.kernel._tell(node.kernel.devices[hca_of(node).name])
    claim = node.prepared(VF, config=WITH_PKEY)
    assert "NETDEV" not in told(node, claim)
    node.kernel.links.update(links)
    node.kernel._tell(node.kernel.devices[hca_of(node).name])

    pid = attach_at_last(node, claim)

    assert {"ib0v0", "ib0v0.8001"} == set(node.interfaces(pid))
    assert [None] == node.unprepare(claim)
    assert before == node.snapshot()


def test_after_a_reboot_the_answer_is_by_what_the_devices_are_now(node: Node) -> None:
    """The kernel may give other names and the subnet manager another table."""
    claim = node.prepared(VF, config=WITH_PKEY)
    ledger = node.container.ledger()
    ledger.put(replace(ledger.all()[claim.uid], boot_id="the boot before"))
    hca = hca_of(node)
    node.container.machine().unplug(hca.pci)
    ports = tuple(replace(port, pkeys=("0xffff", "0x0002", "0x8001")) for port in hca.ports)
    node.container.machine().plug(replace(hca, name="mlx5_7", ports=ports), up=True)
    fresh = node.restarted()
    fresh.container.recovery().run()

    (answer,) = fresh.prepare(claim)

    assert not isinstance(answer, Exception)
    assert "mlx5_0v0" not in told(fresh, claim)
    assert "NCCL_IB_HCA==mlx5_7:1" in told(fresh, claim)
    assert "NCCL_IB_PKEY=2" in told(fresh, claim)
    pid = fresh.kernel.start_process()
    fresh.attach(claim, pid)
    assert ("mlx5_7",) == fresh.kernel.visible(fresh.kernel.processes[pid])


def test_a_device_that_was_named_anew_is_told_by_its_name(node: Node) -> None:
    """A driver's reset may give another; nothing has moved when the start is refused."""
    claim = node.prepared(VF)
    hca = hca_of(node)
    node.container.machine().unplug(hca.pci)
    node.container.machine().plug(replace(hca, name="mlx5_7"), up=True)

    pid = attach_at_last(node, claim)

    assert ("mlx5_7",) == node.kernel.visible(node.kernel.processes[pid])
    assert "NCCL_IB_HCA==mlx5_7:1" in told(node, claim)


def test_a_device_that_has_gone_is_not_answered_for_from_the_record(node: Node) -> None:
    """Asked again before any container started, the driver looks again."""
    claim = node.prepared(VF)
    node.container.machine().unplug(VF_PCI)
    (answer,) = node.prepare(claim)
    assert isinstance(answer, DeviceRefused)


def test_admin_access_has_its_devices_nodes_after_any_move(node: Node) -> None:
    """No hook stands behind its spec: it would manage another HCA with the numbers of before."""
    admin = node.prepared(VF, admin=True)
    holder = node.prepared(VF)
    machine, spare = node.container.machine(), hca_of(node, SPARE_PF)
    machine.unplug(SPARE_PF)
    pid = node.kernel.start_process()
    with pytest.raises(AttachRefused, match="device nodes"):
        node.attach(holder, pid)
    machine.plug(spare, up=True)

    check_nodes(node, admin)


def test_admin_access_has_its_devices_nodes_after_it_came_home(node: Node) -> None:
    """The way back gives numbers anew as well."""
    admin = node.prepared(VF, admin=True)
    holder = node.prepared(VF)
    node.attach(holder, node.kernel.start_process())
    before = told(node, admin)
    node.container.machine().unplug(SPARE_PF)

    assert [None] == node.unprepare(holder)

    assert before != told(node, admin)
    check_nodes(node, admin)


def test_admin_access_is_looked_after_whenever_the_machine_changes(node: Node) -> None:
    """A driver's reset gives nodes other numbers, and nobody calls us for it."""
    admin = node.prepared(VF, admin=True)
    before = told(node, admin)
    machine, vf, spare = node.container.machine(), hca_of(node), hca_of(node, SPARE_PF)
    machine.unplug(VF_PCI)
    machine.unplug(SPARE_PF)
    machine.plug(vf, up=True)
    machine.plug(spare, up=True)

    node.container.watching().look()

    assert before != told(node, admin)
    check_nodes(node, admin)
