"""``ibdra demo``: nothing in it is staged, so what it reports is exact, and breaks when broken."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ibdra_adapters.netlink.fake import FakeLinks
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakeRdma
from ibdra_adapters.simulation.runtime import SimulatedRuntime
from ibdra_app.detaching import Detaching
from ibdra_app.preparing import Preparing
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import Netns, NetnsId
from unit.cli.cli_runs import EXAMPLES, PROFILES, Ran, run

BARE_METAL = EXCLUSIVE = ("dgx-h100", "hpc-hdr100-dual-port")
Json = dict[str, Any]


@cache
def demo_of(profile: str) -> Ran:
    return run("demo", "--json", "--simulate", profile)


@cache
def devices_of(profile: str) -> dict[str, Json]:
    listing = run("devices", "--simulate", profile, "-o", "json").json
    return {device["name"]: device["attributes"] for device in listing}


def example(profile: str, number: int) -> Json:
    found: Json = demo_of(profile).json["examples"][number - 1]
    return found


def container_of(profile: str, number: int) -> Json:
    (container,) = example(profile, number)["containers"]
    found: Json = container
    return found


def allocated(seen: Json) -> list[str]:
    """Give the devices an example was allocated, in order."""
    (line,) = seen["allocated"]
    return [pair.partition(" = ")[2] for pair in line.split(", ")]


@pytest.mark.parametrize("profile", PROFILES)
def test_passes_and_leaves_nothing(profile: str) -> None:
    """Every example went as it should, and the machine is as it was."""
    ran = demo_of(profile)
    report = ran.json
    assert (0, "") == (ran.code, ran.err)
    assert (True, []) == (report["passed"], report["left_over"])
    assert [f"ib-test{n}" for n in range(1, 6)] == [e["name"] for e in report["examples"]]
    assert {()} == {tuple(e["wrong"]) for e in report["examples"]}
    assert (profile, len(devices_of(profile))) == (report["profile"], report["devices"])
    with_counters = profile != "azure-nd-h100-v5"  # whose VFs have no PF here
    assert 1 + with_counters == report["slices"]


@pytest.mark.parametrize("profile", PROFILES)
def test_one_vf_is_given_to_one_pod(profile: str) -> None:
    """ib-test1: the first VF, its uverbs node and rdma_cm, its interface, and no config."""
    (name,) = allocated(example(profile, 1))
    device, seen = devices_of(profile)[name], container_of(profile, 1)
    assert "VF" == device["type"]
    rdma, netdev = device["rdmaDevice"], device["netdev"]
    assert {
        "IB_DEVICE_VF_IBDEV": rdma,
        "IB_DEVICE_VF_PORT": "1",
        "IB_DEVICE_VF_PCI": device["pciAddress"],
        "IB_DEVICE_VF_NETDEV": netdev,
        "NCCL_IB_HCA": f"={rdma}:1",
        "UCX_NET_DEVICES": f"{rdma}:1",
    } == seen["env"]
    uverbs, rdma_cm = seen["device_nodes"]
    assert re.fullmatch(r"/dev/infiniband/uverbs\d+ \(c 231:\d+\)", uverbs)
    assert "/dev/infiniband/rdma_cm (c 10:58)" == rdma_cm
    assert [{"name": netdev, "mtu": 4092, "up": True, "pkey": None}] == seen["interfaces"]


@pytest.mark.parametrize("profile", PROFILES)
def test_a_partition_is_a_child_interface_and_its_environment(profile: str) -> None:
    """ib-test2: <netdev>.8001 is up with its MTU and pkey; index and key go to NCCL and UCX."""
    (name,) = allocated(example(profile, 2))
    device, seen = devices_of(profile)[name], container_of(profile, 2)
    netdev = device["netdev"]
    assert [
        {"name": netdev, "mtu": 4092, "up": True, "pkey": None},
        {"name": f"{netdev}.8001", "mtu": 4092, "up": True, "pkey": "0x8001"},
    ] == seen["interfaces"]
    assert {
        "IB_DEVICE_VF_NETDEV": f"{netdev}.8001",
        "IB_DEVICE_VF_PKEY": "0x8001",
        "IB_DEVICE_VF_PKEY_INDEX": "1",
        "IB_DEVICE_VF_TRAFFIC_CLASS": "128",
        "IB_DEVICE_VF_MTU": "4096",
        "NCCL_IB_PKEY": "1",
        "UCX_IB_PKEY": "0x8001",
        "NCCL_IB_TC": "128",
        "UCX_IB_TRAFFIC_CLASS": "128",
    }.items() <= seen["env"].items()
    assert "Active" == device["portState"]


@pytest.mark.parametrize("profile", BARE_METAL)
def test_admin_access_moves_nothing(profile: str) -> None:
    """ib-test3: a PF's nodes on the host's network; the PF stays where it is, open to all."""
    (name,) = allocated(example(profile, 3))
    device, seen = devices_of(profile)[name], container_of(profile, 3)
    assert "PF" == device["type"]
    assert {
        "IB_DEVICE_PF_IBDEV": device["rdmaDevice"],
        "IB_DEVICE_PF_PORT": "1",
        "IB_DEVICE_PF_PCI": device["pciAddress"],
        "IB_DEVICE_PF_ADMIN": "true",
    } == seen["env"]
    assert f"net:[{FakeKernel().init_netns.inode}]" == seen["namespace"]
    assert [] == seen["interfaces"]
    kinds = {
        path.removeprefix("/dev/infiniband/").rstrip("0123456789") for path in seen["node_access"]
    }
    assert {"uverbs", "umad", "issm", "rdma_cm"} == kinds
    assert {("opens", "opens")} == {
        (a["container"], a["host"]) for a in seen["node_access"].values()
    }


def test_a_vm_has_no_pf_to_monitor() -> None:
    """ib-test3 stays pending on Azure, with the scheduler's reason."""
    seen = example("azure-nd-h100-v5", 3)
    assert ("pending", [], []) == (seen["outcome"], seen["allocated"], seen["containers"])
    assert "request pf: 0 of the 1 devices asked for fit" in seen["reason"]


