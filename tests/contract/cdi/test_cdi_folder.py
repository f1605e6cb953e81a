"""What the folder of CDI specs is to others: to runtimes that read, to drivers that write."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ibdra_adapters.cdi.files import CdiFolder
from ibdra_domain.cdi import CdiDevice, CdiSpec, ContainerEdits, decode_spec
from ibdra_domain.errors import CdiFailed
from ibdra_domain.publication import DRIVER_NAME
from unit.domain.domain_facts import a_spec

UID = "uid-1"
FILE = f"{DRIVER_NAME}_{UID}.json"
OTHER = a_spec(container_edits=ContainerEdits(env=("A=1",)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with other drivers' files in it."""
    for name in STRANGERS:
        (tmp_path / name).write_text("{}")
    return tmp_path


@pytest.fixture
def specs(folder: Path) -> CdiFolder:
    """Give our specs in it."""
    return CdiFolder(folder, driver=DRIVER_NAME)


def names_in(folder: Path) -> list[str]:
    """List a folder, sorted, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


STRANGERS = [
    "nvidia.json",
    "gpu.nvidia.com_uid-1.json",
    f"x{DRIVER_NAME}_uid-1.json",
    f"{DRIVER_NAME}.json",
    f"{DRIVER_NAME}_uid-1.yaml",
    f"{DRIVER_NAME}-x_uid-1.json",
    f"{DRIVER_NAME.upper()}_uid-1.json",
]


def test_a_spec_is_one_file_named_after_driver_and_claim(folder: Path, specs: CdiFolder) -> None:
    """Its content is the spec's own, for everybody to read and root to write."""
    specs.write(UID, a_spec())
    assert a_spec().encode() == (folder / FILE).read_bytes()
    assert 0o100644 == (folder / FILE).stat().st_mode
    assert sorted([*STRANGERS, FILE]) == names_in(folder)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_the_mode_does_not_hang_on_the_umask(folder: Path, specs: CdiFolder, umask: int) -> None:
    """A runtime that is not root must be able to read it."""
    before = os.umask(umask)
    try:
        specs.write(UID, a_spec())
        specs.write(UID, OTHER)
    finally:
        os.umask(before)
    assert 0o100644 == (folder / FILE).stat().st_mode


def test_other_drivers_files_are_not_ours(folder: Path, specs: CdiFolder) -> None:
    """None is listed, read, written or removed."""
    assert () == specs.keys()
    assert specs.read(UID) is None
    specs.remove(UID)
    specs.write(UID, a_spec())
    specs.remove(UID)
    assert sorted(STRANGERS) == names_in(folder)
    assert {"{}"} == {(folder / name).read_text() for name in STRANGERS}


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "-x"])
def test_a_file_no_key_leads_to_is_not_listed(folder: Path, specs: CdiFolder, name: str) -> None:
    """Every key that is listed can be read and removed."""
    (folder / f"{DRIVER_NAME}_{name}.json").write_text("{}")
    assert () == specs.keys()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b"\xff", b"null", b"[" * 100000], ids=range(7)
)
def test_what_is_no_spec_is_listed_and_unreadable(
    folder: Path, specs: CdiFolder, raw: bytes
) -> None:
    """It is ours to remove or to write again, so it must be seen."""
    (folder / FILE).write_bytes(raw)
    assert (UID,) == specs.keys()
    assert specs.read(UID) is None
    specs.write(UID, a_spec())
    assert a_spec() == specs.read(UID)


def test_a_slash_in_a_drivers_name_makes_no_folder(tmp_path: Path) -> None:
    """The name of a kind serves as well."""
    CdiFolder(tmp_path, driver="vendor.example/device").write(UID, a_spec())
    assert [f"vendor.example-device_{UID}.json"] == names_in(tmp_path)


def test_the_folder_is_made_and_found_by_runtimes(tmp_path: Path) -> None:
    """After a reboot it may be missing with its parents."""
    before = os.umask(0o022)
    try:
        CdiFolder(tmp_path / "run" / "cdi", driver=DRIVER_NAME).write(UID, a_spec())
    finally:
        os.umask(before)
    assert 0o40755 == (tmp_path / "run" / "cdi").stat().st_mode


CALLS = ["os.open", "os.fchmod", "os.write", "os.fsync", "Path.replace"]


