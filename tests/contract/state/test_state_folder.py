"""What the folder of records does when the disk, the power or a human fails it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.state.state_records import OTHER, UID, attached_record, prepared_record
from ibdra_adapters.state.boot import read_boot_id
from ibdra_adapters.state.files import StateFolder
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.state import Loaded
from ibdra_domain.records import ClaimRecord

FILE = f"{UID}.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder that is not made yet."""
    return tmp_path / "state"


@pytest.fixture
def store(folder: Path) -> StateFolder[ClaimRecord]:
    """Give the records in it."""
    return StateFolder(folder, ClaimRecord)


@pytest.fixture
def raw(store: StateFolder[ClaimRecord], folder: Path) -> bytes:
    """Give the bytes of a full record, saved beside another one."""
    store.save(OTHER, prepared_record(OTHER))
    store.save(UID, attached_record())
    return (folder / FILE).read_bytes()


def names_in(folder: Path) -> list[str]:
    """List a folder, sorted, hidden files too."""
    return sorted(entry.name for entry in folder.iterdir())


def file_of(body: bytes, **changes: Any) -> bytes:
    """Write a record's file, with these things changed in the envelope."""
    envelope = {"version": 1, "checksum": hashlib.sha256(body).hexdigest()} | changes
    return msgspec.json.encode({**envelope, "record": msgspec.Raw(body)}) + b"\n"


BODY = msgspec.json.encode(attached_record())


@pytest.mark.parametrize("first", ["load", "save"])
@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_records_are_roots_alone(
    store: StateFolder[ClaimRecord], folder: Path, first: str, umask: int
) -> None:
    """Folder 0700 and files 0600, whatever comes first and whatever the umask."""
    before = os.umask(umask)
    try:
        if first == "load":
            store.load()
        store.save(UID, prepared_record())
        store.save(UID, attached_record())
    finally:
        os.umask(before)
    assert 0o40700 == folder.stat().st_mode
    assert 0o100600 == (folder / FILE).stat().st_mode


def test_the_file_is_as_documented(raw: bytes) -> None:
    """One line of JSON: version, checksum of the record, the record."""
    assert file_of(BODY) == raw
    assert 1 == raw.count(b"\n")


WRONG = {
    "empty": b"",
    "blank": b"\n",
    "not JSON": b"record\n",
    "zeros": bytes(512),
    "a bare record": BODY,
    "older version": file_of(BODY, version=0),
    "newer version": file_of(BODY, version=2),
    "version as text": file_of(BODY, version="1"),
    "wrong checksum": file_of(BODY, checksum=hashlib.sha256(b"").hexdigest()),
    "no checksum": file_of(BODY, checksum=""),
    "checksum in capitals": file_of(BODY, checksum=hashlib.sha256(BODY).hexdigest().upper()),
    "another record": file_of(b'{"boot_id":"boot-1"}'),
    "record of nothing": file_of(b"null"),
    "record not UTF-8": file_of(b'"\xff"'),
    "record too deep": file_of(b"[" * 100_000 + b"]" * 100_000),
    "two records": file_of(BODY) * 2,
}


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_cannot_be_trusted_is_set_aside(
    store: StateFolder[ClaimRecord], folder: Path, content: bytes
) -> None:
    """Kept as it was for a human, named with its path, and out of the way; the other lives."""
    (folder / FILE).write_bytes(content)
    loaded = store.load()
    assert {OTHER: prepared_record(OTHER)} == loaded.records
    (warning,) = loaded.warnings
    assert warning.startswith(f"{folder / FILE} is not a record of this driver (")
    assert warning.endswith(f"): it was set aside as {UID}.corrupt")
    assert sorted([f"{OTHER}.json", f"{UID}.corrupt"]) == names_in(folder)
    assert content == (folder / f"{UID}.corrupt").read_bytes()


def test_the_reason_is_in_the_warning(store: StateFolder[ClaimRecord], folder: Path) -> None:
    """A newer driver's file is told from a broken one."""
    folder.mkdir()
    (folder / "a.json").write_bytes(file_of(BODY, version=2))
    (folder / "b.json").write_bytes(file_of(BODY, checksum="0" * 64))
    newer, broken = store.load().warnings
    assert "(version 2 is not 1)" in newer
    assert "(the checksum does not fit)" in broken


def trusted(store: StateFolder[ClaimRecord], content: bytes) -> bool:
    """Tell whether a file's content would be taken for a record."""
    with contextlib.suppress(ValueError, RecursionError, msgspec.MsgspecError):
        store._decoded(content)
        return True
    return False


