"""Why: the container runtime asks before it starts a container, and fails it on a "no".

The asking is done by a small program that the runtime runs on the host.  It may answer
by itself only what the driver left word of.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from ibdra_domain.ports.netlink import NetnsId


class ContainerStart(msgspec.Struct, frozen=True, kw_only=True):
    """A container of a claim that is about to start.

    ``claim`` is a UID, ``pid`` the container's first process as the host sees it,
    ``container`` the runtime's id.  ``nodes`` are the numbers of the claim's character
    devices that the CDI spec gave to the container, ``231:202,231:203``, or ``-`` for
    none, empty where it does not say: the runtime may have read an older spec than there
    is now.  ``pod`` is "namespace/name" where the runtime knows it.
    """

    claim: str
    pid: int
    container: str = ""
    nodes: str = ""
    pod: str = ""


class ContainerHook(Protocol):
    """Who decides whether a container starts.  Called from worker threads, several at once."""

    def attach(self, start: ContainerStart) -> None:
        """Give the claim's devices to the container.

        Raises IbdraError to refuse: then the container does not start, and the error's
        text is in the runtime's.
        """


class AttachedMarks(Protocol):
    """What the program on the host may answer by itself: claims that are attached.

    A mark is put after the claim was attached and removed before it is detached.  Every
    method raises StateFailed.
    """

    def put(self, claim: str, *, netns: NetnsId, nodes: str) -> None:
        """Say that containers with these nodes may start in this namespace; replaces.

        A namespace without a cookie is never recognised: its inode may be another's.
        """

    def remove(self, claim: str) -> None:
        """Take it back; what is not there is a success."""

    def claims(self) -> tuple[str, ...]:
        """List the claims that have a mark, sorted."""

    def clear(self) -> None:
        """Take all of them back."""
