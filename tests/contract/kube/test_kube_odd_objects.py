"""Objects that a server would not let in: what an older or a broken one may still hold."""

from __future__ import annotations

import msgspec
import pytest

from contract.kube.kube_clusters import DRIVER, NODE, Cluster, a_claim, a_slice
from ibdra_domain.errors import KubeFailed


def test_a_claim_that_is_not_understood_is_a_failure(cluster: Cluster) -> None:
    """A field of the wrong type is KubeFailed, with the decoder's reason chained."""
    cluster.create(a_claim(spec={"devices": {"requests": "garbage"}}))
    with pytest.raises(KubeFailed, match="ResourceClaim") as caught:
        cluster.claims().get("ns", "claim-a")
    assert isinstance(caught.value.__cause__, msgspec.MsgspecError)


def test_a_slice_that_is_not_understood_is_a_failure(cluster: Cluster) -> None:
    """Our own slice with garbage in it is not passed over in silence."""
    body = {**a_slice().to_builtins(), "spec": {"driver": DRIVER, "nodeName": NODE, "pool": 5}}
    cluster.create(body)
    with pytest.raises(KubeFailed, match="ResourceSlice") as caught:
        cluster.slices().list()
    assert isinstance(caught.value.__cause__, msgspec.MsgspecError)
    with pytest.raises(KubeFailed):
        next(cluster.slices().watch())


@pytest.mark.parametrize("spec", [None, "garbage", [], {}, {"driver": DRIVER}])
def test_what_does_not_say_it_is_ours_is_passed_over(cluster: Cluster, spec: object) -> None:
    """Somebody else's object never fails us, whatever is in it."""
    cluster.create({"kind": "ResourceSlice", "metadata": {"name": "odd"}, "spec": spec})
    assert () == cluster.slices().list()
