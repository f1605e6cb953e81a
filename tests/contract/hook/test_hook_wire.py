"""The documents between program and daemon: what is read, and that nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_adapters.hook.wire import decode_request, encode_answer, is_claim, is_nodes, to_reason
from ibdra_domain.errors import HookFailed
from ibdra_domain.ports.runtime import ContainerStart

CLAIM = st.from_regex(r"[A-Za-z0-9-]{1,63}", fullmatch=True)
NUMBER = st.integers(0, 2**32 - 1)
NODES = st.just("-") | st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=20).map(
    lambda pairs: ",".join(f"{major}:{minor}" for major, minor in pairs)
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
STATE = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=80), "pid": st.integers(1, 2**31 - 1)},
    optional={"annotations": st.dictionaries(st.text(), st.text()), "status": st.text()},
)


@given(claim=CLAIM, nodes=NODES, state=STATE)
def test_a_good_request_is_read(claim: str, nodes: str, state: dict[str, Any]) -> None:
    """Whatever else a runtime writes into its state."""
    raw = json.dumps({"version": 1, "claim": claim, "nodes": nodes, "state": state}).encode()
    expected = ContainerStart(claim=claim, pid=state["pid"], container=state["id"], nodes=nodes)
    assert expected == decode_request(raw)
    assert is_claim(claim)
    assert is_nodes(nodes)


@pytest.mark.parametrize(
    ("annotations", "pod"),
    [
        (
            {
                "io.kubernetes.cri.sandbox-namespace": "jobs",
                "io.kubernetes.cri.sandbox-name": "train-0",
            },
            "jobs/train-0",
        ),
        ({"io.kubernetes.pod.namespace": "jobs", "io.kubernetes.pod.name": "a"}, "jobs/a"),
        ({"io.kubernetes.pod.name": "a"}, ""),
        ({"io.kubernetes.pod.namespace": 7, "io.kubernetes.pod.name": "a"}, ""),
        ({}, ""),
    ],
    ids=["containerd", "cri-o", "half", "no-text", "podman"],
)
def test_the_pod_is_who_the_runtime_says(annotations: dict[str, Any], pod: str) -> None:
    """By either runtime's annotations; without them nobody."""
    state = {"id": "c", "pid": 7, "annotations": annotations}
    raw = json.dumps({"version": 1, "claim": "u", "nodes": "-", "state": state}).encode()
    assert pod == decode_request(raw).pod


@given(raw=st.binary(max_size=200))
def test_bytes_are_refused(raw: bytes) -> None:
    """No garbage is a request, and none of it makes another error than ours."""
    with pytest.raises(HookFailed):
        decode_request(raw)


@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "version": st.just(1) | JSON,
            "claim": CLAIM | JSON,
            "nodes": NODES | JSON,
            "state": STATE | JSON,
            "more": JSON,
        },
    )
)
def test_a_document_is_read_whole_or_refused(fields: dict[str, Any]) -> None:
    """What is read has all its fields, each as it has to be, and no other."""
    try:
        start = decode_request(json.dumps(fields).encode())
    except HookFailed:
        return
    assert {"version", "claim", "nodes", "state"} == set(fields)
    assert 1 == fields["version"]
    assert (fields["claim"], fields["nodes"]) == (start.claim, start.nodes)
    assert (fields["state"]["id"], fields["state"]["pid"]) == (start.container, start.pid)
    assert is_claim(start.claim)
    assert is_nodes(start.nodes)
    assert 0 < start.pid < 2**31


@given(reason=st.none() | st.text())
def test_an_answer_is_a_yes_or_a_no(reason: str | None) -> None:
    """A yes has no reason, a no has its own."""
    answer = json.loads(encode_answer(reason))
    if reason is None:
        assert {"version": 1, "attached": True} == answer
    else:
        assert {"version": 1, "attached": False, "reason": reason} == answer


@given(text=st.text(st.characters(exclude_categories=())))
def test_every_text_can_be_a_reason(text: str) -> None:
    """Half a surrogate pair, which is no UTF-8, becomes a question mark."""
    plain = "".join("?" if 0xD800 <= ord(c) <= 0xDFFF else c for c in text)
    assert plain == json.loads(encode_answer(to_reason(text)))["reason"]


def test_a_reason_is_bounded() -> None:
    """The program takes 64 KiB."""
    assert len(encode_answer(to_reason("\N{GRINNING FACE}\x01" * 100_000))) < 1 << 16
