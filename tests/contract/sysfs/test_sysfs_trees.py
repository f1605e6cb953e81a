"""The trees of nine machines, read and compared with what they must give."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_adapters.sysfs.reader import SysfsTree
from ibdra_domain.errors import HardwareUnreadable
from ibdra_domain.hardware import CharDeviceKind, SysfsReading, VerbsReading
from ibdra_domain.inventory import IbDevice, Inventory, Presence, take_inventory
from ibdra_domain.publication import DRIVER_NAME, attributes_of, to_dra_device
from ibdra_domain.slices import to_slices

HERE = Path(__file__).parent
TREES = HERE / "trees"
EXPECTED = HERE / "expected"
NAMES = sorted(folder.name for folder in TREES.iterdir() if folder.is_dir())


def inventory_of(reading: SysfsReading) -> Inventory:
    """Draw the conclusions of a walk, without libibverbs."""
    return take_inventory(reading, VerbsReading())


def test_every_tree_has_an_answer_and_every_answer_a_tree() -> None:
    """No tree is read without being compared, no answer is forgotten."""
    assert NAMES == sorted(file.stem for file in EXPECTED.glob("*.json"))
    assert len(NAMES) >= 9


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_gives_the_devices_it_must(name: str) -> None:
    """Order, names and attributes are exactly those written down."""
    expected: list[dict[str, Any]] = json.loads((EXPECTED / f"{name}.json").read_text())
    devices = inventory_of(SysfsTree(TREES / name).read()).devices
    found = [{"name": d.name, "attributes": attributes_of(d)} for d in devices]
    assert [d["name"] for d in expected] == [d["name"] for d in found]
    assert expected == found


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"garbage"}))
def test_a_healthy_tree_gives_no_warning(name: str) -> None:
    """What a real machine leaves out is no trouble; a warning a boot would drown the others."""
    assert () == SysfsTree(TREES / name).read().warnings


def into_a_pod(root: Path, device: IbDevice) -> None:
    """Leave of a device what the host sees while it is in another namespace."""
    (root / "class/infiniband" / device.rdma_device).unlink()
    shutil.rmtree(root / "bus/pci/devices" / device.pci / "infiniband")


@pytest.mark.parametrize(
    ("name", "pci_class"),
    [
        ("fdr-mlx4-dual-port", "0x028000"),
        ("hpc-hdr100-splitter", "0x020700"),
        ("hpc-hdr100-splitter", "0x020800"),
    ],
    ids=["ConnectX-3 VPI", "InfiniBand", "Omni-Path"],
)
def test_a_device_in_a_pod_has_not_left_the_machine(
    tmp_path: Path, name: str, pci_class: str
) -> None:
    """Whatever its PCI class: its function is there; without the function it is gone."""
    root = tmp_path / "sys"
    shutil.copytree(TREES / name, root, symlinks=True)
    device = inventory_of(SysfsTree(root).read()).devices[0]
    function = root / "bus/pci/devices" / device.pci
    (function / "class").write_text(f"{pci_class}\n")
    into_a_pod(root, device)
    for presence in (Presence.AWAY, Presence.GONE):
        found = take_inventory(SysfsTree(root).read(), VerbsReading(), remembered=[device])
        assert replace(device, presence=presence) == found.device(device.name)
        function.unlink(missing_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_pci_function_is_listed(name: str) -> None:
    """Network cards and disks too: which of them an HCA was, its class does not always tell."""
    listed = {entry.name for entry in (TREES / name / "bus/pci/devices").glob("*:*:*.*")}
    reading = SysfsTree(TREES / name).read()
    assert {function.address for function in reading.functions} <= reading.addresses
    assert listed >= reading.addresses
    assert listed == reading.addresses or name == "garbage"


BROKEN = [
    "class/infiniband/mlx5_0/ports/300",
    "class/infiniband/mlx5_0/ports/abc",
    "class/infiniband/mlx5_0/ports/2/state",
    "class/infiniband/mlx5_2/node_guid",
    "class/infiniband/mlx5_2/fw_ver",
    "class/infiniband/mlx5_2/board_id",
    "class/infiniband/mlx5_2/ports/1/lid",
    "class/infiniband/mlx5_2/ports/1/gids/0",
    "class/infiniband/mlx5_4/ports/1/link_layer",
    "class/infiniband/mlx5_5/fw_ver",
    "class/infiniband/mlx5_5/ports/1/rate",
    "class/infiniband/mlx5_5/ports/1/sm_lid",
    "class/infiniband/mlx5_6/ports",
    "class/infiniband/mlx5_7/ports",
    "class/infiniband/mlx5_8/ports",
    "bus/pci/devices/0000:5e:00.0/numa_node",
    "bus/pci/devices/0000:5e:00.0/sriov_totalvfs",
    "bus/pci/devices/0000:d8:00.0/vendor",
    "module/ib_core/parameters/netns_mode",
]


@pytest.mark.parametrize("path", BROKEN)
def test_garbage_is_named(path: str) -> None:
    """Each broken entry has exactly one warning, which begins with its path."""
    warnings = SysfsTree(TREES / "garbage").read().warnings
    assert 1 == sum(line.startswith(f"{path}: ") for line in warnings)


def test_every_warning_names_a_file_of_the_tree() -> None:
    """A warning begins with a path: the broken entry, or what is missing below one there is."""
    garbage = TREES / "garbage"
    for line in SysfsTree(garbage).read().warnings:
        path, colon, why = line.partition(": ")
        assert (": ", True) == (colon, bool(why))
        assert path.startswith(("class/", "bus/", "module/"))
        above = [garbage / path, *(garbage / path).parents][:3]
        assert any(os.path.lexists(entry) for entry in above)


def test_garbage_among_the_char_devices_is_passed_over() -> None:
    """A node without numbers is none; the good HCA's nodes are listed."""
    found = SysfsTree(TREES / "garbage").char_devices()
    assert all(node.major > 0 for node in found)
    assert "mlx5_0" in {node.rdma_device for node in found if node.kind is CharDeviceKind.UVERBS}


