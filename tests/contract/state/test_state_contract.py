"""The contract of the ``StateStore`` port, for the fake and for the folder alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from contract.state.state_records import OTHER, UID, attached_record, prepared_record
from ibdra_adapters.state.fake import FakeStateStore
from ibdra_adapters.state.files import StateFolder
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.state import Loaded, StateStore
from ibdra_domain.records import ClaimRecord

BAD_KEYS = ["", "/", "a/b", "..", ".hidden", "-dash", "a b", "a\n", "a\0", "ä", "x" * 201]


class Shelf(Protocol):
    """Where records are kept: opened again as a driver does after its death."""

    def open(self) -> StateStore[ClaimRecord]: ...
    def spoil(self, key: str, raw: bytes) -> None: ...
    def smash(self) -> None: ...


class FakeShelf:
    """The shipped fake under the suite; a new one on the same bytes is a restart."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.aside: set[str] = set()
        self.broken = False

    def open(self) -> StateStore[ClaimRecord]:
        fake = FakeStateStore(ClaimRecord)
        fake.files = self.files
        fake.aside = self.aside
        fake.broken = self.broken
        return fake

    def spoil(self, key: str, raw: bytes) -> None:
        self.files[key] = raw

    def smash(self) -> None:
        self.broken = True


class FolderShelf:
    """The real folder, not made yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> StateStore[ClaimRecord]:
        return StateFolder(self.folder, ClaimRecord)

    def spoil(self, key: str, raw: bytes) -> None:
        self.folder.mkdir(exist_ok=True, parents=True)
        (self.folder / f"{key}.json").write_bytes(raw)

    def smash(self) -> None:
        self.folder.symlink_to(self.folder.name)


@pytest.fixture(params=["fake", "folder"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    """Give an empty shelf of each kind."""
    return FakeShelf() if request.param == "fake" else FolderShelf(tmp_path / "state")


def test_starts_with_nothing(shelf: Shelf) -> None:
    """A node's first start is no trouble, and there is nothing to remove."""
    assert Loaded({}) == shelf.open().load()
    shelf.open().remove(UID)
    assert Loaded({}) == shelf.open().load()


@pytest.mark.parametrize("record", [prepared_record(), attached_record()])
def test_a_record_survives_the_driver(shelf: Shelf, record: ClaimRecord) -> None:
    """Whoever opens the store next finds all of it."""
    shelf.open().save(UID, record)
    assert Loaded({UID: record}) == shelf.open().load()
    assert Loaded({UID: record}) == shelf.open().load()


def test_a_second_record_replaces_the_first(shelf: Shelf) -> None:
    """One key, one record: the last one; saving it again changes nothing."""
    store = shelf.open()
    store.save(UID, prepared_record())
    store.save(UID, attached_record())
    store.save(UID, attached_record())
    assert {UID: attached_record()} == store.load().records


def test_records_live_apart(shelf: Shelf) -> None:
    """Removing one, once or twice, leaves the others."""
    store = shelf.open()
    records = {key: prepared_record(key) for key in (UID, OTHER, "a", "a.json", "A_b", "x" * 200)}
    for key, record in records.items():
        store.save(key, record)
    assert records == shelf.open().load().records
    store.remove("a")
    store.remove("a")
    del records["a"]
    assert records == shelf.open().load().records


def test_a_removed_key_can_be_saved_again(shelf: Shelf) -> None:
    """A claim may be prepared again after it was unprepared."""
    store = shelf.open()
    store.save(UID, attached_record())
    store.remove(UID)
    store.save(UID, prepared_record())
    assert {UID: prepared_record()} == shelf.open().load().records


@pytest.mark.parametrize("action", ["save", "remove"])
@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused(shelf: Shelf, key: str, action: str) -> None:
    """Nothing but a plain name becomes part of a file name, and the error shows it."""
    store = shelf.open()
    actions: dict[str, Callable[[], None]] = {
        "save": lambda: store.save(key, prepared_record()),
        "remove": lambda: store.remove(key),
    }
    with pytest.raises(StateFailed) as raised:
        actions[action]()
    assert f"{key!r} cannot be part of a file name" == raised.value.problem
    assert Loaded({}) == store.load()


SPOILT = {
    "empty": b"",
    "not JSON": b"record",
    "not text": b"\xff\xfe",
    "another document": b"{}",
    "a list": b"[]",
    "null": b"null",
    "deep": b'{"record":' + b"[" * 100_000,
}


@pytest.mark.parametrize("raw", SPOILT.values(), ids=SPOILT)
def test_a_corrupt_record_costs_no_other(shelf: Shelf, raw: bytes) -> None:
    """It is warned of once and left out; its key is told until it has a record again."""
    store = shelf.open()
    store.save(OTHER, attached_record(OTHER))
    shelf.spoil(UID, raw)
    loaded = shelf.open().load()
    assert {OTHER: attached_record(OTHER)} == loaded.records
    assert 1 == len(loaded.warnings)
    assert UID in loaded.warnings[0]
    assert {UID} == loaded.set_aside
    expected = Loaded({OTHER: attached_record(OTHER)}, set_aside=frozenset({UID}))
    assert expected == shelf.open().load()
    store.save(UID, prepared_record())
    again = shelf.open().load()
    assert {UID, OTHER} == set(again.records)
    assert frozenset() == again.set_aside


@pytest.mark.parametrize("name", ["über", "0f6b (copy)"])
def test_what_was_set_aside_can_be_removed_whatever_its_name(shelf: Shelf, name: str) -> None:
    """A name that no record can have is nobody's claim; without this it stayed for ever."""
    shelf.spoil(name, b"{}")
    store = shelf.open()
    assert {name} == store.load().set_aside
    store.remove(name)
    assert Loaded({}) == shelf.open().load()
    with pytest.raises(StateFailed):
        store.remove(name)


def test_every_corrupt_record_is_named(shelf: Shelf) -> None:
    """One line each."""
    for key in ("a", "b", "c"):
        shelf.spoil(key, b"")
    warnings = shelf.open().load().warnings
    assert 3 == len(warnings)
    assert [True] * 3 == [key in line for key, line in zip("abc", warnings, strict=True)]


@pytest.mark.parametrize("action", ["load", "save", "remove"])
def test_a_broken_store_says_so(shelf: Shelf, action: str) -> None:
    """Every call fails as StateFailed, none silently."""
    shelf.smash()
    store = shelf.open()
    actions: dict[str, Callable[[], object]] = {
        "load": store.load,
        "save": lambda: store.save(UID, prepared_record()),
        "remove": lambda: store.remove(UID),
    }
    with pytest.raises(StateFailed):
        actions[action]()
