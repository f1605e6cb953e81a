"""A driver that is asked about one claim at a time, in front of the kubelet's many.

Why: the kubelet asks about several claims at once, and one that is refused must not cost
the others their answer.  A driver that has nothing to gain from seeing them together
raises what is wrong with one, and this sorts it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef, PreparedDevice

_ResultT = TypeVar("_ResultT")


class ClaimDriver(Protocol):
    """Does for one claim what a DraDriver does for several: returns, or raises an IbdraError."""

    def prepare(self, claim: ClaimRef) -> tuple[PreparedDevice, ...]:
        """Make a claim's devices usable on this node, or give them again."""

    def unprepare(self, claim: ClaimRef) -> None:
        """Undo ``prepare``; a claim that was never prepared is a success."""


class OneByOne:
    """Fulfils DraDriver with a driver for single claims."""

    def __init__(self, driver: ClaimDriver) -> None:
        self._driver = driver

    def prepare(
        self, claims: Sequence[ClaimRef]
    ) -> Mapping[str, tuple[PreparedDevice, ...] | IbdraError]:
        """Fulfil the port."""
        return {claim.uid: _outcome(self._driver.prepare, claim) for claim in claims}

    def unprepare(self, claims: Sequence[ClaimRef]) -> Mapping[str, IbdraError | None]:
        """Fulfil the port."""
        return {claim.uid: _outcome(self._driver.unprepare, claim) for claim in claims}


def _outcome(work: Callable[[ClaimRef], _ResultT], claim: ClaimRef) -> _ResultT | IbdraError:
    try:
        return work(claim)
    except IbdraError as error:
        return error