def failing(code: int) -> Callable[..., Any]:
    """Give a system call that the kernel refuses."""

    def call(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("former", [None, a_spec()], ids=["new", "replaced"])
def test_a_failing_call_leaves_all_as_it_was(
    folder: Path,
    specs: CdiFolder,
    call: str,
    former: CdiSpec | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The old file whole or none, nothing beside it, and an error with path and cause."""
    if former is not None:
        specs.write(UID, former)
    before = names_in(folder)
    with monkeypatch.context() as patched:
        patched.setattr(f"ibdra_adapters.atomic.{call}", failing(errno.ENOSPC))
        with pytest.raises(CdiFailed) as raised:
            specs.write(UID, OTHER)
    assert f"{folder / FILE} could not be written (no space left on device)" == (
        raised.value.problem
    )
    assert before == names_in(folder)
    assert former == specs.read(UID)


def test_a_folder_that_does_not_sync_keeps_the_new_file(
    folder: Path, specs: CdiFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the rename the file is there, whole, though it may not survive a power cut."""
    specs.write(UID, a_spec())
    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.sync_folder", failing(errno.EIO))
        with pytest.raises(CdiFailed, match="input/output error"):
            specs.write(UID, OTHER)
    assert OTHER == specs.read(UID)
    assert sorted([*STRANGERS, FILE]) == names_in(folder)


def test_a_disk_that_fills_up_half_way_leaves_the_old_file(
    folder: Path, specs: CdiFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first part that was written does not count."""
    specs.write(UID, a_spec())
    real = os.write
    rest = iter([10, 7])

    def write(handle: int, content: memoryview) -> int:
        count = next(rest, 0)
        if not count:
            raise OSError(errno.ENOSPC, "full")
        return real(handle, content[:count])

    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.os.write", write)
        with pytest.raises(CdiFailed, match="full"):
            specs.write(UID, OTHER)
    assert a_spec() == specs.read(UID)
    assert sorted([*STRANGERS, FILE]) == names_in(folder)


def test_short_writes_are_gone_on_with(
    folder: Path, specs: CdiFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may take less than it is given."""
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.os.write", lambda h, c: real(h, c[:7]))
        specs.write(UID, OTHER)
    assert OTHER.encode() == (folder / FILE).read_bytes()


@pytest.fixture
def visible(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Collect the names a runtime would read, at each system call of a write."""
    seen: list[list[str]] = []
    for call, real in (("write", os.write), ("fsync", os.fsync), ("fchmod", os.fchmod)):

        def looking(*args: Any, real: Callable[..., Any] = real) -> Any:
            seen.append([n for n in names_in(folder) if n.endswith((".json", ".yaml"))])
            return real(*args)

        monkeypatch.setattr(f"ibdra_adapters.atomic.os.{call}", looking)
    yield seen
    monkeypatch.undo()


def test_a_file_on_its_way_has_no_name_runtimes_read(
    specs: CdiFolder, visible: list[list[str]]
) -> None:
    """Before the rename there is nothing new that ends in .json."""
    specs.write(UID, a_spec())
    *before, after = visible
    assert before
    assert [sorted(STRANGERS)] * len(before) == [sorted(names) for names in before]
    assert sorted([*STRANGERS, FILE]) == sorted(after)


def test_the_order_of_a_durable_write(
    folder: Path, specs: CdiFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content on disk, then the rename, then the folder: no other order survives a power cut."""
    order: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        where = Path(f"/proc/self/fd/{handle}").readlink()
        order.append("folder" if where == folder else "file")
        real_sync(handle)

    def replace(path: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.os.fsync", fsync)
        patched.setattr("ibdra_adapters.atomic.Path.replace", replace)
        specs.write(UID, a_spec())
        specs.remove(UID)
    assert ["file", "rename", "folder", "folder"] == order


def test_a_link_in_the_way_is_not_followed(
    folder: Path, specs: CdiFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the file's own name nor the one it is written under leads elsewhere."""
    victim = folder / "victim"
    victim.write_text("precious")
    (folder / FILE).symlink_to(victim)
    real = os.open

    def blocked(path: Path, flags: int, mode: int = 0o777) -> int:
        if path.suffix == ".tmp":
            path.symlink_to(victim)
        return real(path, flags, mode)

    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.os.open", blocked)
        with pytest.raises(CdiFailed):
            specs.write(UID, a_spec())
    specs.write(UID, a_spec())
    assert "precious" == victim.read_text()
    assert not (folder / FILE).is_symlink()


def test_a_reader_never_sees_half_a_file(folder: Path, specs: CdiFolder) -> None:
    """While specs of different length take turns, each reading is one of them, whole."""
    names = [f"device-{n}" for n in range(200)]
    long = a_spec(
        devices=tuple(
            CdiDevice(name=n, container_edits=ContainerEdits(env=("A=1",))) for n in names
        )
    )
    choices = (a_spec(), long)
    specs.write(UID, choices[0])
    strange: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            raw = (folder / FILE).read_bytes()
            if raw not in wanted:
                strange.append(raw)

    wanted = {spec.encode() for spec in choices}
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(100):
            specs.write(UID, choices[turn % 2])
    finally:
        done.set()
        reader.join()
    assert [] == strange
    assert decode_spec((folder / FILE).read_bytes()) in choices
    assert json.loads((folder / FILE).read_bytes())
