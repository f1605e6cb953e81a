"""Counters of what was done and what was refused."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ibdra_app.counts import DONE, Counts
from ibdra_domain.errors import NotSettled
from unit.app.app_node import VF, Node


def test_results_are_counted_by_action_and_kind_of_error() -> None:
    """What went well and each kind of failure have a counter of their own."""
    counts = Counts()
    counts.done("attach")
    counts.done("attach")
    counts.failed("attach", NotSettled("away", remedy="wait"))
    counts.done("detach")

    expected = {("attach", DONE): 2, ("attach", "NotSettled"): 1, ("detach", DONE): 1}
    assert expected == counts.all()


def test_observers_hear_of_each_action() -> None:
    """With the error itself; all of them, in the order in which they were given."""
    heard: list[tuple[str, str, Exception | None]] = []
    counts = Counts(
        lambda action, error: heard.append(("one", action, error)),
        lambda action, error: heard.append(("two", action, error)),
    )
    counts.done("attach")
    counts.failed("detach", refused := NotSettled("away", remedy="wait"))

    expected = [(who, what, error) for what, error in (("attach", None), ("detach", refused))
                for who in ("one", "two")]  # fmt: skip
    assert expected == heard


def test_an_observer_that_fails_spoils_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """What is done is done, is counted, and is told to the others."""

    def broken(_action: str, _error: Exception | None) -> None:
        raise RuntimeError("no space left")

    heard: list[str] = []
    counts = Counts(broken, lambda action, _: heard.append(action))
    counts.done("attach")
    assert (["attach"], {("attach", DONE): 1}) == (heard, counts.all())
    assert "attach was not counted by" in caplog.text


def test_what_was_given_does_not_change() -> None:
    """A reader has the numbers of one moment."""
    counts = Counts()
    before = counts.all()
    counts.done("attach")
    assert {} == before


def test_no_count_is_lost_among_threads() -> None:
    """Workers add at the same time."""
    counts, before = Counts(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4000):
            pool.submit(counts.done, "prepare")
    sys.setswitchinterval(before)

    assert {("prepare", DONE): 4000} == counts.all()


def test_the_use_cases_count(node: Node) -> None:
    """A claim's way leaves one count each, a refused one its reason."""
    claim, pid = node.prepared(VF), node.kernel.start_process()
    node.prepare(node.claim(VF))
    node.attach(claim, pid)
    node.unprepare(claim)

    expected = {
        ("prepare", DONE): 1,
        ("prepare", "DeviceRefused"): 1,
        ("attach", DONE): 1,
        ("detach", DONE): 1,
        ("unprepare", DONE): 1,
    }
    assert expected == node.container.counts().all()
