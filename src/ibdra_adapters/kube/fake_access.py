"""An API server's answers about itself, in memory."""

from __future__ import annotations

from collections.abc import Iterable

from ibdra_domain.errors import KubeUnavailable
from ibdra_domain.kube_objects import RESOURCE_API_VERSION
from ibdra_domain.ports.access import Right


class FakeAccess:
    """Fulfils ServerAccess; ``denied`` are rights it does not give, ``down`` answers nothing."""

    def __init__(
        self,
        *,
        version: str = "v1.37.0",
        served: Iterable[str] = (RESOURCE_API_VERSION,),
        denied: Iterable[Right] = (),
    ) -> None:
        self._version = version
        self.served = set(served)
        self.denied = set(denied)
        self.down = False

    def version(self) -> str:
        """Fulfil the port."""
        self._check()
        return self._version

    def serves(self, api_version: str) -> bool:
        """Fulfil the port."""
        self._check()
        return api_version in self.served

    def allowed(self, right: Right) -> bool:
        """Fulfil the port."""
        self._check()
        return right not in self.denied

    def _check(self) -> None:
        if self.down:
            raise KubeUnavailable("the API server does not answer", remedy="try again")
