"""What a prepared claim's containers get."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.cdi import CdiSpec, DeviceNode, Hook, check_spec
from ibdra_domain.container_edits import (
    HookSettings,
    cdi_device_name,
    child_name,
    claim_environment,
    container_netdev,
    node_numbers,
    port_environment,
    to_cdi_spec,
    to_prepared_devices,
)
from ibdra_domain.hardware import CharDevice, CharDeviceKind
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.ports.driver import PreparedDevice
from ibdra_domain.preparation import PreparedClaim
from unit.domain.domain_facts import (
    NODE,
    PF,
    TENANT_PKEY,
    VF,
    a_char_device,
    a_device,
    a_port,
    a_prepared_claim,
    a_vf,
    rdma_cm,
)

CHILD = {"config": IbConfig(pkey=TENANT_PKEY), "pkey_index": 3}


def spec_of(claim: PreparedClaim, **changes: Any) -> CdiSpec:
    """Write a claim's spec on a node with rdma_cm."""
    options: dict[str, Any] = {"char_devices": (a_char_device(), rdma_cm()), "hook": HookSettings()}
    return to_cdi_spec(claim, **options | changes)


def test_a_port_is_one_cdi_device() -> None:
    """With its nodes and variables; its name says device, claim and request."""
    (device,) = spec_of(a_prepared_claim()).devices
    assert "pci-0000-3b-00-0-port1_uid-1_hca" == device.name
    edits = device.container_edits
    assert (DeviceNode(path="/dev/infiniband/uverbs0", major=231, minor=192),) == edits.device_nodes
    assert (
        "IB_DEVICE_HCA_IBDEV=mlx5_0",
        "IB_DEVICE_HCA_PORT=1",
        f"IB_DEVICE_HCA_PCI={PF}",
        "IB_DEVICE_HCA_NETDEV=ib0",
    ) == edits.env
    assert () == edits.hooks


def test_what_is_shared_comes_with_any_device() -> None:
    """rdma_cm, the claim's variables and the hook stand at the spec's level."""
    edits = spec_of(a_prepared_claim()).container_edits
    assert ["/dev/infiniband/rdma_cm"] == [n.path for n in edits.device_nodes]
    assert ("NCCL_IB_HCA==mlx5_0:1", "UCX_NET_DEVICES=mlx5_0:1") == edits.env
    hook = Hook(
        hook_name="createRuntime",
        path="/opt/ibdra/bin/ibdra-hook",
        args=("ibdra-hook", "attach", "uid-1", "231:192"),
        timeout=60,
    )
    assert (hook,) == edits.hooks


def test_the_hook_is_where_the_settings_say() -> None:
    """And waits as long."""
    (hook,) = spec_of(
        a_prepared_claim(), hook=HookSettings(path="/x/hook", timeout=7)
    ).container_edits.hooks
    assert ("/x/hook", 7) == (hook.path, hook.timeout)


def test_the_helpers_own_options_come_before_its_verb() -> None:
    """Where socket and marks are not what the helper takes for granted."""
    hook = HookSettings(options=("--socket", "/run/x.sock"))
    (written,) = spec_of(a_prepared_claim(), hook=hook).container_edits.hooks
    assert ("ibdra-hook", "--socket", "/run/x.sock", "attach") == written.args[:4]


def test_node_numbers_are_those_of_all_ports_in_their_order() -> None:
    """And a dash where a claim has no node at all."""
    umad = CharDevice(kind=CharDeviceKind.UMAD, name="umad0", major=231, minor=0)
    both = a_prepared_claim(a_port(), msgspec.structs.replace(a_port(), char_devices=(umad,)))
    assert "231:192,231:0" == node_numbers(both)
    bare = a_prepared_claim(msgspec.structs.replace(a_port(), char_devices=()))
    assert "-" == node_numbers(bare)


def test_a_node_without_rdma_cm_has_none_to_give() -> None:
    """The module may not be loaded; verbs work without it."""
    assert () == spec_of(a_prepared_claim(), char_devices=()).container_edits.device_nodes


def test_admin_access_alone_has_no_hook_and_no_claim_variables() -> None:
    """Nothing moves, and an administrator's container is no job."""
    spec = spec_of(a_prepared_claim(a_port(admin=True)))
    assert () == spec.container_edits.hooks
    assert () == spec.container_edits.env
    assert "IB_DEVICE_HCA_ADMIN=true" in spec.devices[0].container_edits.env


def test_a_spec_passes_the_runtimes_rules() -> None:
    """Also for several devices of one request, and one device of two requests."""
    look = a_port(request="look", admin=True)
    ports = (a_port(), a_port(device=a_device(port=2)), a_port(device=a_vf()), look)
    check_spec(spec_of(a_prepared_claim(*ports)))


def test_the_kubelet_gets_one_answer_a_device() -> None:
    """With the CDI id that the spec defines."""
    claim = a_prepared_claim(a_port(share_id="s"), a_port(request="b", device=a_vf()))
    first, second = to_prepared_devices(claim)
    assert first == PreparedDevice(
        requests=("hca",),
        pool=NODE,
        device="pci-0000-3b-00-0-port1",
        cdi_ids=("ib.sigs.k8s.io/claim=pci-0000-3b-00-0-port1_uid-1_hca",),
        share_id="s",
    )
    assert (("b",), None) == (second.requests, second.share_id)
    spec = spec_of(claim)
    assert [*first.cdi_ids, *second.cdi_ids] == [spec.qualified(d.name) for d in spec.devices]


