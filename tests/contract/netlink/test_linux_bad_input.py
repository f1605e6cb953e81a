"""Names, numbers, namespaces and rights that the kernel does not take: refusals, no leaks."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contract.netlink.netlink_machines import refused_with
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_domain.errors import KernelRefused
from ibdra_domain.ports.netlink import Netns

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it makes network namespaces"),
]
OURS = Path("/proc/self/ns/net")
NAMESPACES = LinuxNamespaces(host=OURS)
LINKS = LinuxLinks()
BRIDGE = f"ibb{os.getpid() % 100000}"


@pytest.fixture
def host() -> Iterator[Netns]:
    """Open our own namespace."""
    netns = NAMESPACES.host()
    yield netns
    netns.close()


@pytest.fixture
def bad() -> Iterator[Netns]:
    """Open something that is no network namespace: our mount namespace."""
    netns = LinuxNamespaces(host=Path("/proc/self/ns/mnt")).host()
    yield netns
    netns.close()


@pytest.fixture
def index(host: Netns) -> Iterator[int]:
    """Make an interface that can be renamed, also on a kernel that has few kinds of them."""
    for kind in ("veth", "bridge", "dummy"):
        made = subprocess.run(["ip", "link", "add", BRIDGE, "type", kind], check=False)
        if made.returncode == 0:
            break
    else:
        pytest.skip("needs a kernel with veth, bridge or dummy interfaces")
    found = next(link.index for link in LINKS.list(host) if link.name == BRIDGE)
    yield found
    for folder in Path("/sys/class/net").iterdir():
        with contextlib.suppress(OSError):  # somebody else's that just went
            if int((folder / "ifindex").read_text()) == found:
                subprocess.run([b"ip", b"link", b"del", os.fsencode(folder.name)], check=True)


def traces() -> tuple[int, set[int], list[str]]:
    """Count open descriptors, and say where all threads are and which of ours are left.

    A thread that was joined may be seen for a moment longer, wherever it was, and what an
    earlier test has forgotten is closed whenever the garbage is collected.
    """
    gc.collect()
    until = time.monotonic() + 5
    while len(places := _places()) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    ours = [t.name for t in threading.enumerate() if t.name.startswith("ibdra")]
    return len(list(Path("/proc/self/fd").iterdir())), places, ours


def _places() -> set[int]:
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.add((task / "ns/net").stat().st_ino)
    return found


@pytest.mark.parametrize(
    "name",
    [
        "",
        "%d",
        "ib%d",
        "\0",
        "ib\0x",
        "ib\x07",
        "ib\udcff",
        "\u2028",
        "a b",
        "a/b",
        "a:b",
        ".",
        "..",
    ],
    ids=ascii,
)
def test_a_name_that_is_none_is_refused(host: Netns, index: int, name: str) -> None:
    """Also those that the kernel would take for a pattern, or for no name at all."""
    before = traces()
    with refused_with(errno.EINVAL):
        LINKS.rename(index, name, netns=host)
    with refused_with(errno.EINVAL):
        LINKS.add_pkey_child(index, name=name, pkey=0x8001, netns=host)
    assert BRIDGE == next(link.name for link in LINKS.list(host) if link.index == index)
    assert before == traces()


def test_a_name_that_is_too_long_is_erange(host: Netns, index: int) -> None:
    """Fifteen bytes are the most, not fifteen characters."""
    for name in ("x" * 16, "é" * 8):
        with refused_with(errno.ERANGE):
            LINKS.rename(index, name, netns=host)


@pytest.mark.parametrize("name", ["é" * 7, "ib-0.8001", "ib@0", "-ib", "日本"], ids=ascii)
def test_a_name_that_is_odd_is_a_name(host: Netns, index: int, name: str) -> None:
    """What the kernel takes for what it is stands there afterwards."""
    LINKS.rename(index, name, netns=host)
    assert name == next(link.name for link in LINKS.list(host) if link.index == index)


def test_a_name_of_bytes_is_listed_in_letters(host: Netns, index: int) -> None:
    """Somebody else's interface may have any name, and the list is one of texts."""
    name = BRIDGE.encode() + b"\xff"
    subprocess.run(["ip", "link", "set", BRIDGE, "name", name], check=True)
    assert BRIDGE + "\\xff" == next(link.name for link in LINKS.list(host) if link.index == index)


