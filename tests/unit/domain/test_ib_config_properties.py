"""What holds of an IbConfig for any JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ibdra_domain.errors import InvalidConfig
from ibdra_domain.ib_config import IbConfig, decode_ib_config, ib_config_from, merge
from unit.domain.domain_facts import parameters
from unit.domain.domain_strategies import json_values

FIELDS = ("apiVersion", "kind", "pkey", "trafficClass", "mtu")
near_numbers = st.sampled_from(
    [-1, 0, 1, 255, 256, 512, 1024, 2044, 2048, 4096, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x10000]
)
near_values = near_numbers | near_numbers.map(float) | json_values
# Documents one step from right: some fields changed, some left out, perhaps a stray one.
near_documents = st.builds(
    lambda wishes, without, stray: {
        k: v for k, v in (parameters(**wishes) | stray).items() if k not in without
    },
    st.dictionaries(st.sampled_from(FIELDS[2:]), near_values),
    st.sets(st.sampled_from(FIELDS), max_size=1),
    st.dictionaries(st.sampled_from([*FIELDS, "Pkey", ""]), near_values, max_size=1),
)
configs = st.builds(
    IbConfig,
    pkey=st.none() | st.integers(0x8001, 0xFFFF),
    traffic_class=st.none() | st.integers(0, 255),
    mtu=st.none() | st.sampled_from([256, 4096]),
)


def is_right(document: Any) -> bool:
    """Judge a document by D7's rules, written a second time and otherwise."""
    if type(document) is not dict or set(document) - set(FIELDS):
        return False
    numbers = [document[f] for f in FIELDS[2:] if f in document]
    return (
        document.get("apiVersion") == "ib.resource.sigs.k8s.io/v1alpha1"
        and document.get("kind") == "IbConfig"
        and all(type(n) is int for n in numbers)
        and document.get("pkey", 1) in {*range(1, 0x8000), *range(0x8001, 0x10000)}
        and document.get("trafficClass", 0) in range(256)
        and document.get("mtu", 256) in {2**n for n in range(8, 13)}
    )


@given(st.one_of(json_values, near_documents))
@example(parameters(pkey=True))
@example(parameters(mtu=256.0))
@example(parameters(trafficClass=0))
def test_a_document_is_accepted_exactly_if_it_keeps_the_rules(document: object) -> None:
    """And then says what it said; else it raises InvalidConfig and nothing else."""
    try:
        config = ib_config_from(document)
    except InvalidConfig as error:
        assert not is_right(document)
        assert error.problem  # noqa: PT017 - the other branch is as right as this one
        assert error.remedy  # noqa: PT017 - likewise
    else:
        assert isinstance(document, dict)
        assert is_right(document)
        assert IbConfig(
            pkey=document.get("pkey"),
            traffic_class=document.get("trafficClass"),
            mtu=document.get("mtu"),
        ) == (config)


@given(st.one_of(json_values, near_documents))
def test_json_is_judged_as_the_document_it_holds(document: object) -> None:
    """Text or value, webhook or prepare: one verdict (NaN and infinities included)."""
    raw = json.dumps(document)
    again = json.loads(raw)
    try:
        expected: object = ib_config_from(again)
    except InvalidConfig as error:
        expected = str(error)
    try:
        actual: object = decode_ib_config(raw.encode())
    except InvalidConfig as error:
        actual = str(error)
    assert expected == actual


@given(st.binary() | st.text())
def test_any_bytes_are_decoded_or_refused(raw: bytes | str) -> None:
    """Random bytes are never an IbConfig, and never another exception."""
    try:
        decode_ib_config(raw)
    except InvalidConfig as error:
        assert error.remedy  # noqa: PT017 - whether it raises is not the point here


@given(st.lists(configs), st.lists(configs), st.lists(configs))
def test_merging_is_associative(
    one: list[IbConfig], two: list[IbConfig], three: list[IbConfig]
) -> None:
    """Class and claim may be merged apart; an empty config, or none at all, changes nothing."""
    whole = merge([*one, *two, *three])
    assert whole == merge([merge([*one, *two]), *three])
    assert whole == merge([*one, merge([*two, *three])])
    assert whole == merge([IbConfig(), *one, *two, *three, IbConfig()])


@given(st.lists(configs, min_size=1))
def test_the_last_wish_wins(wishes: list[IbConfig]) -> None:
    """Each field is the last one set, None if none was."""
    merged = merge(wishes)
    for field in IbConfig.__struct_fields__:
        said = [v for w in wishes if (v := getattr(w, field)) is not None]
        assert (said[-1] if said else None) == getattr(merged, field)
