"""How many VFs an operator wants at which PF, and which GUIDs they are to have.

Why: a number for all and exceptions for some; which exception counts for a PF has to be told
with the number, or nobody understands what a node does.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

import msgspec

from ibdra_domain.pf_views import PfView
from ibdra_domain.vf_guids import GuidFile

_WILD = "*?["
_DEFAULT = "--num-vfs"


class PfOverride(msgspec.Struct, frozen=True):
    """Another number for PFs whose PCI address or RDMA name fits ``pattern`` (fnmatch)."""

    pattern: str
    count: int

    @property
    def exact(self) -> bool:
        """It names one PF."""
        return not any(c in self.pattern for c in _WILD)

    def fits(self, pf: PfView) -> bool:
        """Tell whether it is about a PF."""
        device = pf.rdma_device or pf.held_device
        return fnmatchcase(pf.address, self.pattern.lower()) or (
            device is not None and fnmatchcase(device, self.pattern)
        )


class WantedVfs(msgspec.Struct, frozen=True, kw_only=True):
    """How many VFs each PF is to have, and GUIDs for them."""

    count: int = 0
    overrides: tuple[PfOverride, ...] = ()
    guids: GuidFile = GuidFile()

    def choose(self, pf: PfView) -> tuple[int, str, bool]:
        """Give the number for a PF, what said so, and whether that named just this PF.

        The most specific override wins: an exact one before a pattern, then the one with
        more characters that are no wildcard, then the later one.
        """
        fitting = [(i, o) for i, o in enumerate(self.overrides) if o.fits(pf)]
        if not fitting:
            return self.count, _DEFAULT, False
        _, best = max(fitting, key=lambda x: (x[1].exact, _literals(x[1].pattern), x[0]))
        return best.count, f"--pf {best.pattern}={best.count}", best.exact


def _literals(pattern: str) -> int:
    return sum(c not in _WILD for c in pattern)
