"""Names that are no text: the kernel takes any byte in an interface's name but a few."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.hardware import VerbsReading
from ibdra_domain.inventory import take_inventory
from ibdra_domain.publication import to_dra_device

FUNCTION = "bus/pci/devices/0000:3b:00.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Write the least that is a published port."""
    function = tmp_path / FUNCTION
    (function / "net").mkdir(parents=True)
    (function / "class").write_text("0x020700\n")
    port = tmp_path / "class/infiniband/mlx5_0/ports/1"
    port.mkdir(parents=True)
    (port / "link_layer").write_text("InfiniBand\n")
    (tmp_path / "class/infiniband/mlx5_0/device").symlink_to("../../../" + FUNCTION)
    return tmp_path


@pytest.mark.parametrize("name", [b"ib\xff", b"ib\x07", b"\xe2\x80\xa8"], ids=ascii)
@pytest.mark.parametrize("folder", [f"{FUNCTION}/net", "class/infiniband", "bus/pci/devices"])
def test_a_name_that_is_no_text_is_left_out(root: Path, folder: str, name: bytes) -> None:
    """The entry is warned of in plain letters, and the port is published without it."""
    (root / folder / os.fsdecode(name)).mkdir()
    reading = SysfsTree(root).read()
    (device,) = take_inventory(reading, VerbsReading()).devices
    assert device.netdev is None
    assert msgspec.json.encode(to_dra_device(device))
    (about,) = [w for w in reading.warnings if "cannot be printed" in w]
    assert about.startswith(f"{folder}: ")
    assert all(warning.isprintable() for warning in reading.warnings)


def test_a_link_to_no_text_is_no_link(root: Path) -> None:
    """A driver whose name cannot be printed is an unknown one."""
    (root / FUNCTION / "driver").symlink_to(os.fsdecode(b"../drivers/\xff"))
    reading = SysfsTree(root).read()
    assert reading.functions[0].driver is None
    assert any(w.startswith(f"{FUNCTION}/driver: ") for w in reading.warnings)
    assert all(warning.isprintable() for warning in reading.warnings)
