"""Why: virtual functions are made and bound through switches that each can do great harm.

Every method raises KernelRefused with the kernel's errno.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.identifiers import PciAddress


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
