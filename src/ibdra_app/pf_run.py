"""One PF's plan carried out: each step one call of a port.

Why: between the first change and the last lie minutes on a big node.  What goes wrong on
the way must leave VFs that the next run, or a person, can go on with: so autoprobe is put
back whatever happens, and an error says whether anything was changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from ibdra_app.waiting import Waiter
from ibdra_domain.errors import (
    IbdraError,
    KernelRefused,
    ProvisioningFailed,
    ProvisioningRefused,
)
from ibdra_domain.hardware import CharDeviceKind, Hca
from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress, gid_guid
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.netlink import Netns
from ibdra_domain.ports.sriov import SriovControl, VfAttributes
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.provisioning import PfPlan
from ibdra_domain.vf_steps import (
    AwaitVfs,
    BindVf,
    SetAutoprobe,
    SetNumVfs,
    SetVfLinkState,
    SetVfNodeGuid,
    SetVfPortGuid,
    UnbindVf,
    VfIdentity,
    VfStep,
)

_log = logging.getLogger(__name__)


class PfRun:
    """Carries out one plan.

    ``autoprobe`` is the PF's as it was, ``interface`` the index of its IPoIB interface in
    ``host``; ``watch`` opens the machine's events.
    """

    def __init__(
        self,
        plan: PfPlan,
        *,
        autoprobe: bool | None,
        interface: int,
        host: Netns,
        sysfs: Sysfs,
        sriov: SriovControl,
        vf_attributes: VfAttributes,
        watch: Callable[[], Events],
        clock: Callable[[], float],
        patience: float,
    ) -> None:
        self._plan = plan
        self._autoprobe = autoprobe
        self._interface = interface
        self._host = host
        self._sysfs = sysfs
        self._sriov = sriov
        self._vf_attributes = vf_attributes
        self._watch = watch
        self._clock = clock
        self._patience = patience
        self._vfs = self._vfs_now()
        self._changed = False

    def make(self) -> None:
        """Do all steps but waiting; nobody else may change the node meanwhile.

        Raises ProvisioningRefused if nothing was changed, else KernelRefused or
        ProvisioningFailed.
        """
        self._all(step for step in self._plan.steps if not isinstance(step, AwaitVfs))

    def settle(self) -> None:
        """Wait for what was made, for long if need be.  Raises as ``make`` does."""
        self._all(step for step in self._plan.steps if isinstance(step, AwaitVfs))

    def _all(self, steps: Iterable[VfStep]) -> None:
        for step in steps:
            _log.info("%s: %s", self._plan.name, step)
            try:
                self._do(step)
            except IbdraError as error:
                # a call that the kernel refused did nothing; any other error comes after it
                self._changed = self._changed or not isinstance(error, KernelRefused)
                # VFs that are there must be such that they can be bound
                self._put_back(enabled=True if self._changed else self._autoprobe)
                if self._changed:
                    raise
                raise ProvisioningRefused(
                    f"nothing was changed at {self._plan.name}: {error.problem}",
                    remedy=error.remedy,
                ) from error
            self._changed = self._changed or not isinstance(step, SetAutoprobe)

    def _do(self, step: VfStep) -> None:
        match step:
            case SetAutoprobe(enabled=enabled):
                self._sriov.set_autoprobe(self._plan.address, enabled=enabled)
            case SetNumVfs(count=count):
                self._make(count)
            case SetVfLinkState(vf=vf, state=state):
                self._vf_attributes.set_link_state(self._interface, vf, state, netns=self._host)
            case SetVfNodeGuid(vf=vf, guid=guid):
                self._vf_attributes.set_node_guid(self._interface, vf, guid, netns=self._host)
            case SetVfPortGuid(vf=vf, guid=guid):
                self._vf_attributes.set_port_guid(self._interface, vf, guid, netns=self._host)
            case UnbindVf(vf=vf):
                self._sriov.unbind(self._address(vf))
            case BindVf(vf=vf, driver=driver):
                self._sriov.bind(self._address(vf), driver)
            case AwaitVfs(vfs=vfs):
                self._await(vfs)

    def _make(self, count: int) -> None:
        self._sriov.set_num_vfs(self._plan.address, count)
        self._vfs = self._vfs_now()
        there = sum(vf is not None for vf in self._vfs)
        if there != count:
            raise ProvisioningFailed(
                f"{self._plan.name} got {there} of {count} VFs",
                remedy="look in the kernel's log; the machine's firmware settings may leave no bus "
                "numbers or memory space for more (SR-IOV, ARI)",
            )

    def _put_back(self, *, enabled: bool | None) -> None:
        if enabled is None:
            return
        try:
            self._sriov.set_autoprobe(self._plan.address, enabled=enabled)
        except KernelRefused as error:
            _log.warning("%s: %s", self._plan.name, error)

    def _vfs_now(self) -> tuple[PciAddress | None, ...]:
        functions = self._sysfs.read().functions
        return next((f.vfs for f in functions if f.address == self._plan.address), ())

    def _address(self, vf: int) -> PciAddress:
        address = self._vfs[vf] if vf < len(self._vfs) else None
        if address is None:
            raise ProvisioningFailed(f"{self._name(vf)} is gone", remedy="run it again")
        return address

    def _name(self, vf: int) -> str:
        return f"VF {vf} of {self._plan.name}"

    # -- waiting ---------------------------------------------------------------------

    def _await(self, vfs: tuple[VfIdentity, ...]) -> None:
        """Wait until each has been there, then compare who they are with who they should be.

        One that was complete may be with a pod before the last one is.
        """
        with Waiter(watch=self._watch, clock=self._clock, patience=self._patience) as waiter:
            hcas = self._whole()
            while missing := [each.vf for each in vfs if self._address(each.vf) not in hcas]:
                if not waiter.wait():
                    raise ProvisioningFailed(
                        f"{self._name(missing[0])} is not complete after {self._patience:.0f} s: "
                        "it should have an RDMA device with a port GUID, an interface and a uverbs "
                        "node",
                        remedy="look in the kernel's log; load mlx5_ib, ib_ipoib and ib_uverbs",
                    )
                hcas |= self._whole()
        for each in vfs:
            hca = hcas[self._address(each.vf)]
            if (hca.node_guid, _port_guid(hca)) != (each.node_guid, each.port_guid):
                raise ProvisioningFailed(
                    f"{self._name(each.vf)} has GUIDs {hca.node_guid} (node) and "
                    f"{_port_guid(hca)} (port) instead of {each.node_guid} and {each.port_guid}",
                    remedy="look in the kernel's log, and for another program that sets GUIDs",
                )

    def _whole(self) -> dict[PciAddress, Hca]:
        """Give the RDMA devices that have all that a pod needs, by their function."""
        reading = self._sysfs.read()
        nodes = self._sysfs.char_devices()
        served = {node.pci for node in nodes if node.kind is CharDeviceKind.UVERBS}
        complete = served & {netdev.pci for netdev in reading.netdevs}
        return {
            hca.pci: hca
            for hca in reading.hcas
            if hca.pci in complete and hca.pci is not None and _port_guid(hca) != ZERO_GUID
        }


def _port_guid(hca: Hca) -> Guid:
    """Give the first port's GUID; zero while it shows none."""
    gid = next((port.gid0 for port in hca.ports if port.number == 1), None)
    return gid_guid(gid) if gid is not None else ZERO_GUID
