"""The contract of the ``AttachedMarks`` port, for the fake and for the folder alike.

What a mark is for, "yes" without the daemon, is asked of the program itself where the marks
are files, and of the fake's own answer where they are not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from contract.hook.hook_runs import NODES, UID, Helper, a_pod, boot_id, netns_of, state_of
from ibdra_adapters.hook.fake import FakeMarks
from ibdra_adapters.hook.marks import MarkFolder
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.ports.runtime import AttachedMarks

OTHER = "0b7ad1c2-15a3-4b8e-8d5c-1f2e3d4c5b6a"
NEEDS_ROOT = "needs root: it makes network namespaces, and marks are root's"
BAD_CLAIMS = ["", "/", "a/b", "..", ".hidden", "a.b", "a_b", "a b", "a\n", "a\0", "ä", "x" * 64]
BAD_NODES = ["", "uverbs0", "231", "231:", ":1", "231:1,", "231:1, 231:2", "-1:2", "231:1\n", "--"]
BAD_NODES += ["١:١", "12345678901:1", ",".join(["231:1"] * 1000)]  # noqa: RUF001 -- digits, but not ASCII's


class Shelf(Protocol):
    """Where marks are kept: opened again as a driver does after its death."""

    def open(self) -> AttachedMarks: ...
    def answers(self, claim: str, pid: int, nodes: str) -> bool: ...
    def smash(self) -> None: ...


class FakeShelf:
    """The shipped fake under the suite."""

    def __init__(self) -> None:
        self.fake = FakeMarks()

    def open(self) -> AttachedMarks:
        return self.fake

    def answers(self, claim: str, pid: int, nodes: str) -> bool:
        return self.fake.answers(claim, netns=netns_of(pid), nodes=nodes)

    def smash(self) -> None:
        self.fake.broken = True


class FolderShelf:
    """The real folder, not made yet, and the program that reads it; there is no daemon."""

    def __init__(self, helper: Helper) -> None:
        self.helper = helper

    def open(self) -> AttachedMarks:
        return MarkFolder(self.helper.marks, boot_id=boot_id())

    def answers(self, claim: str, pid: int, nodes: str) -> bool:
        ran = self.helper.run(state_of(pid), claim=claim, nodes=nodes)
        assert ran.code == 0 or "the ibdra daemon does not answer" in ran.err
        return ran.code == 0

    def smash(self) -> None:
        self.helper.marks.symlink_to(self.helper.marks.name)


@pytest.fixture(params=["fake", "folder"])
def shelf(request: pytest.FixtureRequest) -> Shelf:
    """Give an empty shelf of each kind."""
    if request.param == "fake":
        return FakeShelf()
    return FolderShelf(request.getfixturevalue("helper"))


@pytest.fixture(scope="module")
def pods() -> Iterator[tuple[int, int]]:
    """Start two pods; give a process of each."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    with a_pod() as one, a_pod() as other:
        yield one, other


def test_starts_with_nothing(shelf: Shelf) -> None:
    """A node's first start is no trouble, and there is nothing to remove."""
    marks = shelf.open()
    assert () == marks.claims()
    marks.remove(UID)
    marks.clear()
    assert () == marks.claims()


def test_marks_survive_the_driver(shelf: Shelf) -> None:
    """Whoever opens them next finds all, sorted, each once."""
    marks = shelf.open()
    for claim in (UID, OTHER, "a", "x" * 63, UID):
        marks.put(claim, netns=NetnsId(4, 17, 3), nodes="-")
    assert (OTHER, UID, "a", "x" * 63) == shelf.open().claims()


def test_marks_live_apart(shelf: Shelf) -> None:
    """Removing one, once or twice, leaves the others; clearing leaves none."""
    marks = shelf.open()
    for claim in ("a", "b", "c"):
        marks.put(claim, netns=NetnsId(4, 17, 3), nodes="-")
    marks.remove("b")
    marks.remove("b")
    assert ("a", "c") == marks.claims()
    marks.clear()
    assert () == marks.claims()
    marks.put("b", netns=NetnsId(4, 17, 3), nodes="-")
    assert ("b",) == marks.claims()


