"""The contract of the host's ports: this machine and the one in memory tell alike."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from ibdra_adapters.host.fake import FakeFiles, FakeProcesses
from ibdra_adapters.host.files import LinuxFiles
from ibdra_adapters.host.processes import LinuxProcesses
from ibdra_domain.ports.host import (
    HostFiles,
    HostProcesses,
    MemoryLimit,
    PathFacts,
    PathKind,
    ProcessRights,
)


class Place(Protocol):
    """Where a test puts files, and the port that looks at them."""

    root: str

    @property
    def files(self) -> HostFiles:
        """Give the port."""

    def file(self, name: str, content: bytes, mode: int) -> None:
        """Put a file there."""

    def folder(self, name: str) -> None:
        """Put a folder there."""

    def socket(self, name: str, *, listening: bool) -> None:
        """Put a socket there."""


class RealPlace:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.files = LinuxFiles()
        self.root = str(folder)
        self._sockets: list[socket.socket] = []

    def file(self, name: str, content: bytes, mode: int) -> None:
        path = Path(self.root, name)
        path.write_bytes(content)
        path.chmod(mode)

    def folder(self, name: str) -> None:
        Path(self.root, name).mkdir(mode=0o755)

    def socket(self, name: str, *, listening: bool) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.bind(f"{self.root}/{name}")
        if listening:
            made.listen()
            self._sockets.append(made)
        else:
            made.close()

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class FakePlace:
    """The same in memory."""

    def __init__(self) -> None:
        self.files = FakeFiles()
        self.root = "/srv/node"
        self.folder("")

    def _put(self, name: str, kind: PathKind, content: bytes = b"", mode: int = 0o755) -> None:
        path = f"{self.root}/{name}" if name else self.root
        executable = bool(mode & 0o111)
        facts = PathFacts(path=path, kind=kind, writable=True, executable=executable, mode=mode)
        self.files.put(facts, content)

    def file(self, name: str, content: bytes, mode: int) -> None:
        self._put(name, PathKind.FILE, content, mode)

    def folder(self, name: str) -> None:
        self._put(name, PathKind.FOLDER)

    def socket(self, name: str, *, listening: bool) -> None:
        self._put(name, PathKind.SOCKET)
        if listening:
            self.files.listening.add(f"{self.root}/{name}")


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Give an empty folder of each kind; a socket's path must be short."""
    if request.param == "fake":
        yield FakePlace()
        return
    folder = Path(f"/tmp/ibdra-host-{os.getpid()}")
    folder.mkdir(mode=0o755)
    made = RealPlace(folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def test_a_path_without_links_is_its_own(place: Place) -> None:
    """So is one that leads nowhere."""
    place.folder("folder")
    for name in ("folder", "folder/none"):
        assert f"{place.root}/{name}" == place.files.resolve(f"{place.root}/{name}")


@pytest.mark.real
def test_links_are_followed(tmp_path: Path) -> None:
    """Those of folders above, too."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to("run")
    assert f"{tmp_path}/run/cdi" == LinuxFiles().resolve(f"{tmp_path}/var/cdi")


@pytest.mark.real
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it mounts a file system")
def test_a_read_only_file_system_is_told(tmp_path: Path) -> None:
    """Whatever the modes on it are."""
    assert not LinuxFiles().look(str(tmp_path)).read_only
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", tmp_path], check=True)
    try:
        assert LinuxFiles().look(str(tmp_path)).read_only
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_what_lies_at_a_path_is_told(place: Place) -> None:
    """Kind, what may be done with it, and nothing at all where nothing is."""
    place.file("program", b"#!", 0o755)
    place.file("text", b"words", 0o644)
    place.folder("folder")
    found = {n: place.files.look(f"{place.root}/{n}") for n in ("program", "text", "folder", "x")}
    assert (PathKind.FILE, True, True, 0o755) == (
        found["program"].kind,
        found["program"].writable,
        found["program"].executable,
        found["program"].mode,
    )
    assert (PathKind.FILE, False) == (found["text"].kind, found["text"].executable)
    assert (PathKind.FOLDER, True) == (found["folder"].kind, found["folder"].writable)
    assert PathFacts(path=f"{place.root}/x") == found["x"]


def test_names_and_contents_never_raise(place: Place) -> None:
    """What is no folder has no names, and what is no file no content."""
    place.file("b", b"bytes", 0o644)
    place.folder("a")
    assert ("a", "b") == place.files.names(place.root)
    assert () == place.files.names(f"{place.root}/b")
    assert () == place.files.names(f"{place.root}/none")
    assert b"bytes" == place.files.read(f"{place.root}/b")
    assert place.files.read(f"{place.root}/a") is None
    assert place.files.read(f"{place.root}/none") is None


def test_a_socket_answers_only_while_somebody_listens(place: Place) -> None:
    """A stale one, a file and nothing do not, nor does a path that no socket can have."""
    place.socket("served", listening=True)
    place.socket("stale", listening=False)
    place.file("file", b"", 0o644)
    expected = {"served": True, "stale": False, "file": False, "none": False, "x" * 200: False}
    assert expected == {name: place.files.answers(f"{place.root}/{name}") for name in expected}
    assert PathKind.SOCKET is place.files.look(f"{place.root}/stale").kind


@pytest.mark.real
def test_a_device_shows_its_numbers() -> None:
    """The null device is 1:3 everywhere."""
    assert (PathKind.CHAR_DEVICE, (1, 3)) == (
        (found := LinuxFiles().look("/dev/null")).kind,
        found.numbers,
    )
    assert PathKind.MISSING is LinuxFiles().look("/dev/\0").kind


Processes = Callable[[MemoryLimit], HostProcesses]


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.real)])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Processes]:
    """Give what makes a machine with one process that has a limit."""
    started: list[subprocess.Popen[bytes]] = []

    def fake(limit: MemoryLimit) -> HostProcesses:
        return FakeProcesses(limits=(limit,), namespaces=1)

    def real(limit: MemoryLimit) -> HostProcesses:
        program = tmp_path / limit.program
        shutil.copy("/bin/sleep", program)
        started.append(subprocess.Popen([program, "60"]))
        pid = started[0].pid
        assert limit.locked is not None  # no test may lift a limit
        resource.prlimit(pid, resource.RLIMIT_MEMLOCK, (limit.locked, limit.locked))
        until = time.monotonic() + 10
        while Path(f"/proc/{pid}/comm").read_text() != f"{limit.program}\n":
            assert time.monotonic() < until
        return LinuxProcesses()

    yield fake if request.param == "fake" else real
    for process in started:
        process.kill()
        process.wait()


def test_a_programs_limit_is_found_by_its_name(processes: Processes) -> None:
    """Other programs' limits are not given."""
    machine = processes(MemoryLimit(program="ibdra-try", pid=7, locked=65536))
    (found,) = machine.memory_limits(["ibdra-try"])
    assert ("ibdra-try", 65536) == (found.program, found.locked)
    assert () == machine.memory_limits(["ibdra-other"])


def test_rights_are_told(processes: Processes) -> None:
    """Whose they are; what capabilities are read from is in the test of /proc."""
    machine = processes(MemoryLimit(program="ibdra-try", pid=7, locked=65536))
    rights = machine.rights()
    assert isinstance(rights, ProcessRights)
    assert rights.root == (isinstance(machine, FakeProcesses) or os.geteuid() == 0)


@pytest.mark.real
def test_proc_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    """Effective uid and capabilities; namespaces of processes and of mounts; garbage is none."""
    own = tmp_path / "self"
    (own / "ns").mkdir(parents=True)
    (own / "ns/net").symlink_to("net:[1]")
    (own / "status").write_text("Name:\tx\nUid:\t5\t0\t0\t0\nCapEff:\t0000000000201000\n")
    (own / "mountinfo").write_text("700 33 0:4 net:[3] /run/netns/pod rw - nsfs nsfs rw\n")
    for pid, netns in (("10", 1), ("11", 2)):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns/net").symlink_to(f"net:[{netns}]")
    (tmp_path / "10/comm").write_text("crio\n")
    unlimited = f"{'Max locked memory':<26}{'unlimited':<21}{'unlimited':<21}bytes\n"
    (tmp_path / "10/limits").write_text(unlimited)
    machine = LinuxProcesses(tmp_path)
    assert (MemoryLimit(program="crio", pid=10),) == machine.memory_limits(["crio"])
    expected = ProcessRights(root=True, capabilities=frozenset({"CAP_NET_ADMIN", "CAP_SYS_ADMIN"}))
    assert expected == machine.rights()
    assert 2 == machine.other_namespaces()
    assert () == machine.memory_limits(["x"])
    assert ProcessRights(root=False) == LinuxProcesses(tmp_path / "none").rights()
