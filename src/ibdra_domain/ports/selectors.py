"""Why: the language users select devices in is CEL, and its evaluator is a library's business."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ibdra_domain.kube_objects import Device


class Verdict(msgspec.Struct, frozen=True):
    """What one expression says of one device.

    ``error`` is the evaluator's text if it failed at run time; Kubernetes then fails the
    whole claim, it does not merely pass the device over.
    """

    matched: bool
    error: str | None = None


class Selector(Protocol):
    """A compiled expression."""

    def judge(self, device: Device, *, driver: str) -> Verdict:
        """Evaluate it as Kubernetes would for a device of this driver."""


class Selectors(Protocol):
    """Compiles CEL as Kubernetes' device selectors use it."""

    def compile(self, expression: str) -> Selector:
        """Compile an expression.  Raises InvalidSelector with the compiler's reason."""
