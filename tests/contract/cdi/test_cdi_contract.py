"""The contract of the ``CdiSpecs`` port, for the fake and for the folder alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ibdra_adapters.cdi.fake import FakeCdiSpecs
from ibdra_adapters.cdi.files import CdiFolder
from ibdra_domain.cdi import CdiDevice, CdiSpec, ContainerEdits
from ibdra_domain.errors import CdiFailed, InvalidIdentifier
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.publication import DRIVER_NAME
from unit.domain.domain_facts import a_spec

UID = "7f9d4b2e-6a51-4c0e-9f64-0b9f1a2c3d4e"
OTHER = a_spec(container_edits=ContainerEdits(env=("A=1",)))
BAD_KEYS = ["", "/", "a/b", "..", ".hidden", "-dash", "a b", "a\n", "a\0", "ä", "x" * 201]


@pytest.fixture(params=["fake", "folder"])
def specs(request: pytest.FixtureRequest, tmp_path: Path) -> CdiSpecs:
    """Give an empty store of each kind; the folder is not made yet."""
    if request.param == "fake":
        return FakeCdiSpecs()
    return CdiFolder(tmp_path / "run" / "cdi", driver=DRIVER_NAME)


@pytest.fixture(params=["fake", "folder"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> CdiSpecs:
    """Give a store of each kind that nothing can be done with."""
    if request.param == "fake":
        fake = FakeCdiSpecs()
        fake.broken = True
        return fake
    loop = tmp_path / "loop"
    loop.symlink_to(loop.name)
    return CdiFolder(loop, driver=DRIVER_NAME)


def test_starts_with_nothing(specs: CdiSpecs) -> None:
    """A folder that is not there yet (tmpfs after a reboot) is an empty one."""
    assert () == specs.keys()
    assert specs.read(UID) is None
    specs.remove(UID)
    assert () == specs.keys()


def test_reads_back_what_was_written(specs: CdiSpecs) -> None:
    """A spec survives its store."""
    specs.write(UID, a_spec())
    assert a_spec() == specs.read(UID)
    assert (UID,) == specs.keys()


def test_a_second_spec_replaces_the_first(specs: CdiSpecs) -> None:
    """One key, one spec: the last one."""
    specs.write(UID, a_spec())
    specs.write(UID, OTHER)
    specs.write(UID, OTHER)
    assert OTHER == specs.read(UID)
    assert (UID,) == specs.keys()


def test_keys_are_sorted_and_apart(specs: CdiSpecs) -> None:
    """Neither order of writing nor a common beginning matters."""
    keys = ("b", "a.json", "a", "A", "a_b", "0", "a-b.c_d", "x" * 200)
    for key in keys:
        specs.write(key, a_spec(devices=(CdiDevice(name="d", container_edits=ContainerEdits()),)))
    assert tuple(sorted(keys)) == specs.keys()
    specs.write("a", OTHER)
    assert a_spec().kind == (specs.read("a_b") or OTHER).kind
    assert OTHER != specs.read("a_b")


def test_removing_is_idempotent(specs: CdiSpecs) -> None:
    """What is gone is gone, also the second time; others stay."""
    specs.write(UID, a_spec())
    specs.write("other", a_spec())
    specs.remove(UID)
    specs.remove(UID)
    assert specs.read(UID) is None
    assert ("other",) == specs.keys()


def test_a_removed_key_can_be_written_again(specs: CdiSpecs) -> None:
    """A claim may be prepared again after it was unprepared."""
    specs.write(UID, a_spec())
    specs.remove(UID)
    specs.write(UID, OTHER)
    assert OTHER == specs.read(UID)


def actions(specs: CdiSpecs, key: str) -> dict[str, Callable[[], object]]:
    """Give every call that takes a key."""
    return {
        "write": lambda: specs.write(key, a_spec()),
        "read": lambda: specs.read(key),
        "remove": lambda: specs.remove(key),
    }


@pytest.mark.parametrize("action", ["write", "read", "remove"])
@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused(specs: CdiSpecs, key: str, action: str) -> None:
    """Nothing but a plain name becomes part of a file name, and the error shows it."""
    with pytest.raises(CdiFailed) as raised:
        actions(specs, key)[action]()
    assert f"{key!r} cannot be part of a file name" == raised.value.problem
    assert () == specs.keys()


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(kind="no-slash"),
        a_spec(kind="9vendor/class"),
        a_spec(devices=(CdiDevice(name="a b", container_edits=ContainerEdits()),)),
        a_spec(devices=a_spec().devices * 2),
    ],
    ids=["no slash", "digit first", "blank in a name", "name given twice"],
)
def test_a_spec_that_runtimes_refuse_is_not_written(specs: CdiSpecs, spec: CdiSpec) -> None:
    """The former one stays."""
    specs.write(UID, a_spec())
    with pytest.raises(InvalidIdentifier):
        specs.write(UID, spec)
    assert a_spec() == specs.read(UID)


@pytest.mark.parametrize("action", ["write", "read", "remove", "keys"])
def test_a_broken_store_says_so(broken: CdiSpecs, action: str) -> None:
    """Every call fails as CdiFailed, none silently."""
    with pytest.raises(CdiFailed):
        ({"keys": broken.keys} | actions(broken, UID))[action]()


@pytest.mark.parametrize("action", ["write", "read", "remove", "keys"])
def test_a_broken_folder_is_named_with_the_cause(tmp_path: Path, action: str) -> None:
    """Path and cause stand in the message, the error itself behind it."""
    loop = tmp_path / "loop"
    loop.symlink_to(loop.name)
    specs = CdiFolder(loop, driver=DRIVER_NAME)
    with pytest.raises(CdiFailed, match=f"{loop}.* could not be .* \\(.+\\)") as raised:
        ({"keys": specs.keys} | actions(specs, UID))[action]()
    cause = raised.value.__cause__
    assert isinstance(cause, OSError)
    assert f"({str(cause.strerror).lower()})" in raised.value.problem