@pytest.mark.parametrize("mtu", [-1, 1 << 32, 1 << 40])
def test_a_number_that_fits_no_message_is_einval(host: Netns, index: int, mtu: int) -> None:
    """It is refused before the kernel sees it, as a number it refuses itself would be."""
    with refused_with(errno.EINVAL):
        LINKS.configure(index, netns=host, mtu=mtu)
    with refused_with(errno.EINVAL):
        LINKS.configure(mtu if mtu > 0 else -(1 << 40), netns=host, up=True)


CALLS: dict[str, Callable[[Netns, Netns], None]] = {
    "no namespace": lambda bad, _: LINKS.configure(1, netns=bad, up=True),
    "moved to none": lambda bad, host: LINKS.move(1, source=host, target=bad),
    "no interface": lambda _, host: LINKS.configure(999999, netns=host, up=True),
    "nothing to rename": lambda _, host: LINKS.rename(999999, "x", netns=host),
    "nothing to remove": lambda _, host: LINKS.remove(999999, netns=host),
    "no parent": lambda _, host: LINKS.add_pkey_child(999999, name="x", pkey=1, netns=host),
}


@pytest.mark.parametrize("what", list(CALLS))
def test_refusals_leave_nothing_behind(bad: Netns, host: Netns, what: str) -> None:
    """No descriptor, no thread, and no thread in another namespace, however often."""
    for _ in range(3):
        with pytest.raises(KernelRefused):
            CALLS[what](bad, host)
    before = traces()
    for _ in range(20):
        with pytest.raises(KernelRefused) as refused:
            CALLS[what](bad, host)
    assert errno.errorcode[refused.value.errno] in refused.value.problem
    assert refused.value.remedy
    assert before == traces()


_OUT_OF_DESCRIPTORS = """
import gc, os, resource, sys
from pathlib import Path
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_domain.errors import KernelRefused
host = LinuxNamespaces(host=Path("/proc/self/ns/net")).host()
LinuxLinks().list(host)
sys.unraisablehook = lambda _: None  # asyncio's half-made event loops complain when they go
def opened():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))
before = opened()
for room in range(8):
    resource.setrlimit(resource.RLIMIT_NOFILE, (before - 1 + room, 4096))
    try:
        LinuxLinks().list(host)
        print("done")
    except KernelRefused as error:
        print("EMFILE" if error.errno == 24 else error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    assert before == opened(), (room, before, opened())
"""


def test_a_process_out_of_descriptors_does_not_lose_more() -> None:
    """EMFILE half-way gives back what was opened until then; with room again, all is well."""
    program = [sys.executable, "-W", "ignore", "-c", _OUT_OF_DESCRIPTORS]
    done = subprocess.run(program, check=False, capture_output=True, text=True)
    assert (0, "") == (done.returncode, done.stderr)
    lines = done.stdout.splitlines()
    assert lines == sorted(lines), "refused first, then done"
    assert {"EMFILE", "done"} == set(lines)


_WITHOUT = """
import errno
import gc
from pathlib import Path
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rtnetlink import LinuxLinks
from ibdra_domain.errors import KernelRefused
host = LinuxNamespaces(host=Path("/proc/self/ns/net")).host()
for call in (
    lambda: LinuxLinks().list(host),
    lambda: LinuxLinks().configure(1, netns=host, mtu=1500),
):
    try:
        call()
        print("done")
    except KernelRefused as error:
        print(errno.errorcode[error.errno], error.remedy)
"""


@pytest.mark.parametrize(
    ("lacking", "said"),
    [("sys_admin", ["EPERM", "EPERM"]), ("net_admin", ["done", "EPERM"])],
)
def test_without_the_rights_it_is_eperm(lacking: str, said: list[str]) -> None:
    """Entering a namespace takes one right, changing an interface another; each is told."""
    program = ["setpriv", f"--bounding-set=-{lacking}", f"--inh-caps=-{lacking}"]
    done = subprocess.run(
        [*program, sys.executable, "-c", _WITHOUT], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    assert said == [line.split()[0] for line in lines]
    assert all("CAP_NET_ADMIN" in line or "root" in line for line in lines if "EPERM" in line)
