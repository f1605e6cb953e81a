"""What the program believes of a mark's file, and what the folder leaves."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.hook.hook_runs import (
    NODES,
    UID,
    Helper,
    Ran,
    a_pod,
    boot_id,
    hand_made,
    netns_of,
    request_from,
    state_of,
)
from contract.hook.test_marks_contract import NEEDS_ROOT
from ibdra_adapters.hook.marks import MarkFolder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)
NOBODY = 65534


@pytest.fixture(scope="module")
def pod() -> Iterator[int]:
    """Start a pod; give a process of it."""
    with a_pod() as pid:
        yield pid


@pytest.fixture
def mark(helper: Helper, pod: int) -> Path:
    """Put a good mark; give its file."""
    MarkFolder(helper.marks, boot_id=boot_id()).put(UID, netns=netns_of(pod), nodes=NODES)
    path = helper.marks / UID
    assert Ran(0, "") == helper.run(state_of(pod))
    return path


def asked_the_daemon(helper: Helper, pid: int) -> bool:
    """Tell whether the program wanted the daemon, which is not there."""
    ran = helper.run(state_of(pid))
    assert ran.code == 0 or "the ibdra daemon does not answer" in ran.err
    return ran.code == 1


def test_the_file_is_as_documented(mark: Path, pod: int) -> None:
    """Four lines, root's alone, in a folder that is root's alone."""
    netns = netns_of(pod)
    expected = (
        f"ibdra 1\nboot {boot_id()}\nnetns {netns.device} {netns.inode} {netns.cookie}\n"
        f"nodes {NODES}\n"
    )
    assert expected == mark.read_text(encoding="ascii")
    assert 0o100600 == mark.stat().st_mode
    assert 0o40700 == mark.parent.stat().st_mode


@pytest.mark.usefixtures("mark")
def test_a_daemon_that_is_there_knows_better(helper: Helper, pod: int) -> None:
    """Its no counts, mark or not: it has seen what became of the device since."""

    def refuse(connection: socket.socket) -> None:
        request_from(connection)
        connection.sendall(b'{"version":1,"attached":false,"reason":"the device is gone"}')

    with hand_made(helper.socket, refuse):
        assert Ran(1, f"ibdra: claim {UID}: the device is gone\n") == helper.run(state_of(pod))


@pytest.mark.usefixtures("mark")
def test_a_daemon_that_dies_while_it_is_asked_is_as_good_as_none(helper: Helper, pod: int) -> None:
    """The container's restart goes on by the mark."""
    with hand_made(helper.socket, request_from):
        assert Ran(0, "") == helper.run(state_of(pod))


REWRITTEN: dict[str, Callable[[str], str]] = {
    "empty": lambda _text: "",
    "another version": lambda text: text.replace("ibdra 1", "ibdra 2"),
    "no version": lambda text: text.replace("ibdra 1\n", ""),
    "another boot": lambda text: text.replace(boot_id(), "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"),
    "half a boot id": lambda text: text.replace(boot_id(), boot_id()[:-1]),
    "other nodes": lambda text: text.replace("231:203", "231:204"),
    "more nodes": lambda text: text.replace("231:203", "231:203,231:204"),
    "fewer nodes": lambda text: text.replace(",231:203", ""),
    "nodes in another order": lambda text: text.replace("231:202,231:203", "231:203,231:202"),
    "no last newline": lambda text: text[:-1],
    "a line more": lambda text: text + "\n",
    "a second answer": lambda text: text * 2,
    "a zero": lambda text: text + "\0",
    "a zero and more": lambda text: text + "\0x",
    "large": lambda text: text + "#" * 5000,
    "windows": lambda text: text.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("rewrite", REWRITTEN.values(), ids=REWRITTEN)
def test_a_mark_that_is_not_exactly_so_is_none(
    helper: Helper, mark: Path, pod: int, rewrite: Callable[[str], str]
) -> None:
    """One letter off, and the daemon is asked."""
    text = mark.read_text(encoding="ascii")
    mark.write_bytes(rewrite(text).encode())
    assert asked_the_daemon(helper, pod)
    mark.write_bytes(text.encode())
    assert not asked_the_daemon(helper, pod)


def _move_and_link(mark: Path) -> None:
    real = mark.with_name("real")
    mark.rename(real)
    mark.symlink_to(real)


def _link_the_folder(mark: Path) -> None:
    real = mark.parent.with_name("real")
    mark.parent.rename(real)
    mark.parent.symlink_to(real)


def _be_a_socket(mark: Path) -> None:
    mark.unlink()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(mark))


def _be_a_pipe(mark: Path) -> None:
    mark.unlink()
    os.mkfifo(mark, 0o600)


def _be_a_folder(mark: Path) -> None:
    mark.unlink()
    mark.mkdir()


SPOILT: dict[str, Callable[[Path], None]] = {
    "somebody else's": lambda mark: os.chown(mark, NOBODY, NOBODY),
    "a group's to write": lambda mark: mark.chmod(0o620),
    "everybody's to write": lambda mark: mark.chmod(0o602),
    "a link": _move_and_link,
    "a socket": _be_a_socket,
    "a pipe": _be_a_pipe,
    "a folder": _be_a_folder,
    "in somebody else's folder": lambda mark: os.chown(mark.parent, NOBODY, NOBODY),
    "in a group's folder": lambda mark: mark.parent.chmod(0o770),
    "in everybody's folder": lambda mark: mark.parent.chmod(0o707),
    "in a linked folder": _link_the_folder,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_mark_that_others_could_have_made_is_none(
    helper: Helper, mark: Path, pod: int, spoil: Callable[[Path], None]
) -> None:
    """Only a plain file of root's, in a folder of root's, is word from the daemon."""
    spoil(mark)
    assert asked_the_daemon(helper, pod)


@pytest.mark.usefixtures("mark")
def test_a_process_that_is_gone_has_no_namespace(helper: Helper) -> None:
    """The daemon is asked, and knows what to say."""
    with a_pod() as pid:
        pass
    assert asked_the_daemon(helper, pid)


def test_leftovers_are_cleared(helper: Helper, mark: Path) -> None:
    """A write that was interrupted leaves a hidden file; it is no mark, and goes."""
    left = mark.with_name(f".{UID}.17.tmp")
    left.touch()
    marks = MarkFolder(helper.marks, boot_id=boot_id())
    assert (UID,) == marks.claims()
    marks.clear()
    assert [] == list(helper.marks.iterdir())
