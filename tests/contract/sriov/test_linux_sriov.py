"""The real adapters on this machine's kernel and on files: what needs no HCA."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from contract.netlink.netlink_machines import refused_with
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.vf_attributes import LinuxVfAttributes
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.sriov import VfLinkState

PF, VF = PciAddress("0000:3b:00.0"), PciAddress("0000:3b:00.1")
LOOPBACK, NOWHERE = 1, 99999
GUID = Guid("02aa:0000:0000:0001")


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it enters a network namespace")
def test_an_interface_without_vfs_has_none_to_tell_of() -> None:
    """The loopback tells of none and takes nothing; one that is not there is ENODEV."""
    attributes = LinuxVfAttributes()
    host = LinuxNamespaces(host=Path("/proc/self/ns/net")).host()
    try:
        assert () == attributes.read(LOOPBACK, netns=host)
        for index, code in ((LOOPBACK, errno.EOPNOTSUPP), (NOWHERE, errno.ENODEV)):
            with refused_with(code):
                attributes.set_node_guid(index, 0, GUID, netns=host)
            with refused_with(code):
                attributes.set_port_guid(index, 0, GUID, netns=host)
            with refused_with(code):
                attributes.set_link_state(index, 0, VfLinkState.AUTO, netns=host)
        with refused_with(errno.ENODEV):
            attributes.read(NOWHERE, netns=host)
    finally:
        host.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give files that stand for a PF, a bound VF and its driver."""
    pf, vf = (tmp_path / "bus/pci/devices" / name for name in (PF, VF))
    driver = tmp_path / "bus/pci/drivers/mlx5_core"
    for folder in (pf, vf, driver):
        folder.mkdir(parents=True)
    for path in (pf / "sriov_numvfs", pf / "sriov_drivers_autoprobe"):
        path.write_text("")
    for path in (driver / "bind", driver / "unbind"):
        path.write_text("")
    (vf / "driver").symlink_to(driver)
    return tmp_path


def test_each_switch_is_one_bare_write(root: Path) -> None:
    """The number, 0 or 1, or the address, and nothing else."""
    sriov = SysfsSriov(root)
    sriov.set_num_vfs(PF, 8)
    sriov.set_autoprobe(PF, enabled=False)
    sriov.bind(VF, "mlx5_core")
    sriov.unbind(VF)
    pf, driver = root / "bus/pci/devices" / PF, root / "bus/pci/drivers/mlx5_core"
    assert ("8", "0", VF, VF) == (
        (pf / "sriov_numvfs").read_text(),
        (pf / "sriov_drivers_autoprobe").read_text(),
        (driver / "bind").read_text(),
        (driver / "unbind").read_text(),
    )


def test_a_driver_that_is_not_loaded_is_enodev(root: Path) -> None:
    """And no file is made for it."""
    with refused_with(errno.ENODEV):
        SysfsSriov(root).bind(VF, "mlx4_core")
    assert not (root / "bus/pci/drivers/mlx4_core").exists()
