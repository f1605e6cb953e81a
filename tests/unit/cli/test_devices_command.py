"""``ibdra devices`` and ``ibdra slices``: what this node has, and would publish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from ibdra_domain.kube_objects import (
    MAX_ATTRIBUTE_VALUE,
    MAX_ATTRIBUTES_PER_DEVICE,
    MAX_DEVICES_PER_SLICE,
    MAX_OBJECT_NAME,
    ResourceSlice,
)
from unit.cli.cli_runs import BIG_PROFILE, EXPECTED, PROFILES, TREES, Ran, run

TREE_NAMES = sorted(path.stem for path in EXPECTED.glob("*.json"))


@cache
def listed(profile: str | Path) -> Ran:
    """List a simulated machine once: writing its tree is what takes the time."""
    return run("devices", "--simulate", profile, "-o", "json")


@cache
def published(profile: str | Path) -> Ran:
    """Print its slices once."""
    return run("slices", "--simulate", profile, "--node", "node-a")


def slices_in(text: str) -> Iterator[dict[str, Any]]:
    for body in yaml.safe_load_all(text):
        assert isinstance(body, dict)
        yield body


@pytest.mark.parametrize("name", TREE_NAMES)
def test_captured_trees_give_what_is_written_down(name: str) -> None:
    """Every captured machine is listed exactly as expected, in JSON and in YAML."""
    expected = json.loads((EXPECTED / f"{name}.json").read_text(encoding="utf-8"))
    as_json = run("devices", "--sysfs-root", TREES / name, "-o", "json")
    assert 0 == as_json.code
    assert expected == as_json.json
    as_yaml = run("devices", "--sysfs-root", TREES / name, "-o", "yaml")
    assert expected == yaml.safe_load(as_yaml.out)
    assert as_json.err == as_yaml.err


@pytest.mark.parametrize("name", TREE_NAMES)
def test_warnings_go_to_standard_error(name: str) -> None:
    """Output that a program reads holds nothing but the devices."""
    ran = run("devices", "--sysfs-root", TREES / name)
    assert all(line.startswith("warning: ") for line in ran.err.splitlines())
    assert ("garbage" == name) <= bool(ran.err)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_table_shows_every_device(profile: str) -> None:
    """One line a device, in the order of the JSON, then a summary; no value is cut short."""
    listing = listed(profile).json
    ran = run("devices", "--simulate", profile)
    headings, *rows, summary = ran.out.splitlines()
    assert ["DEVICE", "TYPE", "STATE", "SPEED", "NUMA", "RDMA", "NETDEV", "PARENT"] == (
        headings.split()
    )
    keys = ("type", "portState", "linkSpeed", "numaNode")
    assert [
        [d["name"], *(str(d["attributes"][key]) for key in keys), d["attributes"]["rdmaDevice"]]
        for d in listing
    ] == [[*row.split()[:5], row.split()[5].partition(":")[0]] for row in rows]
    assert summary.startswith(f"{len(listing)} InfiniBand devices; ")
    assert (0, "") == (ran.code, ran.err)


def test_a_machine_without_devices_is_no_failure() -> None:
    """Nothing is a good answer: an empty list, a summary without a table."""
    tree = TREES / "rxe-and-siw"
    assert [] == run("devices", "--sysfs-root", tree, "-o", "json").json
    ran = run("devices", "--sysfs-root", tree)
    assert 0 == ran.code
    assert ran.out.startswith("0 InfiniBand devices; ")
    assert 1 == len(ran.out.splitlines())


def test_ethernet_is_shown_on_demand() -> None:
    """RoCE ports of the same HCAs appear with --include-ethernet only."""
    without = listed("dgx-h100").json
    with_them = run("devices", "--simulate", "dgx-h100", "-o", "json", "--include-ethernet").json
    added = [d for d in with_them if d not in without]
    assert 2 == len(added)
    assert {"Ethernet"} == {d["attributes"]["linkLayer"] for d in added}
    assert without == [d for d in with_them if d not in added]


@pytest.mark.parametrize("profile", [*PROFILES, BIG_PROFILE], ids=lambda p: Path(p).stem)
def test_slices_are_what_an_api_server_takes(profile: str | Path) -> None:
    """Every object has its type and a name, and keeps the API's limits."""
    listing = listed(profile).json
    ran = published(profile)
    assert (0, "") == (ran.code, ran.err)
    bodies = list(slices_in(ran.out))
    for index, body in enumerate(bodies):
        assert ["apiVersion", "kind", "metadata", "spec"] == list(body)
        assert ("resource.k8s.io/v1", "ResourceSlice") == (body["apiVersion"], body["kind"])
        assert {"name": f"{index:x}-ib.sigs.k8s.io-node-a"} == body["metadata"]
        assert len(body["metadata"]["name"]) <= MAX_OBJECT_NAME
        spec = body["spec"]
        assert ("ib.sigs.k8s.io", "node-a") == (spec["driver"], spec["nodeName"])
        assert {"name": "node-a", "generation": 1, "resourceSliceCount": len(bodies)} == (
            spec["pool"]
        )
        assert 1 == ("devices" in spec) + ("sharedCounters" in spec)
        assert len(spec.get("devices", [])) <= MAX_DEVICES_PER_SLICE
        assert ResourceSlice is type(msgspec.convert(body, ResourceSlice))
    devices = [device for body in bodies for device in body["spec"].get("devices", [])]
    assert [d["name"] for d in listing] == [d["name"] for d in devices]
    for one_listed, device in zip(listing, devices, strict=True):
        assert one_listed["attributes"] == {
            name: value for name, one in device["attributes"].items() for value in one.values()
        }
        assert len(device["attributes"]) <= MAX_ATTRIBUTES_PER_DEVICE
        assert all(1 == len(one) for one in device["attributes"].values())
        assert all(
            len(one["string"]) <= MAX_ATTRIBUTE_VALUE
            for one in device["attributes"].values()
            if "string" in one
        )


