"""The blade over a driver: it counts the calls of every port and falls at one of them.

Why: a process can die at any instruction, but what it leaves behind changes only where a
port is called.  So dying before each call, after each, and in the middle of those that
have a middle, is dying everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from ibdra_domain.errors import KernelRefused

CHANGING = frozenset(
    {
        *("rdma.move", "sysfs.set_traffic_class"),
        *("links.move", "links.rename", "links.configure", "links.add_pkey_child", "links.remove"),
        *("cdi.write", "cdi.remove", "state.load", "state.save", "state.remove"),
        *("marks.put", "marks.remove"),
    }
)
"""The calls that leave something behind; after any other it is as it was before."""

HAVE_A_MIDDLE = frozenset({"cdi.write", "state.save", "links.configure"})
"""The calls that write a file aside and rename it, or do two things."""

NETLINK = frozenset({"namespaces", "rdma", "links"})
"""The ports that a kernel's refusal can come from."""


class Killed(BaseException):
    """The driver's process is no more: nothing may catch this."""


class Moment(StrEnum):
    """When the blade falls: before a call, in its middle, or after it."""

    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


class Step(NamedTuple):
    """A place to die at."""

    number: int
    call: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.moment} {self.number} {self.call}"


def steps_of(calls: Iterable[str], *, every: bool) -> list[Step]:
    """List the places to die at in a run of calls.

    Without ``every`` only around calls that change something: all that differ in what
    they leave behind.
    """
    steps = []
    for number, call in enumerate(calls):
        if every or call in CHANGING:
            steps.append(Step(number, call, Moment.BEFORE))
            if call in HAVE_A_MIDDLE:
                steps.append(Step(number, call, Moment.DURING))
            steps.append(Step(number, call, Moment.AFTER))
    return steps


class Refusal(NamedTuple):
    """Calls of netlink that the kernel refuses: from which on, how many, and its errno."""

    number: int
    errno: int
    times: int = 1


class Blade:
    """Counts one driver's calls while it is armed; kills the driver at one if told which."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fallen = False
        self._armed = False
        self._target: Step | None = None
        self._refusal: Refusal | None = None

    def arm(self, harm: Step | Refusal | None = None) -> None:
        """Count from now on; kill at a step (one without a call's name: whichever it is)."""
        self.calls, self._armed = [], True
        self._target = harm if isinstance(harm, Step) else None
        self._refusal = harm if isinstance(harm, Refusal) else None

    def disarm(self) -> None:
        """Let every call through uncounted."""
        self._armed = False

    def pass_through(
        self,
        name: str,
        method: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> object:
        """Make a port's call, or die at it.  The dead call nothing."""
        assert not self.fallen, f"{name} was called by a driver that is dead"
        if not self._armed:
            return method(*args, **kwargs)
        number, target = len(self.calls), self._target
        self.calls.append(name)
        self._perhaps_refuse(name)
        if target is None or target.number != number:
            return method(*args, **kwargs)
        assert target.call in (name, ""), f"call {number} is {name}, it was {target.call} before"
        if target.moment is Moment.BEFORE:
            self._fall()
        if target.moment is Moment.DURING:
            if name in HAVE_A_MIDDLE:
                self._half(name, method, args, kwargs)
            self._fall()
        result = method(*args, **kwargs)
        close = getattr(result, "close", None)  # the kernel closes what a process had open
        if close is not None:
            close()
        self._fall()
        return result

    def _perhaps_refuse(self, name: str) -> None:
        if self._refusal is None or name.partition(".")[0] not in NETLINK:
            return
        number, code, times = self._refusal
        if number:
            self._refusal = Refusal(number - 1, code, times)
            return
        self._refusal = Refusal(0, code, times - 1) if times > 1 else None
        raise KernelRefused(f"{name} was not possible", remedy="none", errno=code)

    def _half(
        self,
        name: str,
        method: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        if name == "links.configure":  # one request, but the kernel does one thing after another
            method(*args, **{**kwargs, "up": None})
            return
        with mock.patch.object(Path, "replace", side_effect=Killed):
            try:
                method(*args, **kwargs)
            except Killed:
                return
        raise AssertionError(f"{name} renamed no file")

    def _fall(self) -> None:
        self.fallen = True
        raise Killed


class Watched:
    """A port whose calls go past a blade; what it opens is closed even by the dead."""

    def __init__(self, name: str, port: object, blade: Blade) -> None:
        self._name = name
        self._port = port
        self._blade = blade

    def __getattr__(self, attribute: str) -> Any:
        """Wrap a method."""
        method = getattr(self._port, attribute)
        if attribute == "close":
            return method

        def call(*args: object, **kwargs: object) -> object:
            return self._blade.pass_through(f"{self._name}.{attribute}", method, args, kwargs)

        return call
