"""SR-IOV of the simulated machine: VFs that come, go, and are told who they are.

Why: provisioning is the one part of the driver that could take working devices away, so
what it does must be seen on a machine with the kernel's manners: VFs that bind by
themselves or do not, GUIDs that take effect at the next binding, the kernel's errno for
everything it does not do.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ibdra_adapters.netlink.fake_kernel import refused
from ibdra_adapters.simulation.profile import (
    HcaProfile,
    PortProfile,
    SimulatedHca,
    virtual_function,
)
from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress
from ibdra_domain.link import PortState
from ibdra_domain.ports.netlink import Netns
from ibdra_domain.ports.sriov import VfLinkState, VfSettings

if TYPE_CHECKING:
    from ibdra_adapters.simulation.machine import SimulatedMachine


class SimulatedPf(msgspec.Struct, kw_only=True):
    """A PF: what its VFs would be, and what is set for those there are."""

    address: PciAddress
    profile: HcaProfile
    autoprobe: bool = True
    settings: list[VfSettings] = []


class SimulatedSriov:
    """Fulfils the SriovControl port."""

    def __init__(self, machine: SimulatedMachine, profiles: dict[PciAddress, HcaProfile]) -> None:
        self._machine = machine
        self.pfs = {
            address: SimulatedPf(address=address, profile=profile)
            for address, profile in profiles.items()
            if profile.total_vfs
        }
        for pf in self.pfs.values():
            vfs = machine.functions[pf.address].vfs
            pf.settings = [_burnt_in(machine.functions[vf]) for vf in vfs]

    def set_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Fulfil the port."""
        state = self._pf(pf)
        if not 0 <= count <= 0xFFFF:
            raise refused(f"{count} is no number of VFs", errno.EINVAL)
        if count > state.profile.total_vfs:
            raise refused(f"{pf} cannot have {count} VFs", errno.ERANGE)
        if count == len(state.settings):
            return
        if not self._machine.is_bound(pf):
            raise refused(f"{pf} has no driver to make VFs", errno.ENOENT)
        if count and state.settings:
            raise refused(f"{pf} has {len(state.settings)} VFs", errno.EBUSY)
        if count:
            self._make(state, count)
        else:
            self._remove(state)

    def set_autoprobe(self, pf: PciAddress, *, enabled: bool) -> None:
        """Fulfil the port."""
        self._pf(pf).autoprobe = enabled
        self._machine.write_autoprobe(pf, enabled=enabled)

    def bind(self, function: PciAddress, driver: str) -> None:
        """Fulfil the port."""
        hca = self._machine.functions.get(function)
        if hca is None or driver != hca.model.driver:
            raise refused(f"{function} cannot be bound to {driver}", errno.ENODEV)
        if self._machine.is_bound(function):
            raise refused(f"{function} has a driver", errno.EBUSY)
        if hca.physfn is not None and not self.pfs[hca.physfn].autoprobe:
            raise refused(f"{function} is not probed: its PF's autoprobe is off", errno.ENODEV)
        self._bind(hca)

    def unbind(self, function: PciAddress) -> None:
        """Fulfil the port; a PF's VFs go with its driver."""
        if function not in self._machine.functions:
            raise refused(f"there is no function {function}", errno.ENODEV)
        if function in self.pfs:
            self._remove(self.pfs[function])
        self._machine.unplug(function)

    def set_vf(self, pf: SimulatedPf, index: int, **fields: object) -> None:
        """Change what is set for a VF; its link state takes effect at once."""
        pf.settings[index] = replace(pf.settings[index], **fields)
        vf = self._machine.functions[self._machine.functions[pf.address].vfs[index]]
        if "link_state" in fields and self._machine.is_bound(vf.pci):
            self._machine.change(replace(vf, ports=self._ports(vf, pf.settings[index])))

    def _pf(self, address: PciAddress) -> SimulatedPf:
        if address not in self.pfs:
            raise refused(f"{address} has no SR-IOV", errno.ENOENT)
        return self.pfs[address]

    def _make(self, pf: SimulatedPf, count: int) -> None:
        above = self._machine.functions[pf.address]
        made = [virtual_function(above, pf.profile, index) for index in range(count)]
        pf.settings = [_burnt_in(vf, zero=pf.profile.zero_vf_guids) for vf in made]
        self._machine.set_vfs(pf.address, made)
        if pf.autoprobe:
            for vf in made:
                self._bind(vf)

    def _remove(self, pf: SimulatedPf) -> None:
        for address in self._machine.functions[pf.address].vfs:
            self._machine.unplug(address)
        self._machine.set_vfs(pf.address, ())
        pf.settings = []

    def _bind(self, hca: SimulatedHca) -> None:
        """Give a function its RDMA device; a VF learns here who it is."""
        if hca.physfn is not None and hca.vf_index is not None:
            now = self.pfs[hca.physfn].settings[hca.vf_index]
            hca = replace(
                hca,
                node_guid=now.node_guid or ZERO_GUID,
                port_guids=(now.port_guid or ZERO_GUID, *hca.port_guids[1:]),
                ports=self._ports(hca, now),
            )
        self._machine.plug(hca)

    def _ports(self, vf: SimulatedHca, now: VfSettings) -> tuple[PortProfile, ...]:
        """Give the VF's ports as its link state has them."""
        above = self._machine.functions[vf.physfn or vf.pci].ports
        forced = {VfLinkState.ENABLE: PortState.ACTIVE, VfLinkState.DISABLE: PortState.DOWN}
        return tuple(
            replace(port, state=forced.get(now.link_state or VfLinkState.AUTO, pf_port.state))
            for port, pf_port in zip(vf.ports, above, strict=True)
        )


class SimulatedVfAttributes:
    """Fulfils the VfAttributes port: a PF is found by its interface."""

    def __init__(self, machine: SimulatedMachine, sriov: SimulatedSriov) -> None:
        self._machine = machine
        self._sriov = sriov

    def read(self, interface: int, *, netns: Netns) -> tuple[VfSettings, ...]:
        """Fulfil the port."""
        pf = self._pf(interface, netns)
        return tuple(pf.settings) if pf is not None else ()

    def set_node_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Fulfil the port."""
        self._sriov.set_vf(self._pf_with(interface, vf, netns), vf, node_guid=guid)

    def set_port_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Fulfil the port."""
        self._sriov.set_vf(self._pf_with(interface, vf, netns), vf, port_guid=guid)

    def set_link_state(self, interface: int, vf: int, state: VfLinkState, *, netns: Netns) -> None:
        """Fulfil the port."""
        self._sriov.set_vf(self._pf_with(interface, vf, netns), vf, link_state=state)

    def _pf(self, interface: int, netns: Netns) -> SimulatedPf | None:
        device = self._machine.kernel.link_in(netns.id, interface).rdma
        return self._sriov.pfs.get(self._machine.hcas[device].pci)

    def _pf_with(self, interface: int, vf: int, netns: Netns) -> SimulatedPf:
        pf = self._pf(interface, netns)
        if pf is None:
            raise refused(f"interface {interface} is no PF's", errno.EOPNOTSUPP)
        if not 0 <= vf < len(pf.settings):
            raise refused(f"{pf.address} has no VF {vf}", errno.EINVAL)
        return pf


def _burnt_in(vf: SimulatedHca, *, zero: bool = False) -> VfSettings:
    return VfSettings(
        index=vf.vf_index or 0,
        node_guid=ZERO_GUID if zero else vf.node_guid,
        port_guid=ZERO_GUID if zero else vf.port_guids[0],
        link_state=VfLinkState.DISABLE if zero else VfLinkState.AUTO,
    )