@pytest.mark.parametrize("profile", PROFILES)
def test_two_vfs_are_of_one_numa_node(profile: str) -> None:
    """ib-test4: two different VFs whose NUMA node, as listed, is the same; both are told of."""
    names = allocated(example(profile, 4))
    first, second = (devices_of(profile)[name] for name in names)
    assert 2 == len(set(names))
    assert first["resource.kubernetes.io/numaNode"] == second["resource.kubernetes.io/numaNode"]
    assert ("VF", "VF") == (first["type"], second["type"])
    seen = container_of(profile, 4)
    rdma = [first["rdmaDevice"], second["rdmaDevice"]]
    assert rdma == [seen["env"][f"IB_DEVICE_VFS_{n}_IBDEV"] for n in (0, 1)]
    assert f"={rdma[0]}:1,{rdma[1]}:1" == seen["env"]["NCCL_IB_HCA"]
    assert 2 == sum("uverbs" in node for node in seen["device_nodes"])
    assert [first["netdev"], second["netdev"]] == [i["name"] for i in seen["interfaces"]]


@pytest.mark.parametrize("profile", PROFILES)
def test_any_fast_port_will_do(profile: str) -> None:
    """ib-test5: an active port of at least 100 Gb/s."""
    (name,) = allocated(example(profile, 5))
    device = devices_of(profile)[name]
    assert "Active" == device["portState"]
    assert device["linkSpeedGbps"] >= 100


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_isolation_is_what_the_mode_promises(profile: str, number: int) -> None:
    """In exclusive mode the host is refused and the pod sees its own HCAs alone."""
    seen = container_of(profile, number)
    host = {a["host"] for path, a in seen["node_access"].items() if "uverbs" in path}
    own = [devices_of(profile)[n]["rdmaDevice"] for n in allocated(example(profile, number))]
    if profile in EXCLUSIVE:
        assert ({"refused (EPERM)"}, own) == (host, seen["rdma_devices"])
    else:
        assert {"opens"} == host
        assert len(devices_of(profile)) == len(seen["rdma_devices"])
    assert {"opens"} == {a["container"] for a in seen["node_access"].values()}


def test_is_shown_to_people_too() -> None:
    """Without --json the same facts are told in lines."""
    ran = run("demo", "--simulate", "hpc-hdr100-dual-port")
    assert (0, "") == (ran.code, ran.err)
    assert "interface ib0v0.8001: up, MTU 4092, pkey 0x8001" in ran.out
    assert "Nothing is left" in ran.out
    assert "WRONG" not in ran.out


