"""Why: a container runtime starts containers by its own clock, and asks us through a hook.

The hook's helper on the host hands over what the runtime told it.  It may answer by itself
only where nothing has to be done: a mark says which namespace a claim's devices are in.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ibdra_domain.ports.netlink import NetnsId


class ContainerStart(msgspec.Struct, frozen=True, kw_only=True):
    """A container that is about to start with a claim's devices.

    ``claim`` is a UID, ``pid`` the container's first process as the host sees it,
    ``container`` the runtime's id for it.  ``nodes`` are the device nodes' numbers that
    the runtime took from the CDI spec (:func:`ibdra_domain.container_edits.node_numbers`),
    empty where it does not say.  ``pod`` is "namespace/name" where the runtime knows it.
    """

    claim: str
    pid: int
    container: str = ""
    nodes: str = ""
    pod: str = ""


class ContainerHook(Protocol):
    """What the runtime's hook asks.  Called from worker threads, several at once."""

    def attach(self, start: ContainerStart) -> None:
        """Give a container its devices; returning means it may start.

        Raises IbdraError to refuse: the container then does not start.
        """


class AttachedMarks(Protocol):
    """What the hook's helper may answer by itself, while nobody listens.

    A mark is put after an attach and removed before anything is taken back.  Every
    method raises StateFailed.
    """

    def put(self, claim: str, *, netns: NetnsId, nodes: str) -> None:
        """Say that a claim's devices are in a namespace, with these node numbers."""

    def remove(self, claim: str) -> None:
        """Take a claim's mark away; one that is not there is a success."""

    def claims(self) -> tuple[str, ...]:
        """List the claims that have a mark, sorted."""
