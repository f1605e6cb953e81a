"""The contract of what an API server says of itself and of our rights."""

from __future__ import annotations

import pytest

from contract.kube.conftest import Client
from contract.kube.hostile_server import HostileServer, Talk, refuses, says
from ibdra_adapters.kube.fake_access import FakeAccess
from ibdra_adapters.kube.server_access import ServerAccessReviews
from ibdra_domain.errors import KubeFailed, KubeUnavailable
from ibdra_domain.ports.access import Right, ServerAccess

V1 = "resource.k8s.io/v1"
GET = Right(verb="get", resource="nodes")
STATUS = Right(
    verb="patch", group="resource.k8s.io", resource="resourceclaims", subresource="status"
)


@pytest.fixture(params=["fake", "server"])
def access(request: pytest.FixtureRequest, server: HostileServer, there: Client) -> ServerAccess:
    """Give a server of 1.34 with DRA that lets us patch no claim's status."""
    if request.param == "fake":
        return FakeAccess(version="v1.34.2", denied=[STATUS])

    def act(talk: Talk) -> object:
        target = talk.request.target
        if target == "/version":
            return says(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.2"})(talk)
        if target == "/apis":
            group = {"name": "resource.k8s.io", "versions": [{"groupVersion": V1}]}
            return says(200, {"kind": "APIGroupList", "groups": [group]})(talk)
        if target.endswith("/selfsubjectaccessreviews"):
            asked = talk.request.json["spec"]["resourceAttributes"]
            denied = asked.get("subresource") == "status" and asked["verb"] == "patch"
            return says(201, {"spec": {}, "status": {"allowed": not denied}})(talk)
        return refuses(404, "there is no such group")(talk)

    server.does(act)
    return ServerAccessReviews(there.kube)


def test_a_server_says_what_it_is(access: ServerAccess) -> None:
    """Its version in its own words, and which API versions it serves."""
    assert "v1.34.2" == access.version()
    assert access.serves(V1)
    assert not access.serves("resource.k8s.io/v9")


def test_a_right_is_there_or_not(access: ServerAccess) -> None:
    """Verb, resource and subresource all count."""
    assert access.allowed(GET)
    assert not access.allowed(STATUS)
    assert access.allowed(Right(verb="update", **_of(STATUS)))


def _of(right: Right) -> dict[str, str]:
    return {f: getattr(right, f) for f in ("group", "resource", "subresource")}


def test_a_right_is_named_as_people_write_it() -> None:
    """As in a ClusterRole: resource and group, then what is below."""
    assert "get nodes" == str(GET)
    assert "patch resourceclaims.resource.k8s.io/status" == str(STATUS)


def test_a_server_that_does_not_answer_is_an_error() -> None:
    """The one in memory can be down."""
    access = FakeAccess()
    access.down = True
    with pytest.raises(KubeUnavailable):
        access.version()


def test_nonsense_is_an_error(server: HostileServer, there: Client) -> None:
    """What is no review is not taken for a yes."""
    server.does(says(200, {"status": {"allowed": "maybe"}}))
    with pytest.raises(KubeFailed):
        ServerAccessReviews(there.kube).allowed(GET)
