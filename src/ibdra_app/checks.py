"""Whether the agent lives, and whether it is ready: what the pod's probes are told.

Why: "not ready" must not be "dead".  An agent that waits for an isolation mode, an API server
or a kubelet is restarted for nothing; one whose sockets do not answer any more is restarted
with reason.

In a rolling update the older agent has the port and answers for both, and a rollout goes on
as soon as the newer pod is ready: then the older one is ended.  So it is not ready while
another one is on its way, or a newer one that never gets ready would take its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ibdra_app.publishing import Publishing
from ibdra_domain.ports.instances import Arrivals

DEADLINE = 5.0
"""Seconds for each of the calls that prove that the plugin answers."""


class Plugin(Protocol):
    """The kubelet plugin, as far as it can be asked how it is."""

    @property
    def serving(self) -> bool:
        """Whether its sockets should answer."""

    @property
    def is_registered(self) -> bool:
        """Whether the kubelet's last word was that it took the plugin."""

    async def ask(self, *, deadline: float) -> None:
        """Ask it over its sockets.  Raises KubeletFailed."""


class Checks:
    """The checks behind the services ``liveness`` and ``readiness``."""

    def __init__(self, *, plugin: Plugin, publishing: Publishing, arrivals: Arrivals) -> None:
        self._plugin = plugin
        self._publishing = publishing
        self._arrivals = arrivals

    def by_service(self) -> dict[str, Callable[[], Awaitable[bool]]]:
        """Name them; the whole server lives as long as the agent does."""
        return {"": self.alive, "liveness": self.alive, "readiness": self.ready}

    async def alive(self) -> bool:
        """Ask the plugin, from the time on at which it serves.  Raises KubeletFailed."""
        if self._plugin.serving:
            await self._plugin.ask(deadline=DEADLINE)
        return True

    async def ready(self) -> bool:
        """Tell whether this agent serves the node and no other is on its way to it.

        Raises StateFailed.
        """
        return self.serves() and not self._arrivals.another()

    def serves(self) -> bool:
        """Tell whether slices were published and the kubelet has registered the plugin."""
        return self._publishing.published and self._plugin.is_registered
