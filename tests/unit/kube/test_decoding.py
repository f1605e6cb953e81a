"""What an API server wrote, read as values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ibdra_adapters.kube.decoding import decoded
from ibdra_domain.errors import KubeFailed
from ibdra_domain.kube_objects import ResourceClaim, ResourceSlice

Json = dict[str, Any]


def a_slice(**spec: object) -> Json:
    pool = {"name": "node-a", "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": "s"}, "spec": {"driver": "d", "pool": pool, **spec}}


def a_claim(parameters: str, *, reserved: str) -> bytes:
    return (
        '{"metadata": {"name": "c"}, "status": {"reservedFor": ' + reserved + ', "allocation": '
        '{"devices": {"results": [], "config": [{"source": "FromClaim", "opaque": '
        '{"driver": "d", "parameters": ' + parameters + "}}]}}}}"
    ).encode()


@pytest.mark.parametrize("field", ["devices", "sharedCounters", "nodeName"])
def test_null_is_as_good_as_none(field: str) -> None:
    """Kubernetes 1.34 writes it for the devices of a slice that has none."""
    body = a_slice(**{field: None})
    assert decoded(a_slice(), ResourceSlice) == decoded(body, ResourceSlice)
    assert decoded(a_slice(), ResourceSlice) == decoded(json.dumps(body).encode(), ResourceSlice)


def test_parameters_stay_as_they_came() -> None:
    """Whether a null or a name given twice is right in them is their driver's business."""
    written = '{"pkey": null, "mtu": 1, "mtu": 2}'
    claim = decoded(a_claim(written, reserved="null"), ResourceClaim)
    assert () == claim.status.reserved_for
    assert claim.status.allocation is not None
    (config,) = claim.status.allocation.devices.config
    assert config.opaque is not None
    assert written == bytes(config.opaque.parameters).decode()


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"name": "s"}, "spec": None},
        a_slice(devices=[None]),
        a_slice(devices={}),
        b"null",
        b"[" * 10_000 + b"null",
        b'{"metadata": null, "spec": ' + b'{"x":' * 5_000 + b"null",
        b"\xff",
    ],
    ids=["no spec", "no device", "no list", "nothing", "lists", "objects", "no text"],
)
def test_what_is_wrong_is_told(body: Json | bytes) -> None:
    """A null where something must be, and JSON that is none, are the server's failure."""
    with pytest.raises(KubeFailed, match="is not understood"):
        decoded(body, ResourceSlice)
