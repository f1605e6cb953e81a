"""The contract of the ``Sysfs`` port, for the fake, the reader and a kernel's own /sys alike."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from contract.sysfs.kernel_sysfs import IN_GUEST, KernelMachine
from contract.sysfs.sysfs_machines import FakeMachine, Machine, TreeMachine
from ibdra_domain.errors import HardwareUnreadable, KernelRefused
from ibdra_domain.identifiers import PciAddress

MADE = ["fake", "tree"]


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Give a machine of each kind that can be made, with one HCA and nothing else."""
    return FakeMachine() if request.param == "fake" else TreeMachine(tmp_path)


@pytest.fixture(
    params=[*MADE, pytest.param("kernel", marks=pytest.mark.real)] if IN_GUEST else MADE
)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    """Give a machine of each kind there is."""
    if request.param == "kernel":
        return KernelMachine()
    return FakeMachine() if request.param == "fake" else TreeMachine(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> TreeMachine:
    """Give a machine of files."""
    return TreeMachine(tmp_path)


def test_reads_the_machine_as_it_is(machine: Machine) -> None:
    """Functions, devices and interfaces come as they are, twice the same."""
    expected = machine.reading
    assert expected == machine.sysfs.read()
    assert expected == machine.sysfs.read()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ((0xFFFF,), (0xFFFF,)),
        ((0x7FFF, 0x8001), (0x7FFF, 0x8001)),
        ((0xFFFF, 0, 0x8001, 0, 0), (0xFFFF, 0, 0x8001)),
        ((0, 0, 0x8001), (0, 0, 0x8001)),
        ((0, 0, 0), ()),
        (tuple(range(0x8001, 0x8081)), tuple(range(0x8001, 0x8081))),
    ],
    ids=["one", "limited", "gap", "from index 2", "empty", "128 in order"],
)
def test_a_table_is_read_by_index(
    machine: Machine, written: tuple[int, ...], read: tuple[int, ...]
) -> None:
    """A key's place is what NCCL is told: gaps are kept, only the empty end is cut."""
    machine.set_pkeys(1, *written)
    assert read == machine.sysfs.pkey_table("mlx5_0", 1)


@pytest.mark.parametrize(("rdma_device", "port"), [("mlx5_0", 2), ("mlx5_9", 1), ("", 1)])
def test_a_port_out_of_sight_has_no_table(machine: Machine, rdma_device: str, port: int) -> None:
    """It is an error that names device and port: an empty table would say "no partition"."""
    machine.set_pkeys(1, 0xFFFF)
    with pytest.raises(HardwareUnreadable, match=f"{rdma_device} port {port} cannot be read"):
        machine.sysfs.pkey_table(rdma_device, port)


def test_lists_the_nodes_there_are(machine: Machine) -> None:
    """All kinds come, with numbers, device, port and the PCI function below."""
    nodes = machine.add_nodes()
    assert set(nodes) == set(machine.sysfs.char_devices())
    assert len(nodes) == len(machine.sysfs.char_devices())


def test_lists_one_functions_nodes(machine: Machine) -> None:
    """Those of others, and those of none, are left out."""
    nodes = machine.add_nodes()
    for function in {node.pci for node in nodes} - {None}:
        found = machine.sysfs.char_devices(function)
        assert {node for node in nodes if node.pci == function} == set(found)
    assert () == machine.sysfs.char_devices(PciAddress("0000:ff:1f.7"))


def test_a_device_is_known_by_its_function(machine: Machine) -> None:
    """Each function with a device in our namespace names it; others name none."""
    hcas = machine.reading.hcas
    for function in machine.reading.functions:
        expected = tuple(hca.name for hca in hcas if hca.pci == function.address)
        assert expected == machine.sysfs.rdma_devices(function.address)
    assert () == machine.sysfs.rdma_devices(PciAddress("0000:ff:1f.7"))


def test_without_nodes_lists_none(made: Machine) -> None:
    """A kernel without ib_uverbs is no error."""
    assert () == made.sysfs.char_devices()


