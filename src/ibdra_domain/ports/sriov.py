"""Why: virtual functions are made and bound through switches that each can do great harm.

Two small ports, because the kernel has two places for it: sysfs makes and binds functions,
rtnetlink tells a PF who its VFs are.  Every method raises KernelRefused with the kernel's
errno.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Netns


class SriovControl(Protocol):
    """SR-IOV switches of PCI functions.  ENOENT for a function without them."""

    def set_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Create ``count`` VFs, or remove all with 0, whoever uses them.

        ERANGE above the function's total, EBUSY from one count to another that is not 0;
        the count that there is already is a success.
        """

    def set_autoprobe(self, pf: PciAddress, *, enabled: bool) -> None:
        """Say whether drivers bind to this PF's VFs: by themselves, and at all.

        Turning it on binds none that are there.
        """

    def bind(self, function: PciAddress, driver: str) -> None:
        """Bind a function to a driver.

        ENODEV if either is not there, does not fit, or the PF's autoprobe is off; EBUSY if
        the function has a driver.
        """

    def unbind(self, function: PciAddress) -> None:
        """Unbind a function from its driver; one without a driver is a success."""


class VfLinkState(StrEnum):
    """What a VF's port does: as the PF's port does, or always up, or always down."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VfSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is set for a VF at its PF; a GUID takes effect when the VF is bound again.

    None is what the PF's driver does not tell.  mlx5 tells of the GUIDs that were set since
    the PF was bound, and zero for any other.
    """

    index: int
    node_guid: Guid | None = None
    port_guid: Guid | None = None
    link_state: VfLinkState | None = None


class VfAttributes(Protocol):
    """What a PF says of its VFs, through the PF's IPoIB interface (by index, as ``Links``).

    ENODEV if the interface is not there, EOPNOTSUPP if it is no PF's, EINVAL if the PF has
    no such VF.
    """

    def read(self, interface: int, *, netns: Netns) -> tuple[VfSettings, ...]:
        """Read what is set for each VF there is, by index; none where it is no PF's."""

    def set_node_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Set a VF's node GUID."""

    def set_port_guid(self, interface: int, vf: int, guid: Guid, *, netns: Netns) -> None:
        """Set a VF's port GUID."""

    def set_link_state(self, interface: int, vf: int, state: VfLinkState, *, netns: Netns) -> None:
        """Set what a VF's port does; takes effect at once."""
