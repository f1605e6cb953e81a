"""``ibdra devices`` tells of PFs and VFs what rdma, ip, ibv_devinfo and plain files tell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from contract.virtual_node import inside

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not inside.MODE, reason=inside.NEEDS),
]
VFS = 4
KUBERNETES = "resource.kubernetes.io/"


class Told(NamedTuple):
    """What each program said, once, about the same machine."""

    devices: list[dict[str, Any]]
    warnings: str
    functions: list[Path]
    rdma_dev: list[dict[str, Any]]
    rdma_link: list[dict[str, Any]]
    links: list[dict[str, Any]]
    devinfo: dict[str, str]

    def device(self, function: Path) -> dict[str, Any]:
        """Give the attributes of the one device on a function."""
        (found,) = (d for d in self.devices if d["attributes"]["pciAddress"] == function.name)
        return dict(found["attributes"])


@pytest.fixture(name="told", scope="module")
def _told() -> Iterator[Told]:
    """Make VFs of the first HCA, switch one port down, and ask everybody."""
    pf, other = inside.physical_functions()
    with inside.virtual(pf, VFS) as functions:
        inside.write(functions[1] / "stub_port_state", "DOWN")
        inside.write(functions[2] / "stub_port_state", "INIT")
        done = subprocess.run(
            [Path(sys.executable).with_name("ibdra"), "devices", "-o", "json"],
            check=True,
            capture_output=True,
            text=True,
        )
        blocks = re.split(r"^hca_id:\s*", inside.run("ibv_devinfo -v"), flags=re.MULTILINE)[1:]
        yield Told(
            devices=json.loads(done.stdout),
            warnings=done.stderr,
            functions=[*functions, pf, other],
            rdma_dev=json.loads(inside.run("rdma -j -d dev")),
            rdma_link=json.loads(inside.run("rdma -j -d link")),
            links=json.loads(inside.run("ip -j -d link")),
            devinfo={block.split()[0]: block for block in blocks},
        )


def test_each_function_is_one_device_and_vfs_come_first(told: Told) -> None:
    """In the order in which they are offered; and there is nothing to warn of."""
    expected = [f"pci-{f.name.replace(':', '-').replace('.', '-')}-port1" for f in told.functions]
    assert expected == [device["name"] for device in told.devices]
    assert "" == told.warnings


def test_all_that_is_told_is_compared_here(told: Told) -> None:
    """An attribute more, and this module has one too few."""
    common = {
        *("type", "linkSpeed", "linkSpeedGbps", "linkWidth", "linkLayer", "portState"),
        *("physicalState", "firmwareVersion", "nodeGUID", "portGUID", "subnetPrefix", "numaNode"),
        *("pciAddress", "lid", "smLid", "rdmaDevice", "netdev", "port", "boardId", "hcaType"),
        *("rdmaIsolation", f"{KUBERNETES}pcieRoot", f"{KUBERNETES}pciBusID"),
        f"{KUBERNETES}numaNode",
    }
    for function in told.functions:
        vf = {"parentDevice", "vfIndex"} if (function / "physfn").exists() else set()
        assert common | vf == told.device(function).keys()


def test_what_pci_says(told: Told) -> None:
    """Address, NUMA node, root complex, parent and index, from plain files and links."""
    pf = inside.physical_functions()[0]
    for function in told.functions:
        seen = told.device(function)
        node = int(inside.read(function / "numa_node"))
        root = next(part for part in function.resolve().parts if part.startswith("pci0000:"))
        assert (node, node) == (seen["numaNode"], seen[f"{KUBERNETES}numaNode"])
        assert (root, function.name) == (
            seen[f"{KUBERNETES}pcieRoot"],
            seen[f"{KUBERNETES}pciBusID"],
        )
        assert ("VF" if (function / "physfn").exists() else "PF") == seen["type"]
    for index, function in enumerate(inside.virtual_functions(pf)):
        seen = told.device(function)
        assert (index, inside.rdma_device(pf)) == (seen["vfIndex"], seen["parentDevice"])


def test_what_rdma_says(told: Told) -> None:
    """Names, GUIDs, firmware, states, LIDs and interfaces, as RDMA netlink has them."""
    devices = {entry["ifname"]: entry for entry in told.rdma_dev}
    links = {entry["ifname"]: entry for entry in told.rdma_link}
    for function in told.functions:
        seen = told.device(function)
        name = seen["rdmaDevice"]
        assert inside.rdma_device(function) == name
        assert devices[name]["node_guid"] == seen["nodeGUID"]
        assert devices[name]["fw"] == seen["firmwareVersion"]
        link = links[name]
        assert link["port"] == seen["port"]
        assert link["state"] == seen["portState"].upper()
        assert link["physical_state"].replace("_", "") == seen["physicalState"].upper()
        assert (link["lid"], link["sm_lid"]) == (seen["lid"], seen["smLid"])
        assert link["subnet_prefix"] == seen["subnetPrefix"]
    mode = re.search(r"netns (\w+)", inside.run("rdma system show"))
    assert mode is not None
    assert {mode[1]} == {device["attributes"]["rdmaIsolation"] for device in told.devices}


def test_what_ip_says(told: Told) -> None:
    """The interface of a device is the one whose address ends in its port's GUID."""
    by_name = {entry["ifname"]: entry for entry in told.links}
    for function in told.functions:
        seen = told.device(function)
        link = by_name[seen["netdev"]]
        guid = link["address"].replace(":", "")[-32:]
        assert guid == seen["portGUID"].replace(":", "")
        assert "infiniband" == link["link_type"]
        assert function.name == link["parentdev"]
        assert (function / "net" / seen["netdev"]).is_dir()


