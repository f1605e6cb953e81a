"""IbConfig by example: decoding, rules, messages, merging."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
import pytest

from ibdra_domain.errors import InvalidConfig
from ibdra_domain.ib_config import (
    API_VERSION,
    KIND,
    IbConfig,
    decode_ib_config,
    ib_config_from,
    ib_config_problems,
    merge,
)
from unit.domain.domain_facts import parameters


def encoded(**wishes: Any) -> bytes:
    """Write a document as JSON."""
    return msgspec.json.encode(parameters(**wishes))


def test_a_whole_document_decodes() -> None:
    """Every field arrives."""
    config = decode_ib_config(encoded(pkey=0x8001, trafficClass=106, mtu=2048))
    assert IbConfig(pkey=0x8001, traffic_class=106, mtu=2048) == config


def test_a_document_without_wishes_asks_for_nothing() -> None:
    """The port's own defaults stay."""
    assert IbConfig() == decode_ib_config(encoded())
    assert IbConfig() == decode_ib_config(encoded().decode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("pkey", v) for v in (0x0001, 0x7FFF, 0x8001, 0xFFFF)),
        *(("trafficClass", v) for v in (0, 255)),
        *(("mtu", v) for v in (256, 512, 1024, 2048, 4096)),
    ],
)
def test_the_edges_of_each_rule_are_accepted(field: str, value: int) -> None:
    """Limited and full membership; eight bits; the five InfiniBand MTUs."""
    assert () == ib_config_problems(parameters(**{field: value}))


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("pkey", 0x0000, "pkey 0x0000 names partition 0"),
        ("pkey", 0x8000, "pkey 0x8000 names partition 0"),
        ("pkey", 0x10000, "pkey 65536 does not fit 16 bits"),
        ("pkey", -1, "pkey -1 does not fit 16 bits"),
        ("pkey", "0x8001", "pkey is the text '0x8001', not a whole number"),
        ("pkey", None, "pkey is null, not a whole number"),
        ("trafficClass", 256, "trafficClass 256 does not fit 8 bits"),
        ("trafficClass", -1, "trafficClass -1 does not fit 8 bits"),
        ("trafficClass", True, "trafficClass is the boolean true, not a whole number"),
        ("mtu", 0, "mtu 0 is not an InfiniBand MTU"),
        ("mtu", 2044, "mtu 2044 is not an InfiniBand MTU"),
        ("mtu", 8192, "mtu 8192 is not an InfiniBand MTU"),
        ("mtu", 2048.0, "mtu is the fraction 2048.0, not a whole number"),
        ("mtu", [2048], "mtu is a list, not a whole number"),
        ("mtu", {}, "mtu is an object, not a whole number"),
        ("PKey", 0x8001, "'PKey' is not a field of IbConfig"),
        ("metadata", {}, "'metadata' is not a field of IbConfig"),
    ],
)
def test_what_breaks_a_rule_is_refused(field: str, value: object, problem: str) -> None:
    """The error names the field and quotes the value."""
    with pytest.raises(InvalidConfig) as caught:
        ib_config_from(parameters(**{field: value}))
    assert caught.value.problem.startswith(problem)
    assert field == caught.value.field
    assert caught.value.remedy


def test_a_text_pkey_is_told_how_to_write_one() -> None:
    """JSON has no hexadecimal numbers; the remedy shows both spellings."""
    (found,) = ib_config_problems(parameters(pkey="0x8001"))
    assert "write pkey as a bare number, 32769 or (in YAML) 0x8001" == found.remedy


@pytest.mark.parametrize(
    ("document", "field", "problem"),
    [
        ({"kind": KIND}, "apiVersion", "apiVersion is missing"),
        ({"apiVersion": API_VERSION}, "kind", "kind is missing"),
        ({"apiVersion": "v1", "kind": KIND}, "apiVersion", "apiVersion is the text 'v1'"),
        ({"apiVersion": API_VERSION, "kind": None}, "kind", "kind is null"),
        ([], "", "the parameters are a list, not an object"),
        (None, "", "the parameters are null, not an object"),
        (1.5, "", "the parameters are the fraction 1.5, not an object"),
        (5, "", "the parameters are the number 5, not an object"),
        (date(2026, 1, 1), "", "the parameters are a date, not an object"),
    ],
)
def test_a_document_of_another_kind_is_refused(document: object, field: str, problem: str) -> None:
    """Type fields are not optional: they are what tells a later version apart."""
    found = ib_config_problems(document)
    assert [(field, problem)] == [(p.field, p.problem) for p in found]


