"""Devices as attributes, pools as slices."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.inventory import IbDevice
from ibdra_domain.kube_objects import Device
from ibdra_domain.link import LinkLayer, PortState, Rate
from ibdra_domain.publication import DRIVER_NAME, attributes_of, to_dra_device
from ibdra_domain.slices import slice_name, to_slices
from unit.domain.domain_facts import (
    GID0,
    NODE,
    NODE_GUID,
    PF,
    VF,
    a_device,
    a_vf,
    an_hca_port,
)
from unit.domain.domain_strategies import dns_labels

STANDARD = "resource.kubernetes.io/"
UNKNOWN_PORT: dict[str, Any] = dict.fromkeys(
    ("state", "physical_state", "link_layer", "rate", "lid", "sm_lid", "gid0", "active_mtu")
)
UNKNOWN: dict[str, Any] = dict.fromkeys(
    ("netdev", "pcie_root", "node_guid", "firmware", "board_id", "hca_type", "isolation")
)


def test_a_vfs_attributes_are_the_published_contract() -> None:
    """Names, types and values that selectors are written against."""
    assert {
        "type": "VF",
        "linkSpeed": "200Gb/s",
        "linkSpeedGbps": 200,
        "linkWidth": "4X",
        "linkLayer": "InfiniBand",
        "portState": "Active",
        "physicalState": "LinkUp",
        "firmwareVersion": "20.43.1014",
        "nodeGUID": NODE_GUID,
        "portGUID": GID0,
        "subnetPrefix": "fe80:0000:0000:0000",
        "numaNode": 0,
        "pciAddress": VF,
        "parentDevice": "mlx5_0",
        "vfIndex": 0,
        "lid": 0x2F,
        "smLid": 1,
        "rdmaDevice": "mlx5_2",
        "netdev": "ib2",
        "port": 1,
        "boardId": "MT_0000000226",
        "hcaType": "MT4123",
        "rdmaIsolation": "exclusive",
        STANDARD + "pcieRoot": "pci0000:3a",
        STANDARD + "pciBusID": VF,
        STANDARD + "numaNode": 0,
    } == attributes_of(a_vf())


def test_a_pf_has_no_parent() -> None:
    """Attributes of VFs only are left out, so that a selector on them does not match."""
    attributes = attributes_of(a_device())
    assert "PF" == attributes["type"]
    assert set() == attributes.keys() & {"parentDevice", "vfIndex"}


def test_unknown_values_are_left_out() -> None:
    """Only what identifies the device is always there, and numaNode's own -1 (D2)."""
    nameless = a_device(link=an_hca_port(**UNKNOWN_PORT), numa_node=-1, **UNKNOWN)
    assert {
        "type": "PF",
        "numaNode": -1,
        "pciAddress": PF,
        "rdmaDevice": "mlx5_0",
        "port": 1,
        STANDARD + "pciBusID": PF,
    } == attributes_of(nameless)


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (PortState.ACTIVE, "Active"),
        (PortState.DOWN, "Down"),
        (PortState.INIT, "Init"),
        (PortState.ARMED, "Armed"),
    ],
)
def test_port_states_are_spelled_as_documented(state: PortState, shown: str) -> None:
    """People compare with these words."""
    assert shown == attributes_of(a_device(link=an_hca_port(state=state)))["portState"]


def test_a_width_nobody_knows_is_left_out() -> None:
    """While the speed is still told."""
    attributes = attributes_of(a_device(link=an_hca_port(rate=Rate(25000))))
    assert "25Gb/s" == attributes["linkSpeed"]
    assert "linkWidth" not in attributes


@pytest.mark.parametrize(
    ("text", "kept"),
    [("x" * 64, True), ("x" * 65, False), ("é" * 32, True), ("é" * 33, False)],
    ids=["64 letters", "65 letters", "64 bytes", "66 bytes"],
)
def test_a_value_too_long_for_the_api_is_left_out(text: str, *, kept: bool) -> None:
    """The server counts bytes, and would refuse the whole slice."""
    assert kept == ("boardId" in attributes_of(a_device(board_id=text)))


def test_numbers_are_ints_and_texts_are_strings() -> None:
    """As CEL sees them: an int can be compared, a text cannot."""
    device = to_dra_device(a_vf())
    assert "pci-0000-3b-00-2-port1" == device.name
    assert 200 == device.attributes["linkSpeedGbps"].int_
    assert "200Gb/s" == device.attributes["linkSpeed"].string
    assert attributes_of(a_vf()) == {n: a.value for n, a in device.attributes.items()}