def test_a_cdi_name_tells_claims_apart() -> None:
    """A device may be looked at by many claims' administrators at a time."""
    port = a_port(admin=True)
    names = {
        cdi_device_name(a_prepared_claim(claim=a_prepared_claim().claim), port),
        cdi_device_name(a_prepared_claim(), a_port(request="other")),
        cdi_device_name(a_prepared_claim(), a_port(device=a_vf())),
    }
    assert 3 == len(names)


def test_a_configured_port_says_so() -> None:
    """Key and index, traffic class and MTU, and the partition's interface."""
    port = a_port(
        config=IbConfig(pkey=TENANT_PKEY, traffic_class=106, mtu=2048), pkey_index=3, device=a_vf()
    )
    assert {
        "P_IBDEV": "mlx5_2",
        "P_PORT": "1",
        "P_PCI": VF,
        "P_NETDEV": "ib2.8001",
        "P_PKEY": "0x8001",
        "P_PKEY_INDEX": "3",
        "P_TRAFFIC_CLASS": "106",
        "P_MTU": "2048",
    } == port_environment(port, prefix="P")


def test_zero_is_said_too() -> None:
    """Index 0 and traffic class 0 are values, not the lack of one."""
    port = a_port(config=IbConfig(pkey=TENANT_PKEY, traffic_class=0), pkey_index=0)
    found = port_environment(port, prefix="P")
    assert ("0", "0", "ib0") == (
        found["P_PKEY_INDEX"],
        found["P_TRAFFIC_CLASS"],
        found["P_NETDEV"],
    )


@pytest.mark.parametrize(
    ("changes", "netdev"),
    [
        ({}, "ib0"),
        ({"admin": True}, None),
        ({"device": a_device(netdev=None)}, None),
        (CHILD, "ib0.8001"),
        (CHILD | {"pkey_index": 0}, "ib0"),
        (CHILD | {"admin": True}, None),
        (CHILD | {"device": a_device(netdev=None)}, None),
    ],
)
def test_the_interface_to_use_is_the_one_that_will_be_there(
    changes: dict[str, Any], netdev: str | None
) -> None:
    """A partition's child if there is one; none for admin access."""
    assert netdev == container_netdev(a_port(**changes))


def wishing(*wishes: tuple[int | None, int | None, int | None]) -> PreparedClaim:
    """Build a claim of VFs with these pkeys, pkey indexes and traffic classes."""
    return a_prepared_claim(
        *(
            a_port(
                device=a_vf(rdma_device=f"mlx5_{n}"),
                config=IbConfig(pkey=pkey, traffic_class=tc),
                pkey_index=index,
            )
            for n, (pkey, index, tc) in enumerate(wishes)
        )
    )


AGREED = {"UCX_IB_PKEY": "0x8001", "NCCL_IB_PKEY": "3"}
CLASSES = {"NCCL_IB_TC": "0", "UCX_IB_TRAFFIC_CLASS": "0"}


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (wishing((None, None, None)), {}),
        (wishing((0x8001, 3, 0)), AGREED | CLASSES),
        (wishing((0x8001, 3, 0), (0x8001, 3, 0)), AGREED | CLASSES),
        (wishing((0x8001, 3, None), (0x8001, 4, None)), {"UCX_IB_PKEY": "0x8001"}),
        (wishing((0x8001, 3, 0), (0x8002, 3, 1)), {}),
        (wishing((0x8001, 3, 0), (None, None, None)), {}),
    ],
    ids=["no wish", "one", "agreed", "indexes differ", "keys differ", "one has no wish"],
)
def test_programs_are_told_what_all_ports_agree_on(
    claim: PreparedClaim, said: dict[str, str]
) -> None:
    """NCCL by the pkey's index, UCX by the key; one variable cannot say two things."""
    names = ",".join(f"mlx5_{n}:1" for n in range(len(claim.ports)))
    always = {"NCCL_IB_HCA": f"={names}", "UCX_NET_DEVICES": names}
    assert always | said == claim_environment(claim)


def test_an_administrators_port_carries_no_data() -> None:
    """It is neither named to NCCL nor asked for its wishes."""
    claim = a_prepared_claim(a_port(), a_port(request="look", device=a_vf(), admin=True))
    assert "=mlx5_0:1" == claim_environment(claim)["NCCL_IB_HCA"]


interface_names = st.from_regex(r"[A-Za-z0-9_@-]{1,15}", fullmatch=True)


@given(interface_names, st.integers(0x8001, 0xFFFF))
def test_a_childs_name_fits_an_interface(netdev: str, pkey: int) -> None:
    """At most 15 characters, the key at the end, the parent recognisable at the start."""
    name = child_name(netdev, pkey)
    assert len(name) <= 15
    assert name.endswith(f".{pkey:04x}")
    assert name.startswith(netdev[:6])
    assert not set(name) & set("/: \t")


def test_a_short_childs_name_is_the_kernels() -> None:
    """Parent, dot, key."""
    assert "ib0.8001" == child_name("ib0", 0x8001)


def test_long_parents_children_stay_apart() -> None:
    """Two VFs' interfaces with the same beginning do not clash in a container."""
    assert child_name("ibp59s0f0v10", 0x8001) != child_name("ibp59s0f0v11", 0x8001)
