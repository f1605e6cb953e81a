"""Port states, rates and MTUs, as sysfs prints and libibverbs encodes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.link import (
    IB_MTUS,
    PortState,
    Rate,
    mtu_from_code,
    parse_physical_state,
    parse_port_state,
    parse_rate,
    physical_state_from_code,
    port_state_from_code,
    rate_from_codes,
)

MACHINES = pytest.mark.parametrize(
    ("text", "speed", "width", "rate"),
    [
        ("2.5 Gb/sec (1X SDR)", 1, 1, Rate(2500, 1)),
        ("20 Gb/sec (4X DDR)", 2, 2, Rate(20000, 4)),
        ("40 Gb/sec (4X QDR)", 4, 2, Rate(40000, 4)),
        ("40 Gb/sec (4X FDR10)", 8, 2, Rate(40000, 4)),
        ("56 Gb/sec (4X FDR)", 16, 2, Rate(56000, 4)),
        ("100 Gb/sec (4X EDR)", 32, 2, Rate(100000, 4)),
        ("100 Gb/sec (2X HDR)", 64, 16, Rate(100000, 2)),
        ("200 Gb/sec (4X HDR)", 64, 2, Rate(200000, 4)),
        ("400 Gb/sec (4X NDR)", 128, 2, Rate(400000, 4)),
        ("800 Gb/sec (8X NDR)", 128, 4, Rate(800000, 8)),
        ("800 Gb/sec (4X XDR)", 256, 2, Rate(800000, 4)),
        ("300 Gb/sec (12X EDR)", 32, 8, Rate(300000, 12)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)


@MACHINES
def test_sysfs_and_libibverbs_agree_on_a_rate(
    text: str, speed: int, width: int, rate: Rate
) -> None:
    """The line and the two codes of one link are one rate."""
    assert rate == parse_rate(text)
    assert rate == parse_rate(f"{text}\n")
    assert rate == rate_from_codes(speed, width)


@pytest.mark.parametrize(
    ("rate", "text", "gbps"),
    [
        (Rate(2500, 1), "2.5Gb/s", 2),
        (Rate(400000, 4), "400Gb/s", 400),
        (Rate(1600000, 8), "1600Gb/s", 1600),
        (Rate(999), "0.999Gb/s", 0),
    ],
)
def test_a_rate_is_shown_exactly_and_counted_rounded_down(rate: Rate, text: str, gbps: int) -> None:
    """The text keeps the half gigabit; the number never claims more than there is."""
    assert text == rate.text
    assert gbps == rate.gbps


def test_a_rate_without_lanes_is_still_a_rate() -> None:
    """The width is 0 where the line does not say it."""
    assert Rate(25000, 0) == parse_rate("25 Gb/sec")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 Gb/sec (4X SDR)",
        "0.0 Gb/sec",
        "Gb/sec",
        "-5 Gb/sec",
        "10 Mb/sec",
        "10 Gb/sec (4X",
        "unknown",
    ],
)
def test_what_is_not_a_rate_is_unknown(text: str) -> None:
    """A zero rate is what a port without a link prints: no rate either."""
    assert parse_rate(text) is None


@given(st.text() | st.from_regex(r"[0-9. ]{0,12}Gb/sec( \([0-9]{0,3}X.{0,4}\))?"))
def test_any_text_is_a_rate_or_unknown(text: str) -> None:
    """Reading never raises, and a rate is more than nothing."""
    rate = parse_rate(text)
    assert rate is None or rate.mbps > 0


@given(st.integers(0, 10**9), st.text("0123456789", max_size=6))
def test_a_rate_never_flatters(whole: int, decimals: str) -> None:
    """What is read is at most what is written, and misses less than a tenth of a gigabit."""
    text = f"{whole}.{decimals}" if decimals else str(whole)
    rate = parse_rate(f"{text} Gb/sec (4X NDR)")
    written = Fraction(text) * 1000
    assert (rate.mbps if rate else 0) <= written
    if whole < 10**6:
        assert written - (rate.mbps if rate else 0) < 100


@given(st.integers(-5, 1024), st.integers(-5, 64))
def test_unknown_codes_have_no_rate(speed: int, width: int) -> None:
    """Each code is a single bit; whatever else comes is unknown, not a guess."""
    known = speed in {1 << n for n in range(9)} and width in {1 << n for n in range(5)}
    assert known == (rate_from_codes(speed, width) is not None)


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (0, "0: NOP", None),
        (1, "1: DOWN", PortState.DOWN),
        (2, "2: INIT", PortState.INIT),
        (3, "3: ARMED", PortState.ARMED),
        (4, "4: ACTIVE", PortState.ACTIVE),
        (5, "5: ACTIVE_DEFER", PortState.ACTIVE_DEFER),
        (6, "6: <unknown>", None),
    ],
)
def test_a_port_state_is_its_number(code: int, text: str, state: PortState | None) -> None:
    """In sysfs and libibverbs alike; NOP and news are unknown."""
    assert state == parse_port_state(text)
    assert state == port_state_from_code(code)


@pytest.mark.parametrize(
    ("code", "text", "state"),
    [
        (0, "0: <unknown>", None),
        (1, "1: Sleep", "Sleep"),
        (2, "2: Polling", "Polling"),
        (3, "3: Disabled", "Disabled"),
        (4, "4: PortConfigurationTraining", "PortConfigurationTraining"),
        (5, "5: LinkUp", "LinkUp"),
        (6, "6: LinkErrorRecovery", "LinkErrorRecovery"),
        (7, "7: Phy Test", "PhyTest"),
        (8, "8: News", None),
    ],
)
def test_a_physical_state_is_its_number(code: int, text: str, state: str | None) -> None:
    """The name is ours, so that kernels that spell it otherwise do not change an attribute."""
    assert state == parse_physical_state(text)
    assert state == physical_state_from_code(code)


@given(st.text())
def test_any_text_is_a_state_or_unknown(text: str) -> None:
    """Reading never raises."""
    assert parse_port_state(text) in {None, *PortState}
    parse_physical_state(text)


def test_mtu_codes_are_the_five_mtus() -> None:
    """1 to 5, in order; anything else is unknown."""
    assert IB_MTUS == tuple(mtu_from_code(code) for code in range(1, 6))
    assert [None, None, None] == [mtu_from_code(code) for code in (-1, 0, 6)]