def test_no_truncated_record_is_trusted(store: StateFolder[ClaimRecord], raw: bytes) -> None:
    """At whatever length a file ends; without its last newline the record is whole."""
    assert [len(raw) - 1] == [n for n in range(len(raw)) if trusted(store, raw[:n])]


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF])
def test_no_flipped_byte_goes_unnoticed(
    store: StateFolder[ClaimRecord], raw: bytes, flip: int
) -> None:
    """Not one bit of a file can change without its being seen."""
    changed = ((n, raw[:n] + bytes([raw[n] ^ flip]) + raw[n + 1 :]) for n in range(len(raw)))
    assert [] == [n for n, content in changed if trusted(store, content)]


def test_damage_is_seen_by_loading(
    store: StateFolder[ClaimRecord], folder: Path, raw: bytes
) -> None:
    """What holds of a file's content holds of the folder: nothing raises, the other lives."""
    step = max(1, len(raw) // 25)
    for n in range(0, len(raw), step):
        for content in (raw[:n], raw[:n] + bytes([raw[n] ^ 0x10]) + raw[n + 1 :]):
            (folder / FILE).write_bytes(content)
            loaded = store.load()
            assert {OTHER: prepared_record(OTHER)} == loaded.records
            assert [True] == [FILE in line for line in loaded.warnings]


def test_the_latest_corrupt_file_is_kept(store: StateFolder[ClaimRecord], folder: Path) -> None:
    """A key can go bad twice; loading never stops at that."""
    folder.mkdir()
    for content in (b"first", b"second"):
        (folder / FILE).write_bytes(content)
        assert 1 == len(store.load().warnings)
    assert b"second" == (folder / f"{UID}.corrupt").read_bytes()
    assert Loaded({}, set_aside=frozenset({UID})) == store.load()


@pytest.mark.parametrize("name", ["a b.json", ".hidden.json", "-x.json", "ä.json"])
def test_a_name_that_is_no_key_is_no_record(
    store: StateFolder[ClaimRecord], folder: Path, name: str
) -> None:
    """Whatever is loaded can be removed again by its key."""
    folder.mkdir()
    (folder / name).write_bytes(file_of(BODY))
    loaded = store.load()
    assert {} == loaded.records
    assert [True] == [f"{folder / name}" in line for line in loaded.warnings]


def test_a_folder_among_the_records_costs_none(
    store: StateFolder[ClaimRecord], folder: Path
) -> None:
    """It is set aside as any other thing that is no record."""
    store.save(OTHER, prepared_record(OTHER))
    (folder / FILE).mkdir()
    loaded = store.load()
    assert {OTHER: prepared_record(OTHER)} == loaded.records
    assert [True] == [FILE in line for line in loaded.warnings]
    assert (folder / f"{UID}.corrupt").is_dir()


@pytest.mark.usefixtures("raw")
def test_a_record_that_goes_while_the_folder_is_read_is_gone(
    store: StateFolder[ClaimRecord], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was removed: no reason to fail, nor to warn."""
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == FILE:
            path.unlink()
        return real(path)

    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.state.files.Path.read_bytes", read_bytes)
        assert Loaded({OTHER: prepared_record(OTHER)}) == store.load()
    assert [f"{OTHER}.json"] == names_in(folder)


@pytest.mark.usefixtures("raw")
def test_a_disk_that_does_not_read_is_no_corrupt_record(
    store: StateFolder[ClaimRecord], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting it aside would lose a device that is in a pod: the load fails instead."""
    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.state.files.Path.read_bytes", failing(errno.EIO))
        with pytest.raises(StateFailed, match="could not be read \\(input/output error\\)"):
            store.load()
    assert {UID, OTHER} == set(store.load().records)
    assert sorted([FILE, f"{OTHER}.json"]) == names_in(folder)


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.EACCES])
def test_the_one_file_that_cannot_be_read_is_named(
    store: StateFolder[ClaimRecord], folder: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the cause, and how to get on without giving its device away."""
    real = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        return failing(code)() if path.name == FILE else real(path)

    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.state.files.Path.read_bytes", read_bytes)
        with pytest.raises(StateFailed) as raised:
            store.load()
    cause = os.strerror(code).lower()
    assert f"{folder / FILE} could not be read ({cause})" == raised.value.problem
    assert "move it away once no pod uses its claim" in raised.value.remedy
    assert {UID, OTHER} == set(store.load().records)


@pytest.mark.usefixtures("raw")
def test_a_corrupt_file_that_cannot_be_set_aside_is_named(
    store: StateFolder[ClaimRecord], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load fails: it must not be told that it was set aside."""
    (folder / FILE).write_bytes(b"half")
    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.state.files.Path.replace", failing(errno.EROFS))
        with pytest.raises(StateFailed) as raised:
            store.load()
    assert f"{folder / FILE} could not be set aside (read-only file system)" == (
        raised.value.problem
    )
    assert [FILE] == [Path(line.split()[0]).name for line in store.load().warnings]


@pytest.mark.usefixtures("raw")
def test_leftovers_of_interrupted_writes_are_cleaned(
    store: StateFolder[ClaimRecord], folder: Path
) -> None:
    """Without a word, whatever process left them; a human's files stay."""
    for name in (f".{FILE}.1.tmp", f".{FILE}.99999.tmp", "notes.txt", "old.corrupt", ".keep"):
        (folder / name).write_bytes(b"half")
    assert () == store.load().warnings
    assert sorted([FILE, f"{OTHER}.json", "notes.txt", "old.corrupt", ".keep"]) == names_in(folder)


def failing(code: int) -> Callable[..., Any]:
    """Give a system call that the kernel refuses."""

    def call(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.usefixtures("raw")
@pytest.mark.parametrize("call", ["os.open", "os.fchmod", "os.write", "os.fsync", "Path.replace"])
def test_an_interrupted_save_leaves_the_old_record(
    store: StateFolder[ClaimRecord], folder: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole, with nothing beside it, and the error has path and cause."""
    with monkeypatch.context() as patched:
        patched.setattr(f"ibdra_adapters.atomic.{call}", failing(errno.ENOSPC))
        with pytest.raises(StateFailed) as raised:
            store.save(UID, prepared_record())
    assert f"{folder / FILE} could not be written (no space left on device)" == (
        raised.value.problem
    )
    assert sorted([FILE, f"{OTHER}.json"]) == names_in(folder)
    assert Loaded({OTHER: prepared_record(OTHER), UID: attached_record()}) == store.load()


@pytest.mark.usefixtures("raw")
def test_a_failing_removal_keeps_the_record(
    store: StateFolder[ClaimRecord], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be forgotten is still known."""
    with monkeypatch.context() as patched:
        patched.setattr("ibdra_adapters.atomic.Path.unlink", failing(errno.EROFS))
        with pytest.raises(StateFailed, match=f"{folder / FILE} could not be removed"):
            store.remove(UID)
    assert {UID, OTHER} == set(store.load().records)


def test_the_boot_is_told_by_the_kernel(tmp_path: Path) -> None:
    """Without its blank ends; where it cannot be read, the error names the file."""
    (tmp_path / "boot_id").write_text("boot-1\n")
    assert "boot-1" == read_boot_id(tmp_path / "boot_id")
    with pytest.raises(StateFailed, match=f"{tmp_path / 'gone'} cannot be read \\(no such file"):
        read_boot_id(tmp_path / "gone")


def test_peeking_reads_what_can_be_read_and_touches_nothing(tmp_path: Path) -> None:
    """A corrupt record is left out and left there; a folder that is not there is not made."""
    assert {} == StateFolder(tmp_path / "none", ClaimRecord).peek()
    assert not (tmp_path / "none").exists()
    folder = StateFolder(tmp_path, ClaimRecord)
    folder.save(UID, prepared_record(UID))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / ".new.tmp").write_text("half")
    before = sorted(tmp_path.iterdir())
    assert {UID: prepared_record(UID)} == folder.peek()
    assert before == sorted(tmp_path.iterdir())


def test_inspecting_tells_all_and_touches_nothing(
    store: StateFolder[ClaimRecord], folder: Path, raw: bytes
) -> None:
    """Good records, a line about each bad one, what was set aside before; files stay."""
    assert Loaded({}) == StateFolder(folder / "none", ClaimRecord).inspect()
    (folder / FILE).write_bytes(raw[:-9])
    (folder / "old.corrupt").write_bytes(b"")
    before = names_in(folder)
    found = store.inspect()
    assert (OTHER,) == tuple(found.records)
    assert frozenset({"old"}) == found.set_aside
    (line,) = found.warnings
    assert line.startswith(f"{folder / FILE} is not a record of this driver")
    assert before == names_in(folder)
