"""What holds of an inventory whatever the sources report."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain.hardware import Hca, HcaPort, NetDevice, PciFunction, SysfsReading, VerbsReading
from ibdra_domain.identifiers import PciAddress, pci_sort_key
from ibdra_domain.inventory import FunctionType, IbDevice, Presence, take_inventory
from ibdra_domain.link import LinkLayer, PortState, Rate
from unit.domain.domain_facts import a_device

# Few addresses and names, so that sources agree, clash and contradict each other.
addresses = st.sampled_from(
    [PciAddress(f"{d}:3b:00.{f}") for d in ("0000", "10000") for f in range(3)]
)
names = st.sampled_from(["mlx5_0", "mlx5_1", "rxe0"])
ports = st.builds(
    HcaPort,
    number=st.integers(1, 2),
    state=st.none() | st.sampled_from(PortState),
    link_layer=st.none() | st.sampled_from([*LinkLayer, "Unspecified"]),
    rate=st.none() | st.builds(Rate, st.integers(1, 10**6), st.integers(0, 12)),
    active_mtu=st.none() | st.just(4096),
)
hcas = st.lists(
    st.builds(
        Hca,
        name=names,
        pci=st.none() | addresses,
        has_uverbs=st.none() | st.booleans(),
        firmware=st.none() | st.text(),
        ports=st.lists(ports, max_size=3).map(tuple),
    ),
    max_size=4,
).map(tuple)
functions = st.lists(
    st.builds(
        PciFunction,
        address=addresses,
        vendor=st.sampled_from([0, 0x15B3]),
        device=st.sampled_from([0, 0x101B, 0x101C]),
        driver=st.none() | st.just("mlx5_core"),
        physfn=st.none() | addresses,
        vfs=st.lists(st.none() | addresses, max_size=3).map(tuple),
        total_vfs=st.none() | st.integers(0, 8),
    ),
    max_size=4,
).map(tuple)
netdevs = st.lists(
    st.builds(
        NetDevice,
        name=st.text(max_size=5),
        pci=addresses,
        port=st.integers(0, 3),
        hardware_address=st.text(max_size=5),
        infiniband=st.booleans(),
    ),
    max_size=3,
).map(tuple)
sysfs_readings = st.builds(
    lambda reading, others: replace(
        reading, addresses=others | {function.address for function in reading.functions}
    ),
    st.builds(SysfsReading, functions=functions, hcas=hcas, netdevs=netdevs),
    st.frozensets(addresses),
)
verbs_readings = st.builds(VerbsReading, hcas=hcas)
remembered = st.lists(
    st.builds(lambda pci, port: a_device(pci=pci, port=port), addresses, st.integers(1, 3)),
    max_size=3,
)


def _offered(device: IbDevice) -> tuple[bool, tuple[int, str], int]:
    return device.function_type is FunctionType.PF, pci_sort_key(device.pci), device.port


@given(sysfs_readings, verbs_readings, remembered, st.booleans())
def test_any_facts_make_an_orderly_inventory(
    sysfs: SysfsReading,
    verbs: VerbsReading,
    old: list[IbDevice],
    include_ethernet: bool,  # noqa: FBT001 - hypothesis passes by position
) -> None:
    """No facts raise; names are unique; VFs come before PFs, each by address and port."""
    found = take_inventory(sysfs, verbs, remembered=old, include_ethernet=include_ethernet)
    device_names = [d.name for d in found.devices]
    assert len(set(device_names)) == len(device_names)
    assert sorted(found.devices, key=_offered) == list(found.devices)
    assert {d.name for d in old} <= set(device_names)


@given(sysfs_readings, verbs_readings, remembered)
def test_presence_follows_the_pci_function(
    sysfs: SysfsReading, verbs: VerbsReading, old: list[IbDevice]
) -> None:
    """A device is GONE exactly if its function is; one that is only remembered is not HERE."""
    found = take_inventory(sysfs, verbs, remembered=old)
    seen = {d.name for d in take_inventory(sysfs, verbs).devices}
    for device in found.devices:
        assert (device.pci not in sysfs.addresses) == (device.presence is Presence.GONE)
        assert (device.name in seen) == (device.presence is Presence.HERE)


@given(sysfs_readings, verbs_readings)
def test_without_the_setting_only_infiniband_is_published(
    sysfs: SysfsReading, verbs: VerbsReading
) -> None:
    """No other link layer slips through."""
    found = take_inventory(sysfs, verbs)
    assert {d.link.link_layer for d in found.devices} <= {LinkLayer.INFINIBAND}
