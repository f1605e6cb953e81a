"""Kubernetes quantities by their value.

Why: an API server answers with a quantity's canonical form, ``80Gi`` for ``81920Mi``.  Who
compares text sees a change where there is none, and writes it again for ever.

Source: ``k8s.io/apimachinery/pkg/api/resource`` (``quantity.go``, ``suffix.go``).
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction

_FORM = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)
_SUFFIXES = {
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("num", start=-3)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_FINEST = Fraction(10) ** 9
_GREATEST = Fraction(2**63 - 1)


def value_of(text: str) -> Fraction | None:
    """Give a quantity's value as an API server keeps it; None for what is none.

    It knows no part of 10^-9, and rounds away from zero; what is too great is its greatest.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    number = Fraction(Decimal(found["number"])) * _SUFFIXES.get(found["suffix"], Fraction(1))
    if found["exponent"]:
        number *= Fraction(10) ** int(found["exponent"])
    parts = math.ceil(abs(number) * _FINEST)
    value = Fraction(-parts if number < 0 else parts) / _FINEST
    return max(-_GREATEST, min(value, _GREATEST))


def plain(text: str) -> str:
    """Write a quantity so that equal values are equal texts; what is none stays as it is."""
    value = value_of(text)
    return text if value is None else str(value)