def test_junk_among_the_pkeys_is_passed_over() -> None:
    """What is not an index is no entry, what is not a key is an empty one."""
    assert () == SysfsTree(TREES / "garbage").pkey_table("mlx5_0", 1)


@pytest.mark.parametrize("root", ["nowhere", "file"])
def test_without_a_tree_there_is_no_reading(tmp_path: Path, root: str) -> None:
    """A root that is missing or no folder is named, with the cause."""
    (tmp_path / "file").write_text("")
    with pytest.raises(HardwareUnreadable) as raised:
        SysfsTree(tmp_path / root).read()
    cause = {"nowhere": "no such file or directory", "file": "not a directory"}[root]
    assert f"{tmp_path / root} cannot be read ({cause})" == raised.value.problem


def test_an_empty_tree_is_a_machine_without_rdma(tmp_path: Path) -> None:
    """Nothing there is no trouble."""
    assert SysfsReading() == SysfsTree(tmp_path).read()
    assert () == SysfsTree(tmp_path).char_devices()


@pytest.mark.parametrize("name", NAMES)
def test_a_walk_opens_each_file_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand VFs are twenty thousand files: none is read twice, by whichever link."""
    opened: Counter[str] = Counter()
    real_open = os.open

    def recording(path: str, flags: int, mode: int = 0o777) -> int:
        if Path(path).is_file():
            opened[os.path.realpath(path)] += 1
        return real_open(path, flags, mode)

    monkeypatch.setattr("ibdra_adapters.sysfs.files.os.open", recording)
    SysfsTree(TREES / name).read()
    monkeypatch.undo()
    assert opened
    assert {} == {path: count for path, count in opened.items() if count > 1}


EMPTY = "/proc/self/task/nobody"  # outside the tree, and nothing can be made there
FUZZED = TREES / "xdr-smi-planes"
RDMA_DEVICE = "mlx5_0"


def _entries() -> list[str]:
    """List every file, link and folder of the tree, following no link."""
    found = []
    for folder, folders, files in os.walk(FUZZED):
        found += [os.path.relpath(Path(folder, name), FUZZED) for name in folders + files]
    return sorted(found)


ENTRIES = _entries()
CONTENTS = st.one_of(
    st.binary(max_size=64),
    st.text(max_size=16).map(lambda text: text.encode()),
    st.integers(-(10**20), 10**20).map(lambda number: b"%d\n" % number),
    st.integers(0, 1 << 80).map(lambda number: b"0x%x\n" % number),
    st.sampled_from([b"", b"\n", b"\0", b"a" * 70000, "٣".encode(), b"1_0", b"0x", b"-", b"4: "]),
)
DAMAGES = st.one_of(
    CONTENTS,
    st.sampled_from(["delete", "folder", "dangling", "loop", "fifo", "outside"]),
)
STRANGE_NAMES = st.one_of(
    st.sampled_from(
        ["0", "007", "65535", "65536", "9" * 12, "9" * 200, "-1", "٣", "²", " ", "a:b"]
    ),
    st.binary(min_size=1, max_size=8)
    .filter(lambda raw: not set(raw) & set(b"\0/") and raw not in (b".", b".."))
    .map(os.fsdecode),
)
FOLDERS = [entry for entry in ENTRIES if (FUZZED / entry).is_dir()]


def damage(path: Path, how: bytes | str) -> None:
    """Put something else where a file, link or folder was."""
    assert not path.is_relative_to(TREES)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if isinstance(how, bytes):
        path.write_bytes(how)
    elif how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("../nowhere/at/all")
    elif how == "loop":
        path.symlink_to(path.name)
    elif how == "outside":
        path.symlink_to(EMPTY)
    elif how == "fifo":
        os.mkfifo(path)


def within(path: Path, root: Path) -> bool:
    """Tell whether a path can be changed without leaving the tree by a link."""
    folder = path.parent
    return folder.is_dir() and folder.resolve().is_relative_to(root.resolve())


def restore(root: Path, entries: Iterable[str]) -> None:
    """Put damaged entries back as they are in the tree, the outer ones first."""
    for entry in sorted(set(entries)):
        if within(root / entry, root):
            damage(root / entry, "delete")
        if (FUZZED / entry).is_symlink():
            (root / entry).symlink_to((FUZZED / entry).readlink())
        elif (FUZZED / entry).is_dir():
            shutil.copytree(FUZZED / entry, root / entry, symlinks=True)
        elif (FUZZED / entry).is_file():
            shutil.copyfile(FUZZED / entry, root / entry)


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tree once: examples put back what they have damaged."""
    root = tmp_path_factory.mktemp("damaged") / "sys"
    shutil.copytree(FUZZED, root, symlinks=True)
    return root