def test_a_thousand_vfs_are_seventeen_slices_and_one_of_counters() -> None:
    """1,024 VFs and 8 PFs fill sixteen slices of 64; without counters and taints eight of 128."""
    specs = [body["spec"] for body in slices_in(published(BIG_PROFILE).out)]
    assert [64] * 16 + [8, 0] == [len(spec.get("devices", [])) for spec in specs]
    assert 8 == len(specs[-1]["sharedCounters"])
    bare = run(
        *("slices", "--simulate", BIG_PROFILE, "--node", "node-a"),
        *("--no-counters", "--unhealthy-taint=None"),
    )
    sizes = [len(body["spec"]["devices"]) for body in slices_in(bare.out)]
    assert [128] * 8 + [8] == sizes


def test_a_port_that_is_down_is_tainted() -> None:
    """As the node agent would do it; not where it is told to set no taints."""
    source = ["slices", "--simulate", "hpc-hdr100-dual-port", "--node", "n"]
    for options, expected in (([], 2), (["--unhealthy-taint=None"], 0)):
        bodies = slices_in(run(*source, *options).out)
        devices = [d for body in bodies for d in body["spec"].get("devices", [])]
        tainted = [d for d in devices if "taints" in d]
        assert expected == len(tainted)
        assert {"Down"} >= {d["attributes"]["portState"]["string"] for d in tainted}


def test_no_devices_are_one_empty_slice() -> None:
    """A node without InfiniBand says so in one slice."""
    (body,) = slices_in(run("slices", "--sysfs-root", TREES / "rxe-and-siw", "--node", "n").out)
    assert {"name": "n", "generation": 1, "resourceSliceCount": 1} == body["spec"]["pool"]
    assert [] == body["spec"].get("devices", [])


def test_the_nodes_name_is_the_machines_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes names nodes by host name, in lower case."""
    monkeypatch.setattr("socket.gethostname", lambda: "Node-A.Example")
    (body,) = slices_in(run("slices", "--simulate", "azure-nd-h100-v5").out)
    assert "node-a.example" == body["spec"]["nodeName"]
