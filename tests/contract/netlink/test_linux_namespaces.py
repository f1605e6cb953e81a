"""Namespaces and interfaces of this machine's own kernel, whatever it knows of InfiniBand."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.netlink.kernel_machine import eventually
from contract.netlink.netlink_machines import refused_with
from ibdra_adapters.netlink.events import LinuxEvents
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_adapters.sysfs.sriov import SysfsSriov
from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.ports.events import Change
from ibdra_domain.ports.netlink import Link, Netns, NetnsId

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]
OURS = Path("/proc/self/ns/net")
NAMESPACES = LinuxNamespaces(host=OURS)
LINKS = LinuxLinks()


@pytest.fixture
def pid() -> Iterator[int]:
    """Start a process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "-n", "sleep", "300"])
    own = Path(f"/proc/{process.pid}/ns/net")
    eventually(lambda: own.stat().st_ino != OURS.stat().st_ino)
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def host() -> Iterator[Netns]:
    """Open our own namespace."""
    netns = NAMESPACES.host()
    yield netns
    netns.close()


@pytest.fixture
def pod(pid: int) -> Iterator[Netns]:
    """Open the process' namespace."""
    netns = NAMESPACES.of_process(pid)
    yield netns
    netns.close()


@pytest.fixture
def wire() -> Iterator[str]:
    """Make an interface that can be moved: one end of a veth pair."""
    name = f"ibt{os.getpid() % 100000}"
    subprocess.run(
        ["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True
    )
    yield name
    subprocess.run(["ip", "link", "del", f"{name}p"], check=True)


def named(netns: Netns, name: str) -> Link:
    """Give an interface by its name."""
    return next(x for x in LINKS.list(netns) if x.name == name)


def open_descriptors() -> int:
    """Count this process' descriptors."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_process_namespace_is_found_again_by_what_it_is(pid: int, pod: Netns) -> None:
    """By device and inode, as long as a process is in it."""
    assert (pod.id.device, pod.id.inode) != (OURS.stat().st_dev, OURS.stat().st_ino)
    found = NAMESPACES.find(pod.id)
    assert found is not None
    assert pod.id == found.id
    found.close()
    assert Path(f"/proc/{pid}/ns/net").stat().st_ino == pod.id.inode


def test_what_never_was_is_not_found() -> None:
    """A namespace that nothing keeps alive is None, no error."""
    assert NAMESPACES.find(NetnsId(4, 1)) is None


def test_a_namespace_has_a_cookie_that_no_other_ever_gets(pid: int, pod: Netns) -> None:
    """Inodes are given out again, cookies are not; asked twice, it is the same."""
    again = NAMESPACES.of_process(pid)
    host = NAMESPACES.host()
    assert pod.id.cookie == again.id.cookie != 0
    assert pod.id.cookie != host.id.cookie
    again.close()
    host.close()
    assert NAMESPACES.find(NetnsId(pod.id.device, pod.id.inode, pod.id.cookie + 1)) is None


def test_a_process_that_is_gone_is_esrch() -> None:
    """Also a pid that the kernel could never give."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    for pid in (ended.pid, 2**22 + 1):
        with refused_with(errno.ESRCH):
            NAMESPACES.of_process(pid)


def test_a_held_process_that_is_gone_is_esrch() -> None:
    """Whether or not its parent has taken notice of its end."""
    ended = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert ended.stdin is not None
    process = NAMESPACES.process(ended.pid)
    process.netns().close()
    ended.stdin.close()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        with refused_with(errno.ESRCH):
            process.netns()
        ended.wait()
    process.close()


def test_a_closed_namespace_cannot_be_used(pid: int) -> None:
    """It says so, and closing again does nothing."""
    netns = NAMESPACES.of_process(pid)
    netns.close()
    netns.close()
    with refused_with(errno.EBADF):
        LINKS.list(netns)


def test_a_file_that_is_no_namespace_is_einval(tmp_path: Path) -> None:
    """Setns refuses it, and no socket is made."""
    file = tmp_path / "file"
    file.touch()
    netns = LinuxNamespaces(host=file).host()
    with refused_with(errno.EINVAL):
        LINKS.list(netns)
    netns.close()


def test_an_interface_goes_there_and_back(host: Netns, pod: Netns, wire: str) -> None:
    """Down after the move, under its name; renamed and configured where it is."""
    LINKS.move(named(host, wire).index, source=host, target=pod)
    there = named(pod, wire)
    assert not there.up
    LINKS.rename(there.index, "renamed", netns=pod)
    LINKS.configure(there.index, netns=pod, mtu=1400, up=True)
    changed = named(pod, "renamed")
    assert (1400, True) == (changed.mtu, changed.up)
    assert wire not in [x.name for x in LINKS.list(host)]
    LINKS.move(changed.index, source=pod, target=host)
    assert "renamed" in [x.name for x in LINKS.list(host)]


def test_the_kernels_refusals_carry_its_errno(pod: Netns, host: Netns, wire: str) -> None:
    """A name that is taken, an index that is not there, an MTU that cannot be."""
    LINKS.move(named(host, wire).index, source=host, target=pod)
    index = named(pod, wire).index
    with refused_with(errno.EEXIST):
        LINKS.rename(index, "lo", netns=pod)
    with refused_with(errno.ENODEV):
        LINKS.configure(9999, netns=pod, up=True)
    with refused_with(errno.EINVAL):
        LINKS.configure(index, netns=pod, mtu=5)


def test_a_kernel_without_ipoib_refuses_a_partition(host: Netns, wire: str) -> None:
    """The request reaches the kernel, and its answer is not taken for success."""
    if Path("/sys/module/ib_ipoib").exists():
        pytest.skip("needs a kernel without ib_ipoib")
    with refused_with(errno.EOPNOTSUPP):
        LINKS.add_pkey_child(named(host, wire).index, name="ibt.8001", pkey=0x8001, netns=host)


def test_nothing_is_left_open_and_no_thread_elsewhere(host: Netns, pod: Netns) -> None:
    """Hundreds of calls cost no descriptor, and this thread stays where it is."""
    LINKS.list(pod)
    before = open_descriptors()
    for _ in range(100):
        LINKS.list(pod)
        with pytest.raises(KernelRefused):
            LINKS.configure(9999, netns=pod, up=True)
    assert before == open_descriptors()
    assert [] == [t.name for t in threading.enumerate() if t.name == "ibdra-setns"]
    assert (host.id.device, host.id.inode) == (OURS.stat().st_dev, OURS.stat().st_ino)


def test_rdma_netlink_that_the_kernel_lacks_says_what_to_load() -> None:
    """Without ib_core the answer is a remedy, not a traceback."""
    if Path("/sys/module/ib_core").exists():
        pytest.skip("needs a kernel without ib_core")
    with pytest.raises(KernelRefused, match="load the kernel module ib_core"):
        LinuxRdmaDevices(NAMESPACES).isolation()


def test_a_change_of_an_interface_is_seen(wire: str) -> None:
    """Link events and uevents come as one stream."""
    host = NAMESPACES.host()
    events = LinuxEvents()
    LINKS.configure(named(host, wire).index, netns=host, mtu=1300)
    until = time.monotonic() + 10
    seen: list[Change] = []
    while not any(wire in change.detail for change in seen) and time.monotonic() < until:
        seen += events.wait(1)
    events.close()
    host.close()
    assert f"interface {wire}" in [change.detail for change in seen]


def test_sriov_of_a_function_that_is_not_there_is_refused() -> None:
    """With the errno and what it means."""
    nowhere = PciAddress("ffff:00:00.0")
    with refused_with(errno.ENOENT):
        SysfsSriov().set_num_vfs(nowhere, 4)
    with refused_with(errno.ENODEV):
        SysfsSriov().unbind(nowhere)


def test_a_pid_that_another_process_may_have_by_now_is_esrch(tmp_path: Path) -> None:
    """The process ended while its namespace was looked up: what was opened is not its own."""
    ended = subprocess.Popen(["true"])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # ended, and its pid not free yet
    folder = tmp_path / str(ended.pid) / "ns"
    folder.mkdir(parents=True)
    (folder / "net").symlink_to(OURS)
    before = open_descriptors()
    with refused_with(errno.ESRCH):
        LinuxNamespaces(proc=tmp_path).of_process(ended.pid)
    assert before == open_descriptors()
    ended.wait()
