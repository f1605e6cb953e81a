"""PFs and VFs for tests of the planner, and a machine that carries its steps out."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress
from ibdra_domain.pf_views import PfView, VfPlace, VfView
from ibdra_domain.ports.sriov import VfLinkState, VfSettings
from ibdra_domain.vf_steps import (
    AwaitVfs,
    BindVf,
    SetAutoprobe,
    SetNumVfs,
    SetVfLinkState,
    SetVfNodeGuid,
    SetVfPortGuid,
    UnbindVf,
    VfStep,
)

PF = PciAddress("0000:3b:00.0")
PF_GUID = Guid("0c42:a103:0021:5b80")
VF_GUIDS = tuple(Guid(f"0e42:a103:{n:02x}21:5b80") for n in range(1, 9))


def a_pf(**fields: Any) -> PfView:
    """Give a PF without VFs, of 8 possible."""
    base = PfView(
        address=PF,
        rdma_device="mlx5_0",
        link_layers=("InfiniBand",),
        driver="mlx5_core",
        node_guid=PF_GUID,
        port_guid=PF_GUID,
        interface="ib0",
        possible=8,
        present=0,
        autoprobe=True,
    )
    return replace(base, **fields)


def settings(
    index: int, guid: Guid = ZERO_GUID, state: VfLinkState = VfLinkState.DISABLE
) -> VfSettings:
    """Give what is set for a VF; nothing, as a rule."""
    return VfSettings(index=index, node_guid=guid, port_guid=guid, link_state=state)


def a_vf(index: int, **fields: Any) -> VfView:
    """Give a VF that is here, with GUIDs, nothing being told at the PF."""
    base = VfView(
        index=index,
        address=PciAddress(f"0000:3b:00.{index + 1}"),
        place=VfPlace.HERE,
        node_guid=VF_GUIDS[index],
        port_guid=VF_GUIDS[index],
        settings=settings(index),
    )
    return replace(base, **fields)


def unbound(index: int, **fields: Any) -> VfView:
    """Give a VF without a driver."""
    without = {"place": VfPlace.UNBOUND, "node_guid": None, "port_guid": None}
    return a_vf(index, **(without | fields))


def with_vfs(*vfs: VfView, **fields: Any) -> PfView:
    """Give a PF with these VFs."""
    return a_pf(present=len(vfs), vfs=vfs, **fields)


class Simulated:
    """A PF that does what steps say, as the kernel does, and refuses what it would."""

    def __init__(self, pf: PfView, *, zero: bool = True) -> None:
        self.pf = pf
        self._zero = zero

    def do(self, step: VfStep) -> None:
        """Carry one step out."""
        match step:
            case SetAutoprobe(enabled=enabled):
                assert self.pf.autoprobe is not None
                self.pf = replace(self.pf, autoprobe=enabled)
            case SetNumVfs(count=count):
                self._make(count)
            case SetVfLinkState(vf=vf, state=state):
                self._set(vf, link_state=state)
            case SetVfNodeGuid(vf=vf, guid=guid):
                self._set(vf, node_guid=guid)
            case SetVfPortGuid(vf=vf, guid=guid):
                self._set(vf, port_guid=guid)
            case UnbindVf(vf=vf):
                assert VfPlace.HERE is self.pf.vfs[vf].place
                self._put(unbound(vf, settings=self.pf.vfs[vf].settings))
            case BindVf(vf=vf, driver=driver):
                assert driver == self.pf.driver
                assert self.pf.autoprobe is not False
                assert VfPlace.UNBOUND is self.pf.vfs[vf].place
                self._bind(vf)
            case AwaitVfs(vfs=vfs):
                for each in vfs:
                    now = self.pf.vfs[each.vf]
                    assert (each.node_guid, each.port_guid) == (now.node_guid, now.port_guid)

    def _make(self, count: int) -> None:
        assert 0 == self.pf.present
        assert 0 < count <= self.pf.possible
        guid = ZERO_GUID if self._zero else Guid("0202:0202:0202:0202")
        self.pf = replace(
            self.pf,
            present=count,
            vfs=tuple(unbound(i, address=None, settings=settings(i, guid)) for i in range(count)),
        )
        if self.pf.autoprobe is not False:
            for index in range(count):
                self._bind(index)

    def _bind(self, index: int) -> None:
        told = self.pf.vfs[index].settings
        assert told is not None
        self._put(a_vf(index, node_guid=told.node_guid, port_guid=told.port_guid, settings=told))

    def _set(self, index: int, **fields: Any) -> None:
        vf = self.pf.vfs[index]
        assert vf.settings is not None
        self._put(replace(vf, settings=replace(vf.settings, **fields)))

    def _put(self, vf: VfView) -> None:
        self.pf = replace(self.pf, vfs=(*self.pf.vfs[: vf.index], vf, *self.pf.vfs[vf.index + 1 :]))