def test_a_driver_without_the_switch_has_no_traffic_class(made: Machine) -> None:
    """None says that there is nothing to set, on a port or a device that is not there too."""
    assert made.sysfs.traffic_class("mlx5_0", 1) is None
    assert made.sysfs.traffic_class("mlx5_9", 1) is None


@pytest.mark.parametrize("value", [-1, 0, 106, 255])
def test_the_traffic_class_is_read_as_it_stands(machine: Machine, value: int) -> None:
    """-1 is a switch that nobody has set; 0 is a value."""
    machine.set_switch(1, value)
    assert value == machine.sysfs.traffic_class("mlx5_0", 1)
    assert machine.sysfs.traffic_class("mlx5_0", 2) is None


def test_a_missing_switch_cannot_be_set(machine: Machine) -> None:
    """The kernel's own number comes with the refusal."""
    with pytest.raises(KernelRefused) as raised:
        machine.sysfs.set_traffic_class("mlx5_0", 2, 106)
    assert errno.ENOENT == raised.value.errno
    assert "ENOENT" in raised.value.problem


def test_a_port_is_set_alone(made: Machine) -> None:
    """Setting one port's switch leaves the other's."""
    made.set_switch(1, -1)
    made.set_switch(2, 8)
    made.sysfs.set_traffic_class("mlx5_0", 1, 106)
    assert 8 == made.sysfs.traffic_class("mlx5_0", 2)


@pytest.mark.parametrize(("value", "written"), [(106, b"106\n"), (0, b"0\n"), (-1, b"-1\n")])
def test_a_value_is_written_as_the_driver_reads_it(
    tree: TreeMachine, value: int, written: bytes
) -> None:
    """The bare number and a newline; -1 unsets."""
    tree.set_switch(1, -1)
    tree.sysfs.set_traffic_class("mlx5_0", 1, value)
    assert written == tree.switch(1).read_bytes()


def test_a_switch_that_takes_nothing_refuses(tree: TreeMachine) -> None:
    """Whatever the errno is, it is in the refusal, with the file's path."""
    tree.switch(1).mkdir(parents=True)
    with pytest.raises(KernelRefused, match="tc/1/traffic_class") as raised:
        tree.sysfs.set_traffic_class("mlx5_0", 1, 106)
    assert errno.EISDIR == raised.value.errno
    assert tree.sysfs.traffic_class("mlx5_0", 1) is None


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("Global tclass=106\n", 106),
        ("Global tclass=96\ntclass=8 src_ip=10.0.0.1\n", 96),
        ("tclass=8 src_ip=10.0.0.1\n", -1),
        ("\n", -1),
        ("banana\n", -1),
    ],
    ids=["global", "with rules", "rules only", "blank", "unknown words"],
)
def test_only_the_global_class_counts(tree: TreeMachine, content: str, value: int) -> None:
    """Rules for single destinations are not the port's default."""
    tree.set_switch(1, -1)
    tree.switch(1).write_text(content)
    assert value == tree.sysfs.traffic_class("mlx5_0", 1)


def test_an_unreadable_key_is_an_empty_entry(tree: TreeMachine) -> None:
    """The others keep their places."""
    tree.set_pkeys(1, 0xFFFF, 0x8001, 0x8002)
    (tree.root / tree.hca / "ports/1/pkeys/1").write_text("banana\n")
    assert (0xFFFF, 0, 0x8002) == tree.sysfs.pkey_table("mlx5_0", 1)


@pytest.mark.parametrize("content", ["", "banana\n", "0\n", "256\n", "-1\n"])
def test_a_management_node_without_its_port_is_not_listed(tree: TreeMachine, content: str) -> None:
    """It would pass for a node of every port of its device."""
    tree.add_nodes()
    (tree.root / "class/infiniband_mad/umad0/port").write_text(content)
    assert "umad0" not in {node.name for node in tree.sysfs.char_devices()}
