"""Facts counted by a handful of words."""

from __future__ import annotations

import inspect

import pytest

from ibdra_domain import errors
from ibdra_domain.errors import KernelRefused, NotSettled
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.inventory import IbDevice, Inventory, Presence
from ibdra_domain.link import PortState
from ibdra_domain.tallies import DeviceGroup, devices_by_group, kind_of, vfs_by_pf
from unit.domain.domain_facts import OTHER_VF, PF, a_device, a_vf, an_hca_port

ACTIVE_VF = DeviceGroup("VF", "Active", "exclusive")


@pytest.mark.parametrize(
    ("devices", "groups"),
    [
        ([], {}),
        ([a_device()], {DeviceGroup("PF", "Active", "exclusive"): 1}),
        ([a_vf(), a_vf(pci=OTHER_VF, presence=Presence.AWAY)], {ACTIVE_VF: 2}),
        ([a_vf(), a_vf(pci=OTHER_VF, presence=Presence.GONE)], {ACTIVE_VF: 1}),
        (
            [a_vf(isolation=RdmaIsolation.SHARED, link=an_hca_port(state=PortState.INIT))],
            {DeviceGroup("VF", "Init", "shared"): 1},
        ),
        (
            [a_vf(isolation=None, link=an_hca_port(state=None))],
            {DeviceGroup("VF", "unknown", "unknown"): 1},
        ),
    ],
    ids=["none", "PF", "away", "gone", "words", "unknown"],
)
def test_devices_are_counted_by_what_they_are(
    devices: list[IbDevice], groups: dict[DeviceGroup, int]
) -> None:
    """Those in pods included; what nobody knows has a word of its own."""
    assert groups == devices_by_group(Inventory(devices=tuple(devices)))


@pytest.mark.parametrize(
    ("devices", "vfs"),
    [
        ([], {}),
        ([a_device()], {PF: 0}),
        ([a_device(), a_device(port=2), a_vf(), a_vf(port=2), a_vf(pci=OTHER_VF)], {PF: 2}),
        ([a_vf()], {PF: 1}),
        ([a_vf(parent_pci=None)], {}),
        ([a_device(), a_vf(presence=Presence.GONE)], {PF: 0}),
        ([a_device(presence=Presence.GONE)], {}),
    ],
    ids=["none", "no VF", "two ports", "PF elsewhere", "in a VM", "VF gone", "PF gone"],
)
def test_vfs_are_counted_by_their_pf(devices: list[IbDevice], vfs: dict[PciAddress, int]) -> None:
    """Functions, not ports; a VF passed through to a VM has no PF here."""
    assert vfs == vfs_by_pf(Inventory(devices=tuple(devices)))


def test_an_error_counts_by_its_class() -> None:
    """Its text, which may name a claim, is nowhere in it; and the classes are few."""
    assert "NotSettled" == kind_of(NotSettled("claim team-a/job is away", remedy="wait"))
    assert "KernelRefused" == kind_of(KernelRefused("p", remedy="r", errno=16))
    assert len(inspect.getmembers(errors, inspect.isclass)) < 50
