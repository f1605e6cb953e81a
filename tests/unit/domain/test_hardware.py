"""The values that sysfs and libibverbs fill."""

from __future__ import annotations

import msgspec
import pytest

from ibdra_domain.hardware import (
    CharDeviceKind,
    IsolationDemand,
    RdmaIsolation,
    SysfsReading,
    VerbsReading,
)
from unit.domain.domain_facts import (
    PORT_GUID,
    a_char_device,
    a_function,
    a_netdev,
    an_hca,
    rdma_cm,
)


def test_an_ipoib_interface_knows_its_port() -> None:
    """By the GUID in its hardware address, which outlives every move."""
    assert PORT_GUID == a_netdev().port_guid


def test_an_ethernet_interface_knows_no_port() -> None:
    """Six bytes hold no port GUID."""
    assert a_netdev(hardware_address="a0:88:c2:12:34:56", infiniband=False).port_guid is None


def test_a_char_device_has_one_path_everywhere() -> None:
    """Programs look for it below /dev/infiniband, on the host and in the container."""
    assert "/dev/infiniband/uverbs0" == a_char_device().path
    assert "/dev/infiniband/rdma_cm" == rdma_cm().path


def test_char_device_kinds_are_the_kernels_words() -> None:
    """A sysfs entry's name starts with its kind."""
    assert ["uverbs", "umad", "issm", "rdma_cm"] == list(CharDeviceKind)


@pytest.mark.parametrize("value", [SysfsReading(), VerbsReading()], ids=["sysfs", "verbs"])
def test_a_machine_without_rdma_is_an_empty_reading(value: SysfsReading | VerbsReading) -> None:
    """Nothing found and nothing to warn of."""
    assert () == value.hcas
    assert () == value.warnings


def test_facts_survive_a_file() -> None:
    """A reading written as JSON reads back as itself."""
    reading = SysfsReading(functions=(a_function(),), hcas=(an_hca(),), netdevs=(a_netdev(),))
    again = msgspec.json.decode(msgspec.json.encode(reading), type=SysfsReading)
    assert reading == again


def test_facts_cannot_be_changed() -> None:
    """Every value is frozen: who wants another makes another."""
    port = an_hca().ports[0]
    with pytest.raises(AttributeError):
        port.lid = 3  # type: ignore[misc] # that it cannot be done is the point


@pytest.mark.parametrize(
    ("demand", "expected"),
    [
        (IsolationDemand.AUTO, None),
        (IsolationDemand.EXCLUSIVE, RdmaIsolation.EXCLUSIVE),
        (IsolationDemand.SHARED, RdmaIsolation.SHARED),
    ],
)
def test_a_demand_is_a_mode_or_whatever_is_there(
    demand: IsolationDemand, expected: RdmaIsolation | None
) -> None:
    """Only `auto` takes any mode."""
    assert expected is demand.mode
