"""Marks in memory."""

from __future__ import annotations

import pytest

from ibdra_adapters.hook.fake import FakeMarks
from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.netlink import NetnsId

HERE, THERE = NetnsId(4, 4026532000, 7), NetnsId(4, 4026532001, 8)


def test_a_mark_is_put_replaced_and_removed() -> None:
    """The last put counts; removing is a success also without one."""
    marks = FakeMarks()
    marks.put("b", netns=HERE, nodes="231:192")
    marks.put("a", netns=HERE, nodes="231:193")
    marks.put("a", netns=THERE, nodes="-")

    assert ("a", "b") == marks.claims()
    assert (THERE, "-") == marks.marks["a"]
    marks.remove("a")
    marks.remove("a")
    assert ("b",) == marks.claims()


def test_broken_marks_fail_in_every_method() -> None:
    """A full disk is told, not passed over."""
    marks = FakeMarks()
    marks.broken = True
    for call in (
        lambda: marks.put("a", netns=HERE, nodes="-"),
        lambda: marks.remove("a"),
        marks.claims,
    ):
        with pytest.raises(StateFailed):
            call()