def test_what_ibv_devinfo_says(told: Told) -> None:
    """The second opinion of libibverbs' own tool."""
    for function in told.functions:
        seen = told.device(function)
        said = dict(
            re.findall(
                r"^\s*([\w.\[ \]]+?):\s+(.*)$", told.devinfo[seen["rdmaDevice"]], re.MULTILINE
            )
        )
        assert said["fw_ver"] == seen["firmwareVersion"]
        assert said["node_guid"] == seen["nodeGUID"]
        assert said["state"].split()[0] == f"PORT_{seen['portState'].upper()}"
        assert said["link_layer"] == seen["linkLayer"]
        assert int(said["port_lid"]) == seen["lid"]
        assert int(said["sm_lid"]) == seen["smLid"]
        assert said["active_width"].split()[0] == seen["linkWidth"]
        lane, lanes = said["active_speed"].split()[0], int(seen["linkWidth"].rstrip("X"))
        assert float(lane) * lanes == seen["linkSpeedGbps"]
        assert str(int(said["vendor_part_id"])) == seen["hcaType"].removeprefix("MT")
        gid = said["GID[  0]"].split(",")[0].strip()
        assert _expanded(gid) == seen["portGUID"]


def test_what_plain_files_say(told: Told) -> None:
    """Rate, states, GIDs and boards, as a shell would read them."""
    for function in told.functions:
        seen = told.device(function)
        device = inside.RDMA / seen["rdmaDevice"]
        assert inside.read(device / "board_id") == seen["boardId"]
        assert inside.read(device / "hca_type") == seen["hcaType"]
        port = device / f"ports/{seen['port']}"
        assert inside.read(port / "state").split(": ")[1] == seen["portState"].upper()
        assert inside.read(port / "phys_state").split(": ")[1] == seen["physicalState"]
        assert inside.read(port / "link_layer") == seen["linkLayer"]
        assert int(inside.read(port / "lid"), 16) == seen["lid"]
        assert int(inside.read(port / "sm_lid"), 16) == seen["smLid"]
        assert inside.read(port / "gids/0") == seen["portGUID"]
        speed, _, width = inside.read(port / "rate").split()[:3]
        assert (f"{speed}Gb/s", int(speed)) == (seen["linkSpeed"], seen["linkSpeedGbps"])
        assert width.lstrip("(") == seen["linkWidth"]


def test_ports_that_are_not_up_are_told_as_they_are(told: Told) -> None:
    """Down and Init, with the physical state of each."""
    states = [
        (d["attributes"]["portState"], d["attributes"]["physicalState"]) for d in told.devices
    ]
    up = ("Active", "LinkUp")
    assert [up, ("Down", "Polling"), ("Init", "LinkUp"), up, up, up] == states


def _expanded(gid: str) -> str:
    """Write a GID out, of whose zeroes a tool may have left some away."""
    if "::" not in gid:
        return gid
    left, right = (half.split(":") if half else [] for half in gid.split("::"))
    groups = [*left, *["0"] * (8 - len(left) - len(right)), *right]
    return ":".join(group.zfill(4) for group in groups)