@settings(max_examples=100)
@given(
    damages=st.lists(st.tuples(st.sampled_from(ENTRIES), DAMAGES), max_size=12),
    strangers=st.lists(
        st.tuples(st.sampled_from(FOLDERS), STRANGE_NAMES, DAMAGES.filter(lambda d: d != "delete")),
        max_size=3,
    ),
)
def test_no_damage_makes_reading_raise(
    copied: Path,
    damages: list[tuple[str, bytes | str]],
    strangers: list[tuple[str, str, bytes | str]],
) -> None:
    """Whatever becomes of a tree's files, there is a reading, and it can be published."""
    changes = [*damages, *((f"{folder}/{name}", how) for folder, name, how in strangers)]
    done = []
    try:
        for entry, how in changes:
            if within(copied / entry, copied):
                done.append(entry)
                damage(copied / entry, how)
        tree = SysfsTree(copied)
        reading = tree.read()
        devices = [to_dra_device(d) for d in inventory_of(reading).devices]
        assert msgspec.json.encode(to_slices(devices, node="node-1", driver=DRIVER_NAME))
        assert all(": " in line for line in reading.warnings)
        assert all(
            1 <= node.port <= 255
            for node in tree.char_devices()
            if node.kind in (CharDeviceKind.UMAD, CharDeviceKind.ISSM)
        )
        tree.traffic_class(RDMA_DEVICE, 1)
        with contextlib.suppress(HardwareUnreadable):
            assert len(tree.pkey_table(RDMA_DEVICE, 1)) <= 0x10000
    finally:
        restore(copied, done)


@pytest.mark.parametrize("index", ["65536", "999999999999", "9" * 200, "٣", "007"])
def test_a_name_that_is_no_index_does_not_size_the_table(tmp_path: Path, index: str) -> None:
    """An index has 16 bits; a stray number must not cost the memory it names."""
    pkeys = tmp_path / "class/infiniband/mlx5_0/ports/1/pkeys"
    pkeys.mkdir(parents=True)
    (pkeys / "0").write_text("0xffff\n")
    (pkeys / index).write_text("0x8001\n")
    assert (0xFFFF,) == SysfsTree(tmp_path).pkey_table("mlx5_0", 1)


@pytest.mark.parametrize("name", ["x" * 300, "..", "mlx5_9"])
def test_a_device_that_cannot_be_looked_up_has_no_table(tmp_path: Path, name: str) -> None:
    """Whatever the kernel says about the path, it is one error, which names it."""
    with pytest.raises(HardwareUnreadable, match=f"{name} port 1 cannot be read from"):
        SysfsTree(tmp_path).pkey_table(name, 1)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    """In place of any file, a FIFO nobody writes to is garbage like any other."""
    root = tmp_path / "sys"
    shutil.copytree(FUZZED, root, symlinks=True)
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            damage(path, "fifo")
    switch = root / f"class/infiniband/{RDMA_DEVICE}/tc/1/traffic_class"
    switch.parent.mkdir(parents=True)
    os.mkfifo(switch)
    tree = SysfsTree(root)
    assert () == inventory_of(tree.read()).devices
    assert () == tree.char_devices()
    assert () == tree.pkey_table(RDMA_DEVICE, 1)
    assert -1 == tree.traffic_class(RDMA_DEVICE, 1)
