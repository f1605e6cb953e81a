"""Whom a log line is about: the claim, its pod, its devices.

Why: on a bad night somebody greps a thousand nodes' logs for one pod.  Whatever is logged on a
claim's way, also by code that knows no claims, carries these fields; nobody has to pass them on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec
from msgspec.structs import replace


class About(msgspec.Struct, frozen=True, kw_only=True):
    """A claim is its UID, a pod "namespace/name"; what is empty is not known."""

    claim: str = ""
    pod: str = ""
    devices: tuple[str, ...] = ()


_NOTHING = About()
_about: ContextVar[About] = ContextVar("ibdra_about", default=_NOTHING)


@contextmanager
def speaking_of(
    *, claim: str = "", pod: str = "", devices: Iterable[str] | None = None
) -> Iterator[None]:
    """Let what is logged within be about this, and about what it was already about."""
    now = _about.get()
    token = _about.set(
        replace(
            now,
            claim=claim or now.claim,
            pod=pod or now.pod,
            devices=now.devices if devices is None else tuple(devices),
        )
    )
    try:
        yield
    finally:
        _about.reset(token)


class AboutFilter(logging.Filter):
    """Gives every record ``claim``, ``pod``, ``devices``, and all of them in words as ``about``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Pass everything."""
        now = _about.get()
        record.claim, record.pod, record.devices = now.claim, now.pod, list(now.devices)
        said = [
            f"{name}={value}"
            for name, value in (
                ("claim", now.claim),
                ("pod", now.pod),
                ("devices", ",".join(now.devices)),
            )
            if value
        ]
        record.about = f" [{' '.join(said)}]" if said else ""
        return True
