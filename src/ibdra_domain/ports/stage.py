"""Why: the demo shows the driver's job with pods, which a runtime and a kernel make elsewhere.

A pod here is a process in a network namespace, and that is all the driver ever sees of one.
"""

from __future__ import annotations

from typing import Protocol

from ibdra_domain.ports.netlink import Netns


class Stage(Protocol):
    """Throw-away pods, on a simulated machine or on this one.  Raises KernelRefused."""

    @property
    def description(self) -> str:
        """Say in a line what machine this is."""

    def may_stay_pending(self, example: str) -> bool:
        """Tell whether this machine may lack what an example asks for."""

    def left_open(self) -> list[str]:
        """List what should not be there any more at the end: namespaces, processes."""

    def start_pod(self, *, host_network: bool) -> int:
        """Start a pod's first process, in a namespace of its own or in the host's."""

    def end_pod(self, pid: int) -> None:
        """End it; what was in its namespace comes home when the kernel gets to it."""

    def open_node(self, path: str, *, netns: Netns) -> None:
        """Open a device node as a process of that namespace would, and close it again."""