@pytest.mark.parametrize("nodes", ["-", "231:202", NODES, ",".join(["4294967295:1"] * 300)])
def test_a_mark_answers_for_its_namespace(shelf: Shelf, pods: tuple[int, int], nodes: str) -> None:
    """For this claim, namespace and these nodes there is a yes; and for no others."""
    one, other = pods
    shelf.open().put(UID, netns=netns_of(one), nodes=nodes)
    assert shelf.answers(UID, one, nodes)
    assert not shelf.answers(UID, other, nodes)
    assert not shelf.answers(UID, os.getpid(), nodes)
    assert not shelf.answers(UID, one, "231:204")
    assert not shelf.answers(OTHER, one, nodes)


def test_a_second_mark_replaces_the_first(shelf: Shelf, pods: tuple[int, int]) -> None:
    """A claim is attached to one namespace at a time."""
    one, other = pods
    shelf.open().put(UID, netns=netns_of(one), nodes="-")
    shelf.open().put(UID, netns=netns_of(other), nodes=NODES)
    assert not shelf.answers(UID, one, "-")
    assert not shelf.answers(UID, one, NODES)
    assert not shelf.answers(UID, other, "-")
    assert shelf.answers(UID, other, NODES)


@pytest.mark.parametrize("how", ["remove", "clear"])
def test_a_mark_taken_back_answers_nothing(shelf: Shelf, pods: tuple[int, int], how: str) -> None:
    """From then on the daemon is asked."""
    marks = shelf.open()
    marks.put(UID, netns=netns_of(pods[0]), nodes="-")
    ways: dict[str, Callable[[], None]] = {
        "remove": lambda: marks.remove(UID),
        "clear": marks.clear,
    }
    ways[how]()
    assert not shelf.answers(UID, pods[0], "-")


@pytest.mark.parametrize("cookie", [0, 1], ids=["none", "another"])
def test_a_namespace_is_known_by_its_cookie(
    shelf: Shelf, pods: tuple[int, int], cookie: int
) -> None:
    """The same inode may be the next namespace's; without a cookie none is recognised."""
    found = netns_of(pods[0])
    assert found.cookie > 1
    shelf.open().put(UID, netns=NetnsId(found.device, found.inode, cookie), nodes="-")
    assert not shelf.answers(UID, pods[0], "-")


@pytest.mark.parametrize("changed", [NetnsId(1, 0, 0), NetnsId(0, 1, 0)], ids=["device", "inode"])
def test_a_namespace_is_known_by_its_file(
    shelf: Shelf, pods: tuple[int, int], changed: NetnsId
) -> None:
    """Device and inode must be right as well."""
    found = netns_of(pods[0])
    other = NetnsId(found.device + changed.device, found.inode + changed.inode, found.cookie)
    shelf.open().put(UID, netns=other, nodes="-")
    assert not shelf.answers(UID, pods[0], "-")


@pytest.mark.parametrize("claim", BAD_CLAIMS)
@pytest.mark.parametrize("action", ["put", "remove"])
def test_a_bad_claim_is_refused(shelf: Shelf, claim: str, action: str) -> None:
    """Nothing but what the program takes for a UID becomes a file's name."""
    marks = shelf.open()
    actions: dict[str, Callable[[], None]] = {
        "put": lambda: marks.put(claim, netns=NetnsId(4, 17, 3), nodes="-"),
        "remove": lambda: marks.remove(claim),
    }
    with pytest.raises(StateFailed) as raised:
        actions[action]()
    assert f"{claim!r} cannot be a mark's name" == raised.value.problem
    assert () == marks.claims()


@pytest.mark.parametrize("nodes", BAD_NODES)
def test_bad_nodes_are_refused(shelf: Shelf, nodes: str) -> None:
    """A line that the program can never be asked for is a mistake."""
    marks = shelf.open()
    with pytest.raises(StateFailed) as raised:
        marks.put(UID, netns=NetnsId(4, 17, 3), nodes=nodes)
    assert f"{nodes!r} are no device numbers" == raised.value.problem
    assert () == marks.claims()


@pytest.mark.parametrize("action", ["put", "remove", "claims", "clear"])
def test_broken_marks_say_so(shelf: Shelf, action: str) -> None:
    """Every call fails as StateFailed, none silently."""
    shelf.smash()
    marks = shelf.open()
    actions: dict[str, Callable[[], object]] = {
        "put": lambda: marks.put(UID, netns=NetnsId(4, 17, 3), nodes="-"),
        "remove": lambda: marks.remove(UID),
        "claims": marks.claims,
        "clear": marks.clear,
    }
    with pytest.raises(StateFailed):
        actions[action]()
