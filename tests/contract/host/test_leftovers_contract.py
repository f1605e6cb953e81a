"""The contract of what a driver leaves on a node, on disk and in memory."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ibdra_adapters.host.fake import FakeLeftovers
from ibdra_adapters.host.leftovers import LeftFiles, Room
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.leftovers import Leftovers


def rooms(folder: Path) -> LeftFiles:
    """Give a driver's rooms: one shared with others, one of its own."""
    shared, own = folder / "shared", folder / "own"
    return LeftFiles(
        (
            Room(folder=shared, names=re.compile(r"ours(-.+)?\.sock")),
            Room(folder=own / "deep", names=re.compile(".*"), folders=(own / "deep",)),
            Room(folder=own, names=re.compile("lock"), trees=("tree",), folders=(own,)),
        )
    )


def fill(folder: Path) -> list[str]:
    """Put a driver's files there; give them in the order in which they go."""
    names = ["shared/ours-1.sock", "shared/ours.sock", "own/deep/file", "own/lock"]
    for name in [*names, "own/tree/branch/leaf"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    order = [*names[:3], "own/deep", "own/lock", "own/tree", "own"]
    return [str(folder / name) for name in order]


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.real)])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Leftovers, list[str]]:
    """Give a node with leftovers, and what they are."""
    if request.param == "fake":
        paths = ["/shared/ours.sock", "/own/file", "/own"]
        return FakeLeftovers(paths), paths
    order = fill(tmp_path)
    return rooms(tmp_path), order


def test_all_that_is_found_can_be_removed_in_that_order(node: tuple[Leftovers, list[str]]) -> None:
    """Then nothing is found; removing what has gone is a success."""
    left, expected = node
    assert expected == list(left.found())
    for path in expected:
        left.remove(path)
        left.remove(path)
    assert () == left.found()


def test_one_that_is_interrupted_goes_on(node: tuple[Leftovers, list[str]]) -> None:
    """After any removal the rest is found as before."""
    left, expected = node
    while expected:
        assert expected == list(left.found())
        left.remove(expected.pop(0))


def test_strangers_stay_and_keep_their_folder(tmp_path: Path) -> None:
    """A file that the driver has no such name for is not listed, nor is what it lies in."""
    order = fill(tmp_path)
    strangers = [tmp_path / "shared/theirs.sock", tmp_path / "own/notes", tmp_path / "shared/sub"]
    for path in strangers[:2]:
        path.write_text("")
    strangers[2].mkdir()
    left = rooms(tmp_path)
    assert order[:-1] == list(left.found())
    for path in strangers[:2]:
        with pytest.raises(StateFailed, match="is no file of this driver"):
            left.remove(str(path))
    assert all(path.exists() for path in strangers)


def test_a_folder_that_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    """Removing it fails with the reason, and nothing in it is touched."""
    left = rooms(tmp_path)
    *rest, folder = fill(tmp_path)
    for path in rest:
        left.remove(path)
    (tmp_path / "own/new").write_text("")
    with pytest.raises(StateFailed, match="could not be removed"):
        left.remove(folder)
    assert (tmp_path / "own/new").exists()


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts a file system")
def test_a_mounted_folder_stays(tmp_path: Path) -> None:
    """In a container only the host can remove it; what is in it goes."""
    left = rooms(tmp_path)
    (tmp_path / "own").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "own"], check=True)
    try:
        (tmp_path / "own/lock").write_text("")
        assert (str(tmp_path / "own/lock"),) == left.found()
        left.remove(str(tmp_path / "own/lock"))
        assert () == left.found()
    finally:
        subprocess.run(["umount", tmp_path / "own"], check=True)


def test_what_is_stuck_is_told() -> None:
    """The one in memory refuses what a test has it refuse."""
    left = FakeLeftovers(["/a"])
    left.stuck.add("/a")
    with pytest.raises(StateFailed):
        left.remove("/a")
