"""Lines of the user's pages that somebody on call types on a node, typed on one.

Why: a line that is wrong is found at the worst time.  They are read from the pages; only the
names of devices are put in place of the example's.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from contract.virtual_node import inside
from contract.virtual_node.agent import PROGRAM, a_pod
from ibdra_adapters.netlink.namespaces import LinuxNamespaces
from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
from unit.docs.pages import typed_lines, with_names

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
GUID = "0e:42:a1:03:01:21:5b:80"


@pytest.fixture(name="vf")
def _vf() -> Iterator[Path]:
    """Give the first HCA a VF."""
    with inside.virtual(inside.physical_functions()[0], 1) as (found,):
        yield found


def typed(line: str, names: Mapping[str, str] | None = None, *, at: Path | None = None) -> str:
    """Type a line at a shell, where ibdra is; a failure carries what it printed."""
    command = with_names(line, names or {})
    done = subprocess.run(
        ["sh", "-euc", command],
        env=os.environ | {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"},
        cwd=at or "/",
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def test_isolation(vf: Path) -> None:
    """The mode, and where a device is that a pod has."""
    device, netdev = inside.rdma_device(vf), inside.parent_netdev(vf)
    mode, system = typed_lines("docs/user/isolation.md", "## Two modes")
    assert "N" == typed(mode).strip()
    assert "exclusive" in typed(system)
    here, links, there, its_links, everywhere, by_function = typed_lines(
        "docs/user/isolation.md", "## See where things are"
    )
    assert device in typed(here)
    assert netdev in typed(links)
    spaces = LinuxNamespaces()
    with a_pod() as pod:
        with closing(spaces.host()) as host, closing(spaces.of_process(pod)) as its:
            LinuxRdmaDevices(spaces).move(device, source=host, target=its)
        assert device not in typed(here)
        assert device in typed(there, {"PID": str(pod)})
        assert "lo" in typed(its_links, {"PID": str(pod)})
        assert device in typed(everywhere).split()
        assert "" == typed(by_function, {"0000:3b:00.1": vf.name})
    inside.eventually(lambda: device in typed(here))


def test_exclusive_mode_at_boot() -> None:
    """The line is an option of ib_core's, as modprobe.d(5) has them."""
    (line,) = typed_lines("docs/user/isolation.md", "## Set exclusive mode")
    file = Path("/etc/modprobe.d/ib_core.conf")
    file.parent.mkdir(exist_ok=True)
    assert not file.exists()
    typed(line)
    word, module, option = file.read_text().split()
    file.unlink()
    name, _, value = option.partition("=")
    assert ("options", "ib_core", "0") == (word, module, value)
    assert inside.read(Path("/sys/module", module, "parameters", name)) in {"N", "Y"}


def test_a_captured_machine_is_seen_as_the_machine(vf: Path, tmp_path: Path) -> None:
    """What is copied off a node shows elsewhere what the node has."""
    lines = typed_lines("docs/user/simulation.md", "## Capture a machine")
    at = next(number for number, line in enumerate(lines) if line.startswith("mkdir node"))
    # At a prompt a line may fail, and the next is typed all the same: what is absent is left out.
    typed("\n".join(["set +e", *lines[:at]]), at=tmp_path)
    unpack, show = lines[at:]
    typed(unpack, at=tmp_path)
    elsewhere = typed(show, at=tmp_path)
    assert inside.rdma_device(vf) in elsewhere
    assert typed("ibdra devices") == elsewhere


def test_vfs_by_hand_and_their_end(vf: Path) -> None:
    """The GUID is set at the PF, and the VF has it when it is bound anew."""
    pf = (vf / "physfn").resolve()
    names = {
        "ib1": inside.parent_netdev(pf),
        "0000:d8:00.0": pf.name,
        "0000:d8:00.1": vf.name,
    }
    driver = (vf / "driver").resolve().name
    for line in typed_lines("docs/user/vfs.md", "## By hand"):
        typed(line.replace("mlx5_core", driver), names)
    device = inside.eventually(lambda: inside.rdma_device(vf))
    guid = inside.read(inside.RDMA / device / "node_guid")
    assert GUID.replace(":", "") == guid.replace(":", "")
    (remove,) = typed_lines("docs/user/vfs.md", "## Undo it")
    typed(remove, names)
    assert [] == inside.virtual_functions(pf)


def test_the_end_of_vfs_by_their_rdma_device(vf: Path) -> None:
    """A PF is found by its RDMA device's name as well."""
    pf = (vf / "physfn").resolve()
    (remove,) = typed_lines("docs/user/uninstall.md", "## What is left")
    typed(remove, {"mlx5_0": inside.rdma_device(pf)})
    assert [] == inside.virtual_functions(pf)


def test_an_interface_put_right_by_hand(vf: Path) -> None:
    """Down, its old name, its MTU, and up."""
    now = inside.parent_netdev(vf)
    names = {"ib2": now, "ibp24s0v0": "ibtyped0", "4092": "2044"}
    lines = typed_lines("docs/user/troubleshooting.md", "## Undo by hand", program="ip link")
    assert 3 == len(lines)
    for line in lines:
        typed(line, names)
    assert "ibtyped0" == inside.parent_netdev(vf)
    assert "2044" == inside.read(vf / "net/ibtyped0/mtu")
    inside.run("ip link set ibtyped0 down")
    inside.run(f"ip link set ibtyped0 name {now}")
