"""Who is told what happened to claims.

Why: the use cases tell, and do not care who hears it: a real API server, much later and in
another thread, or nobody.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef


class Reports(Protocol):
    """Who is told what happened to claims.  Returns at once, whatever the API server does."""

    def changed(self, claim: ClaimRef) -> None:
        """Tell that a claim was attached, detached, or prepared with admin access."""

    def refused(self, claim: ClaimRef, *, action: str, error: IbdraError) -> None:
        """Tell that ``action`` ("prepare" or "attach") failed."""


class Unheard:
    """Fulfils :class:`Reports` where nobody listens."""

    def changed(self, claim: ClaimRef) -> None:
        """Fulfil the port."""

    def refused(self, claim: ClaimRef, *, action: str, error: IbdraError) -> None:
        """Fulfil the port."""
