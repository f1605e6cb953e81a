"""JSON in which a key given twice is seen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.errors import InvalidJson
from ibdra_domain.strict_json import TWICE, Document, FieldPath, decode, twice_in
from unit.domain.domain_strategies import json_values


@given(json_values)
def test_reads_what_any_reader_reads(value: Any) -> None:
    """Where no key is given twice."""
    text = json.dumps(value)
    assert repr(Document(json.loads(text))) == repr(decode(text))
    assert decode(text.encode()).twice == ()


@pytest.mark.parametrize(
    ("text", "value", "twice"),
    [
        ('{"a": 1, "a": 1}', {"a": TWICE}, [("a",)]),
        ('{"a": 1, "b": 2, "a": {"b": 1}, "a": 3}', {"a": TWICE, "b": 2}, [("a",)]),
        ('[{"a": {"b": 1, "b": 2}}]', [{"a": {"b": TWICE}}], [(0, "a", "b")]),
        ('{"x": {"a": {"c": 1, "c": 1}, "a": 2}}', {"x": {"a": TWICE}}, [("x", "a")]),
        ('{"b": [{"": 1, "": 2}], "a": 1, "a": 2}', None, [("b", 0, ""), ("a",)]),
    ],
)
def test_marks_each_key_given_twice(text: str, value: Any, twice: list[FieldPath]) -> None:
    """In place of its value, and says where, in reading order."""
    document = decode(text)
    assert tuple(twice) == document.twice
    if value is not None:
        assert value == document.value
        assert twice == list(twice_in(value))


def test_a_mark_is_no_value() -> None:
    """Whoever does not know it takes it for nothing that JSON has."""
    assert "TWICE" == repr(TWICE)
    assert not isinstance(TWICE, dict | list | str | int | float | bool | type(None))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"{} {}", b"\xff", b'{"a": 01}', b"[" * 100_000, b"9" * 5000, "\ud800"],
    ids=["empty", "open", "two", "not UTF-8", "octal", "deep", "long number", "surrogate"],
)
def test_what_is_not_json_is_refused(raw: bytes | str) -> None:
    """With one error, whatever the reader stumbles at."""
    with pytest.raises(InvalidJson, match="not JSON") as caught:
        decode(raw)
    assert caught.value.remedy


@given(st.binary() | st.text())
def test_any_text_is_read_or_refused(raw: bytes | str) -> None:
    """Never another exception."""
    try:
        decode(raw)
    except InvalidJson as error:
        assert error.problem  # noqa: PT017 -- whether it raises is not the point here


def test_a_deep_document_with_a_key_given_twice_is_walked() -> None:
    """As deep as the reader goes."""
    for depth in (100, 300, 900):
        text = "[" * depth + '{"a": 1, "a": 2}' + "]" * depth
        (path,) = decode(text).twice
        assert (*[0] * depth, "a") == path
