"""The program onto the host: whole, in one step, and without clutter."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from contract.hook.hook_runs import Helper, hand_made, request_from, state_of
from ibdra_adapters.hook.install import Installed, install_hook
from ibdra_domain.errors import HookFailed
from unit.cli.cli_runs import run


def a_program(folder: Path, number: int) -> Path:
    """Make something that looks like a program."""
    path = folder / f"source-{number}"
    path.write_bytes(b"\x7fELF" + bytes([number]) * 1000)
    return path


def version_of(source: Path) -> str:
    """Tell the file name of a version."""
    return f"ibdra-hook-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """Give a folder on the host, not made yet."""
    return tmp_path / "opt" / "ibdra" / "bin"


def names_in(folder: Path) -> list[str]:
    """List a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def test_the_installed_program_runs(program: Path, bin_folder: Path) -> None:
    """By the name that the CDI specs have; file 0755, the link within its folder."""
    installed = install_hook(program, folder=bin_folder)
    link, version = bin_folder / "ibdra-hook", bin_folder / version_of(program)
    assert Installed(link=link, version=version, changed=True) == installed
    done = subprocess.run([link, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ibdra-hook ")
    assert version.name == os.readlink(link)  # noqa: PTH115 -- the text, as it is written
    assert 0o100755 == version.stat().st_mode
    assert sorted([link.name, version.name]) == names_in(bin_folder)


def test_a_second_run_changes_nothing(tmp_path: Path, bin_folder: Path) -> None:
    """Neither file nor link is touched."""
    source = a_program(tmp_path, 1)
    first = install_hook(source, folder=bin_folder)
    before = [path.lstat() for path in sorted(bin_folder.iterdir())]
    second = install_hook(source, folder=bin_folder)
    assert (True, False) == (first.changed, second.changed)
    assert before == [path.lstat() for path in sorted(bin_folder.iterdir())]


def test_the_last_two_versions_stay(tmp_path: Path, bin_folder: Path) -> None:
    """The way back; what else lies there is not ours."""
    sources = [a_program(tmp_path, number) for number in range(4)]
    bin_folder.mkdir(parents=True)
    others = ["ibdra-hook-mine", "other", f"{version_of(sources[0])}.old"]
    for name in others:
        (bin_folder / name).touch()
    removed = []
    for age, source in enumerate(sources):
        installed = install_hook(source, folder=bin_folder)
        removed += [path.name for path in installed.removed]
        os.utime(installed.version, (1000 + age, 1000 + age))
    versions = [version_of(source) for source in sources]
    assert versions[:2] == removed
    assert sorted([*others, "ibdra-hook", *versions[2:]]) == names_in(bin_folder)
    back = install_hook(sources[2], folder=bin_folder)
    assert (True, ()) == (back.changed, back.removed)
    assert back.version.resolve() == back.link.resolve()
    assert sorted([*others, "ibdra-hook", *versions[2:]]) == names_in(bin_folder)


def test_a_version_that_is_not_whole_is_written_again(tmp_path: Path, bin_folder: Path) -> None:
    """A name promises a content; a disk or a human may break it."""
    source = a_program(tmp_path, 1)
    version = install_hook(source, folder=bin_folder).version
    version.write_bytes(b"\x7fELF")
    assert install_hook(source, folder=bin_folder).changed
    assert source.read_bytes() == version.read_bytes()
    version.chmod(0o644)
    assert install_hook(source, folder=bin_folder).changed
    assert 0o100755 == version.stat().st_mode


def test_a_program_copied_by_hand_gives_way(tmp_path: Path, bin_folder: Path) -> None:
    """A file in the link's place is replaced."""
    bin_folder.mkdir(parents=True)
    (bin_folder / "ibdra-hook").write_bytes(b"old")
    installed = install_hook(a_program(tmp_path, 1), folder=bin_folder)
    assert installed.link.is_symlink()
    assert installed.version.read_bytes() == installed.link.read_bytes()


def test_a_running_program_keeps_its_file(helper: Helper, tmp_path: Path, bin_folder: Path) -> None:
    """Replaced and removed while it waits for its answer, it still ends well."""
    installed = install_hook(helper.program, folder=bin_folder)
    there, go = threading.Event(), threading.Event()

    def serve(connection: object) -> None:
        request_from(connection)  # type: ignore[arg-type] # a socket
        there.set()
        assert go.wait(30)
        connection.sendall(b'{"version":1,"attached":true}')  # type: ignore[attr-defined] # as above

    command = [
        str(installed.link) if word == str(helper.program) else word for word in helper.command()
    ]
    with hand_made(helper.socket, serve):
        process = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(state_of(17))
        process.stdin.close()
        assert there.wait(30)
        for number in range(3):
            install_hook(a_program(tmp_path, number), folder=bin_folder)
        assert not installed.version.exists()
        go.set()
        assert 0 == process.wait(30)


def test_there_is_a_program_at_every_moment(program: Path, tmp_path: Path) -> None:
    """Whoever starts it while versions change gets one of them, whole."""
    other = tmp_path / "other"
    other.write_bytes(program.read_bytes() + b"\0")
    folder = tmp_path / "bin"
    install_hook(program, folder=folder)
    ends = time.monotonic() + 2
    codes, changes = set(), 0

    def switch() -> None:
        nonlocal changes
        while time.monotonic() < ends:
            install_hook((program, other)[changes % 2], folder=folder)
            changes += 1

    thread = threading.Thread(target=switch)
    thread.start()
    while time.monotonic() < ends:
        done = subprocess.run([folder / "ibdra-hook", "--version"], check=False, stdout=-3)
        codes.add(done.returncode)
    thread.join()
    assert {0} == codes
    assert changes > 3


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\nexit 0\n"], ids=["empty", "script"])
def test_what_is_no_program_is_refused(tmp_path: Path, bin_folder: Path, content: bytes) -> None:
    """The one that is there stays."""
    installed = install_hook(a_program(tmp_path, 1), folder=bin_folder)
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    with pytest.raises(HookFailed, match="bad is no program of this kind of machine"):
        install_hook(bad, folder=bin_folder)
    assert installed.version.resolve() == installed.link.resolve()


def test_what_cannot_be_read_is_named(tmp_path: Path, bin_folder: Path) -> None:
    """The source, and nothing was made."""
    with pytest.raises(HookFailed, match=r"/nothing could not be read \(no such file"):
        install_hook(tmp_path / "nothing", folder=bin_folder)
    assert not bin_folder.exists()


def test_a_folder_in_the_links_place_is_an_error(tmp_path: Path, bin_folder: Path) -> None:
    """Nothing is left beside it but the version."""
    (bin_folder / "ibdra-hook").mkdir(parents=True)
    source = a_program(tmp_path, 1)
    with pytest.raises(HookFailed, match=r"ibdra-hook could not be installed \(is a directory\)"):
        install_hook(source, folder=bin_folder)
    assert ["ibdra-hook", version_of(source)] == names_in(bin_folder)


def test_the_command_says_what_it_did(tmp_path: Path, bin_folder: Path) -> None:
    """Now, already, and what was removed."""
    said = []
    for number in (1, 1, 2, 3):
        source = a_program(tmp_path, number)
        ran = run("install-hook", "--source", source, "--folder", bin_folder)
        assert (0, "") == (ran.code, ran.err)
        said.append(ran.out.replace(f"{bin_folder}/", ""))
        os.utime(bin_folder / version_of(source), (1000 + number, 1000 + number))
    one, two, three = (version_of(tmp_path / f"source-{number}") for number in (1, 2, 3))
    assert [
        f"ibdra-hook is now {one}\n",
        f"ibdra-hook is already {one}\n",
        f"ibdra-hook is now {two}\n",
        f"ibdra-hook is now {three}\n{one} removed\n",
    ] == said


def test_the_command_fails_with_the_reason(tmp_path: Path) -> None:
    """Exit 2 and one line."""
    ran = run("install-hook", "--source", tmp_path / "nothing", "--folder", tmp_path)
    assert (2, "") == (ran.code, ran.out)
    assert ran.err.startswith(f"ibdra: {tmp_path / 'nothing'} could not be read (no such file")