def test_all_problems_come_at_once_in_reading_order() -> None:
    """Nobody has to send a manifest five times; one remedy is said once."""
    document = {"mtu": 1, "nope": 2, "trafficClass": 999, "kind": KIND, "also": 3}
    with pytest.raises(InvalidConfig) as caught:
        ib_config_from(document)
    fields = [p.field for p in ib_config_problems(document)]
    assert ["apiVersion", "mtu", "nope", "trafficClass", "also"] == fields
    assert "apiVersion" == caught.value.field
    assert 4 == caught.value.problem.count(";")
    assert 1 == caught.value.remedy.count("the spelling counts")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{} {}",
        b"\xff\xfe\xfd",
        b'{"mtu": 0x800}',
        b"[" * 100_000,
        b'{"mtu": ' + b"9" * 5000 + b"}",
    ],
    ids=["empty", "open", "two documents", "not UTF-8", "hexadecimal", "deep", "long number"],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    """With the parser's reason, and no other exception."""
    with pytest.raises(InvalidConfig, match="the IbConfig is not JSON"):
        decode_ib_config(raw)


@pytest.mark.parametrize("depth", range(400, 1000, 20))
@pytest.mark.parametrize("field", ["apiVersion", "mtu"])
def test_a_deep_document_is_refused_like_any_other(field: str, depth: int) -> None:
    """However deep: what the parser can still read, the message can still tell."""
    with pytest.raises(InvalidConfig):
        decode_ib_config(f'{{"{field}": {"[" * depth}{"]" * depth}}}')


@pytest.mark.parametrize("field", ["apiVersion", "kind", "pkey", "trafficClass", "mtu"])
def test_a_huge_number_is_refused_like_any_other(field: str) -> None:
    """YAML's hexadecimal numbers have no length limit, Python's decimal texts have."""
    with pytest.raises(InvalidConfig) as caught:
        ib_config_from(parameters(**{field: 16**5000}))
    assert field == caught.value.field
    assert len(str(caught.value)) < 500


def test_a_long_value_is_not_quoted_in_full() -> None:
    """A message has room for other things."""
    (found,) = ib_config_problems(parameters(apiVersion="x" * 10_000))
    assert len(found.problem) < 200


def test_a_key_that_is_no_text_is_an_unknown_field() -> None:
    """YAML has such keys; JSON has not."""
    (found,) = ib_config_problems(parameters() | {5: 1})
    assert ("the number 5", "'the number 5' is not a field of IbConfig") == (
        found.field,
        found.problem,
    )


def test_a_field_given_twice_is_refused() -> None:
    """JSON parsers take one of the two, and not all the same one."""
    raw = f'{{"apiVersion": "{API_VERSION}", "kind": "{KIND}", "pkey": 32769, "pkey": 32770}}'
    with pytest.raises(InvalidConfig, match="'pkey' is given twice") as caught:
        decode_ib_config(raw)
    assert "pkey" == caught.value.field


def test_a_field_given_twice_deep_down_is_refused() -> None:
    """Before anybody asks whether the field is one of ours."""
    with pytest.raises(InvalidConfig, match="'a' is given twice"):
        decode_ib_config('{"x": [{"a": 1, "a": 1}]}')


def test_merging_goes_field_by_field() -> None:
    """A claim that sets the MTU keeps its class' partition key."""
    of_class = IbConfig(pkey=0x8001, mtu=2048)
    of_claim = IbConfig(mtu=4096, traffic_class=0)
    assert IbConfig(pkey=0x8001, traffic_class=0, mtu=4096) == merge([of_class, of_claim])
