"""Quantities: one value, many texts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.quantities import plain, value_of

BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
GREATEST = Fraction(2**63 - 1)
DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("81920Mi", "80Gi"),
        ("1000", "1k"),
        ("0.5", "500m"),
        ("1e3", "1k"),
        ("1E3", "1000"),
        ("12E-1", "1200m"),
        ("1.5Gi", "1536Mi"),
        (".5", "0.50"),
        ("1.", "+1"),
        ("-2k", "-2e3"),
        ("0", "-0Ki"),
        ("1E", "1000P"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("100Ei", "9223372036854775807"),
        ("9" * 5000, "8Ei"),
        ("-" + "9" * 5000, "-8Ei"),
    ],
)
def test_equal_values_are_equal(one: str, other: str) -> None:
    """However they are written; beyond an API server's limits as it keeps them."""
    assert value_of(one) == value_of(other) is not None
    assert plain(one) == plain(other)


@pytest.mark.parametrize(("one", "other"), [("1M", "1Mi"), ("1m", "1M"), ("1E", "1"), ("1", "-1")])
def test_different_values_are_different(one: str, other: str) -> None:
    """A suffix's case and its "i" count."""
    assert plain(one) != plain(other)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1x", "1 k", " 1", "1Kii", "1ki", "1K", "1e", "--1", "1e3k", ".", "1e9999", "\u0661"],
)
def test_what_is_no_quantity_is_compared_as_text(text: str) -> None:
    """An API server refuses it; that it is the same as itself can be said."""
    assert value_of(text) is None
    assert text == plain(text)


@given(number=st.integers(-(10**6), 10**6), power=st.integers(0, 4), higher=st.integers(0, 2))
def test_a_suffix_is_a_power_of_1024(number: int, power: int, higher: int) -> None:
    """The same value with any suffix that it has."""
    low = f"{number * 1024**higher}{BINARY[power]}"
    assert plain(low) == plain(f"{number}{BINARY[power + higher]}")
    assert max(-GREATEST, min(Fraction(number) * 1024 ** (power + higher), GREATEST)) == value_of(
        low
    )


@given(number=st.integers(-999, 999), power=st.integers(0, 8), steps=st.integers(0, 3))
def test_a_suffix_is_a_power_of_1000_and_an_exponent(number: int, power: int, steps: int) -> None:
    """The same value with suffix, exponent and decimal point."""
    power = min(power, 8 - steps)
    texts = {
        f"{number * 1000**steps}{DECIMAL[power]}",
        f"{number}{DECIMAL[power + steps]}",
        f"{number}e{3 * (power + steps - 3)}",
        f"{number}.000E{3 * (power + steps - 3)}",
    }
    assert {Fraction(number) * Fraction(1000) ** (power + steps - 3)} == {
        value_of(text) for text in texts
    }


@given(st.text(alphabet="0123456789.+-eEinumkMGTPK \u0661x", max_size=12) | st.text(max_size=20))
def test_no_text_raises(text: str) -> None:
    """A quantity's value is written without a suffix; any other text stays."""
    value = value_of(text)
    assert plain(text) == (text if value is None else str(value))
