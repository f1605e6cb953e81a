"""What counters say of a link."""

from __future__ import annotations

import pytest

from ibdra_domain.hardware import ErrorCounters
from ibdra_domain.health import observe
from ibdra_domain.link import PortState
from ibdra_domain.link_errors import GAP, LIMITS, REMEMBERED, LinkErrors, count, unseen_falls
from unit.domain.domain_facts import a_device, an_hca_port


def read(before: LinkErrors | None, now: float, **counters: int) -> LinkErrors:
    """Read a link's counters."""
    return count(before, ErrorCounters(**counters), now=now)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_fast_growth_is_told_by_name(name: str) -> None:
    """Just above the limit counts, just at it does not."""
    limit = int(LIMITS[name])
    first = read(None, 0, **{name: 7})
    assert () == first.growing
    assert () == read(first, 60, **{name: 7 + limit}).growing
    assert (name,) == read(first, 60, **{name: 8 + limit}).growing
    assert (name,) == read(first, 30, **{name: 8 + limit // 2}).growing


def test_it_is_named_until_it_has_been_quiet() -> None:
    """A message that comes and goes with every reading would be written every time."""
    errors = read(read(None, 0, symbol_error=0), 30, symbol_error=1000)
    errors = read(errors, 60, symbol_error=1000)
    assert ("symbol_error",) == errors.growing
    assert () == read(errors, 30 + REMEMBERED, symbol_error=1000).growing


def test_resets_and_missing_counters_are_no_growth() -> None:
    """People set them to zero with perfquery; a VF may have none."""
    errors = read(None, 0, symbol_error=1000)
    assert () == read(errors, 30, symbol_error=0).growing
    assert () == read(errors, 30).growing
    assert () == read(read(None, 0), 30, symbol_error=1000).growing


def test_two_readings_at_one_time_are_one() -> None:
    """There is no rate without time."""
    errors = read(read(None, 0, symbol_error=0), 0, symbol_error=1000)
    assert () == errors.growing
    assert () == read(None, 0).growing


def test_falls_that_no_look_saw_are_counted() -> None:
    """Those that were seen are in the counter too."""
    first, second = read(None, 0, link_downed=3), read(None, 30, link_downed=8)
    course = observe(None, a_device(), now=0)
    assert 0 == unseen_falls(course, None, second)
    assert 0 == unseen_falls(course, first, first)
    assert 5 == unseen_falls(course, first, second)
    assert 5 == unseen_falls(None, first, second)
    course = observe(course, a_device(link=an_hca_port(state=PortState.DOWN)), now=10)
    assert 4 == unseen_falls(course, first, second)
    assert 0 == unseen_falls(course, second, read(None, 60, link_downed=0))


def test_what_happened_while_nobody_looked_did_not_happen_now() -> None:
    """A day in a pod ends with the falls and errors of a day: they have no time."""
    course = observe(None, a_device(), now=0)
    many = {"link_downed": 5, "symbol_error": 9999}
    first = read(None, 0, link_downed=2, symbol_error=0)
    at_once, late = read(first, GAP, **many), read(first, GAP + 1, **many)
    assert (3, 0) == tuple(unseen_falls(course, first, reading) for reading in (at_once, late))
    assert (("symbol_error",), ()) == (at_once.growing, late.growing)
    again = read(late, GAP + 31, link_downed=6, symbol_error=9999)
    assert 1 == unseen_falls(course, late, again)


@pytest.mark.parametrize("fell", [0, 1, 2])
def test_a_reset_while_nobody_looked_is_no_fall(fell: int) -> None:
    """The counter began anew there, and may have come further than it was."""
    first = read(None, 0, link_downed=1)
    assert 0 == unseen_falls(None, first, read(first, GAP + 1, link_downed=fell))


def test_what_grew_fast_before_a_gap_is_named_as_long_as_ever() -> None:
    """Not looking makes a link no better."""
    errors = read(read(None, 0, symbol_error=0), 30, symbol_error=1000)
    assert ("symbol_error",) == read(errors, 30 + GAP + 1, symbol_error=1000).growing
    assert () == read(errors, 30 + REMEMBERED, symbol_error=1000).growing
