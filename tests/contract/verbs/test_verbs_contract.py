"""The contract of the ``Verbs`` port, for the fake, for libibverbs and for a kernel alike."""

from __future__ import annotations

import errno

import msgspec
import pytest

from contract.verbs.verbs_machines import (
    DUAL_PORT,
    ETHERNET,
    HDR_PORT,
    POLLING_PORT,
    SOMEWHERE,
    VIRTUAL_FUNCTION,
    Machine,
    Scripted,
)
from ibdra_domain.hardware import VerbsReading


def test_reads_every_device_as_it_is(machine: Machine) -> None:
    """All devices come in the order they are listed, with all that libibverbs knows."""
    expected = machine.fill()
    assert VerbsReading(hcas=expected) == machine.verbs.read()
    assert 0 == machine.leaks()


def test_tells_nothing_that_libibverbs_does_not_know(scripted: Scripted) -> None:
    """PCI address, board id and type are left out, for sysfs to say."""
    known = msgspec.structs.replace(
        DUAL_PORT, pci=SOMEWHERE, board_id="MT_0000000226", hca_type="MT4123"
    )
    scripted.add(known)
    assert VerbsReading(hcas=(DUAL_PORT,)) == scripted.verbs.read()


def test_without_devices_reads_nothing(scripted: Scripted) -> None:
    """An empty device list is an empty reading and no trouble."""
    assert VerbsReading() == scripted.verbs.read()
    assert 0 == scripted.leaks()


def test_without_rdma_in_the_kernel_reads_nothing(scripted: Scripted) -> None:
    """ENOSYS on listing is an empty reading and no trouble."""
    scripted.fill()
    scripted.refuse_list(errno.ENOSYS)
    assert VerbsReading() == scripted.verbs.read()
    assert scripted.verbs.read_port("mlx5_0", 1) is None
    assert 0 == scripted.leaks()


def test_warns_when_devices_cannot_be_listed(scripted: Scripted) -> None:
    """Any other errno on listing is an empty reading and one warning that names it."""
    scripted.fill()
    scripted.refuse_list(errno.EPERM)
    reading = scripted.verbs.read()
    assert () == reading.hcas
    assert 1 == len(reading.warnings)
    assert "EPERM" in reading.warnings[0]
    assert scripted.verbs.read_port("mlx5_0", 1) is None
    assert 0 == scripted.leaks()


@pytest.mark.parametrize("code", [errno.EPERM, errno.EACCES, errno.ENOENT, errno.EBUSY])
def test_leaves_out_a_device_that_cannot_be_opened(scripted: Scripted, code: int) -> None:
    """The device is named in a warning with the errno's name; the others live."""
    scripted.fill()
    scripted.refuse_open("mlx5_2", code)
    reading = scripted.verbs.read()
    assert (DUAL_PORT, ETHERNET) == reading.hcas
    assert 1 == len(reading.warnings)
    problem, _, remedy = reading.warnings[0].partition(": ")
    assert f"mlx5_2 cannot be opened ({errno.errorcode[code]})" == problem
    assert remedy
    assert scripted.verbs.read_port("mlx5_2", 1) is None
    assert 0 == scripted.leaks()


def test_leaves_out_a_port_that_cannot_be_queried(scripted: Scripted) -> None:
    """The port is named in a warning; its device and the other port live."""
    scripted.fill()
    scripted.refuse_port("mlx5_0", 1, errno.EIO)
    reading = scripted.verbs.read()
    remaining = msgspec.structs.replace(DUAL_PORT, ports=(POLLING_PORT,))
    assert (remaining, VIRTUAL_FUNCTION, ETHERNET) == reading.hcas
    assert 1 == len(reading.warnings)
    assert reading.warnings[0].startswith("mlx5_0 port 1 cannot be queried (EIO): ")
    assert scripted.verbs.read_port("mlx5_0", 1) is None
    assert POLLING_PORT == scripted.verbs.read_port("mlx5_0", 2)
    assert 0 == scripted.leaks()


def test_shows_a_port_without_the_gid_that_cannot_be_queried(scripted: Scripted) -> None:
    """The GID alone is left out, with a warning that names device and port."""
    scripted.fill()
    scripted.refuse_gid("mlx5_0", 2, errno.ENODEV)
    reading = scripted.verbs.read()
    nameless = msgspec.structs.replace(POLLING_PORT, gid0=None)
    assert (HDR_PORT, nameless) == reading.hcas[0].ports
    assert 1 == len(reading.warnings)
    assert reading.warnings[0].startswith("mlx5_0 port 2: GID 0 cannot be queried (ENODEV): ")
    assert nameless == scripted.verbs.read_port("mlx5_0", 2)
    assert 0 == scripted.leaks()


def test_reads_one_port_now(machine: Machine) -> None:
    """A single port is read as it is within the whole reading."""
    for hca in machine.fill():
        for port in hca.ports:
            assert port == machine.verbs.read_port(hca.name, port.number)
    assert 0 == machine.leaks()


@pytest.mark.parametrize(
    ("rdma_device", "port"),
    [("mlx5_9", 1), ("mlx5_0", 3), ("mlx5_0", 0), ("mlx5_0", -1), ("mlx5_0", 256), ("", 1)],
)
def test_has_no_answer_for_a_port_that_is_not_there(
    machine: Machine, rdma_device: str, port: int
) -> None:
    """Unknown devices and port numbers are None, never an error."""
    machine.fill()
    assert machine.verbs.read_port(rdma_device, port) is None
    assert 0 == machine.leaks()


def test_follows_a_device_that_leaves(machine: Machine) -> None:
    """A device that has left our namespace is gone from the next answer."""
    first, *others = machine.fill()
    assert first == machine.verbs.read().hcas[0]
    machine.remove(first.name)
    assert VerbsReading(hcas=tuple(others)) == machine.verbs.read()
    assert machine.verbs.read_port(first.name, 1) is None
    assert 0 == machine.leaks()
