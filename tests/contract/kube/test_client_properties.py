"""Any bytes with any status: a value of ours or an error of ours, and never anything else."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_adapters.kube.decoding import decoded, one_line, refusal
from ibdra_domain.errors import KubeConflict, KubeFailed, KubeNotFound, KubeUnavailable
from ibdra_domain.kube_objects import ResourceClaim, ResourceSlice

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "status", "devices", "name", "message", "reason"])
            | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
BODIES = (
    st.binary(max_size=300)
    | JSON.map(lambda value: json.dumps(value).encode())
    | JSON.map(lambda value: json.dumps(value).encode()[:-1])
    | st.builds(
        lambda open_, times: open_ * times, st.sampled_from([b"[", b'{"x":']), st.just(9999)
    )
)


@given(status=st.integers(100, 999), body=BODIES, is_anonymous=st.booleans())
def test_every_refusal_is_an_error_that_can_be_shown(
    *, status: int, body: bytes, is_anonymous: bool
) -> None:
    """One printable line of a bounded length, with the status and a remedy."""
    error = refusal("GET /x", status=status, body=body, is_anonymous=is_anonymous)
    assert isinstance(error, KubeFailed)
    assert str(error).isprintable()
    assert len(str(error)) < 800
    assert str(error).startswith(f"GET /x: {status}, ")
    assert error.remedy


@given(status=st.integers(100, 999), body=BODIES)
def test_the_kind_of_a_refusal_is_the_statuss(*, status: int, body: bytes) -> None:
    """Only an object that a server of ours does not find is not found."""
    kind = type(refusal("GET /x", status=status, body=body))
    assert (kind is KubeConflict) is (status == 409)
    assert (kind is KubeUnavailable) is (status in (408, 410, 429) or status >= 500)
    if kind is KubeNotFound:
        assert ("NotFound", 404) == (json.loads(body)["reason"], status)


@pytest.mark.parametrize("kind", [ResourceClaim, ResourceSlice])
@given(body=BODIES)
def test_every_body_is_understood_or_our_error(
    body: bytes, kind: type[ResourceClaim | ResourceSlice]
) -> None:
    """And what is understood can be written again."""
    try:
        value = decoded(body, kind)
    except KubeFailed as error:
        assert str(error).isprintable()  # noqa: PT017 -- most bodies do not raise
    else:
        assert decoded(msgspec.json.encode(value), kind) == value


@given(text=st.text(st.characters(exclude_categories=[])))
def test_somebody_elses_text_is_one_line(text: str) -> None:
    """Printable, stripped, and itself if it was so already."""
    line = one_line(text)
    assert line.isprintable()
    assert line == line.strip() == one_line(line)