# -- and it fails when something is broken ---------------------------------------------------


def broken(profile: str = "hpc-hdr100-dual-port", *options: str | Path) -> Ran:
    ran = run("demo", "--simulate", profile, *options)
    assert (1, "") == (ran.code, ran.err)
    return ran


def test_a_hook_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that got less than it was told of is WRONG."""

    def without_hook(self: SimulatedRuntime, cdi_folder: Path, **_: object) -> None:
        self._folder = cdi_folder
        self._run_hook = lambda _path, _args, _state: None

    monkeypatch.setattr(SimulatedRuntime, "__init__", without_hook)
    ran = broken()
    assert "WRONG: ctr0 cannot open /dev/infiniband/uverbs3" in ran.out
    assert "WRONG: IB_DEVICE_VF: mlx5_0v0 is not visible" in ran.out
    assert "WRONG: the host can still open /dev/infiniband/uverbs3" in ran.out
    assert "WRONG: IB_DEVICE_VF: interface ib0v0 is not up" in ran.out
    assert "LEFT OVER" not in ran.out


def test_an_interface_under_the_wrong_name_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name in the environment must be the interface's."""
    monkeypatch.setattr(FakeLinks, "rename", lambda *_, **__: None)
    ran = broken()
    assert "did not settle" in ran.out
    assert "LEFT OVER" in ran.out


def test_a_detach_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interfaces that stay as the container had them are LEFT OVER."""
    monkeypatch.setattr(Detaching, "detach", lambda *_, **__: None)
    ran = broken("azure-nd-h100-v5")
    assert "LEFT OVER" in ran.out


def test_an_unprepare_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and records of a claim that is gone are LEFT OVER."""

    def forgotten(_: Preparing, claims: list[ClaimRef]) -> dict[str, None]:
        return dict.fromkeys(claim.uid for claim in claims)

    monkeypatch.setattr(Preparing, "unprepare", forgotten)
    report = broken("hpc-hdr100-dual-port", "--json").json
    assert not report["passed"]
    assert any(line.startswith("record of claim ") for line in report["left_over"])
    assert any("/cdi/" in line for line in report["left_over"])
    assert any("is held by claim" in line for e in report["examples"] for line in e["wrong"])


def test_a_kernel_that_loses_the_mtu_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container whose interface has less than was asked for starts, and the demo fails."""
    configure = FakeLinks.configure

    def without_mtu(
        self: FakeLinks, index: int, *, netns: Netns, mtu: int | None = None, up: bool | None = None
    ) -> None:
        configure(self, index, netns=netns, mtu=None if mtu == 4092 else mtu, up=up)

    add_child = FakeLinks.add_pkey_child

    def small_child(self: FakeLinks, parent: int, *, name: str, pkey: int, netns: Netns) -> None:
        add_child(self, parent, name=name, pkey=pkey, netns=netns)
        child = next(link for link in self.list(netns) if link.name == name)
        configure(self, child.index, netns=netns, mtu=2044)

    monkeypatch.setattr(FakeLinks, "configure", without_mtu)
    monkeypatch.setattr(FakeLinks, "add_pkey_child", small_child)
    ran = broken()
    assert "  WRONG: IB_DEVICE_VF: ib0v0.8001 has MTU 2044 of 4096\n" in ran.out


def test_a_device_that_does_not_come_home_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that leaves a device in a dead namespace is told of at the end."""
    re_create = FakeKernel._re_create

    def stays(self: FakeKernel, device: FakeRdma, target: NetnsId) -> None:
        if target != self.init_netns:
            re_create(self, device, target)

    monkeypatch.setattr(FakeKernel, "_re_create", stays)
    ran = broken()
    assert "LEFT OVER" in ran.out
    assert "RDMA device mlx5_0v0: was at home, is gone" in ran.out


def test_an_example_that_finds_no_device_is_noticed(tmp_path: Path) -> None:
    """Pending is right only where the profile says so."""
    for path in EXAMPLES.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace(
            "linkSpeedGbps >= 100", "linkSpeedGbps >= 9000"
        )
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    ran = broken("hpc-hdr100-dual-port", "--examples", tmp_path)
    assert "WRONG: ib-test5 should find its devices: request port: 0 of the 1" in ran.out