texts = st.none() | st.text(max_size=80)
devices = st.builds(
    lambda device, port, changes: device(link=an_hca_port(**port), **changes),
    st.sampled_from([a_device, a_vf]),
    st.fixed_dictionaries(
        {},
        optional={
            "state": st.none() | st.sampled_from(PortState),
            "link_layer": st.none() | st.sampled_from(LinkLayer) | st.text(max_size=70),
            "rate": st.none() | st.builds(Rate, st.integers(1, 10**7), st.integers(0, 16)),
            "physical_state": texts,
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "firmware": texts,
            "board_id": texts,
            "netdev": texts,
            "numa_node": st.integers(-1, 64),
            "isolation": st.none() | st.sampled_from(RdmaIsolation),
        },
    ),
)
_NAME = re.compile(r"(resource\.kubernetes\.io/)?[A-Za-z_][A-Za-z0-9_]{0,31}")


@given(devices)
def test_every_device_keeps_the_apis_limits(device: IbDevice) -> None:
    """At most 32 attributes; C identifiers, bare or of the standard domain; short values."""
    attributes = to_dra_device(device).attributes
    assert len(attributes) <= 32
    for name, attribute in attributes.items():
        assert _NAME.fullmatch(name)
        assert (attribute.string is None) != (attribute.int_ is None)
        assert attribute.string is None or len(attribute.string.encode()) <= 64


def test_no_device_is_one_empty_slice() -> None:
    """It says "nothing here"; no slice would say that nobody has looked yet."""
    (only,) = to_slices([], node=NODE, driver=DRIVER_NAME, generation=4)
    assert () == only.spec.devices
    assert (NODE, 4, 1) == (
        only.spec.pool.name,
        only.spec.pool.generation,
        only.spec.pool.resource_slice_count,
    )
    assert (DRIVER_NAME, NODE) == (only.spec.driver, only.spec.node_name)
    assert "0-ib.sigs.k8s.io-node-1" == only.metadata.name


nodes = st.lists(dns_labels, min_size=1, max_size=6).map(lambda p: ".".join(p)[:253].rstrip(".-"))
drivers = st.just(DRIVER_NAME) | st.lists(dns_labels, min_size=1, max_size=3).map(
    lambda p: ".".join(p)[:63].rstrip(".-")
)
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


@given(st.integers(0, 40), st.integers(1, 12), nodes, drivers)
def test_slices_are_the_pool_cut_in_order(
    count: int, per_slice: int, node: str, driver: str
) -> None:
    """Nothing lost, nothing twice; all of one generation and count; names the API takes."""
    pool = tuple(Device(name=f"d{n}") for n in range(count))
    slices = to_slices(iter(pool), node=node, driver=driver, generation=7, per_slice=per_slice)
    assert pool == tuple(d for s in slices for d in s.spec.devices)
    assert max(1, -(-count // per_slice)) == len(slices)
    assert all(len(s.spec.devices) <= per_slice for s in slices)
    assert {(node, 7, len(slices))} == {
        (s.spec.pool.name, s.spec.pool.generation, s.spec.pool.resource_slice_count) for s in slices
    }
    names = [s.metadata.name for s in slices]
    assert len(set(names)) == len(names)
    assert all(_SUBDOMAIN.fullmatch(name) and len(name) <= 253 for name in names)


def test_a_slice_holds_what_the_api_allows() -> None:
    """128 devices unless told otherwise."""
    slices = to_slices((Device(name=f"d{n}") for n in range(129)), node=NODE, driver=DRIVER_NAME)
    assert [128, 1] == [len(s.spec.devices) for s in slices]


def test_long_names_stay_apart() -> None:
    """What is cut off is in the hash: nodes that differ only at the end do not clash."""
    one, other = ("a." * 120 + end for end in ("x", "y"))
    assert slice_name(0, node=one, driver=DRIVER_NAME) != slice_name(
        0, node=other, driver=DRIVER_NAME
    )
    assert slice_name(0, node=one, driver=DRIVER_NAME) == slice_name(
        0, node=one, driver=DRIVER_NAME
    )
    assert len(slice_name(0, node=one, driver=DRIVER_NAME)) <= 253
