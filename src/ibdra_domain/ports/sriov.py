"""Why: virtual functions are made by sysfs and given their GUIDs by rtnetlink.

Two ports, fulfilled by the two.  Every method raises KernelRefused with the kernel's errno.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Netns


class SriovControl(Protocol):
    """SR-IOV switches of PCI functions."""

    def set_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Create ``count`` VFs, or remove all with 0.

        ERANGE above the function's total, EBUSY from one count to another that is not 0.
        """

    def set_autoprobe(self, pf: PciAddress, *, enabled: bool) -> None:
        """Say whether drivers bind to VFs by themselves when these are created."""

    def bind(self, function: PciAddress, driver: str) -> None:
        """Bind a function to a driver.  ENODEV if either is not there."""

    def unbind(self, function: PciAddress) -> None:
        """Unbind a function from its driver; one without a driver is a success."""


class VfControl(Protocol):
    """What a PF says about its VFs, through the PF's interface."""

    def set_guids(
        self, pf_link: int, vf: int, *, node_guid: Guid, port_guid: Guid, netns: Netns
    ) -> None:
        """Set a VF's GUIDs; they take effect when the VF is bound again."""

    def follow_pf(self, pf_link: int, vf: int, *, netns: Netns) -> None:
        """Let a VF's link state follow its PF's (policy ``auto``)."""
