"""Events and status as a server gets them: counted, cut, and named as it allows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.kube.conftest import Client
from contract.kube.hostile_server import HostileServer, refuses, says
from ibdra_adapters.kube.server_reports import (
    ServerClaimStatus,
    ServerNodes,
    ServerPodEvents,
    _fitting,
)
from ibdra_domain.errors import KubeConflict, KubeFailed, KubeNotFound
from ibdra_domain.kube_objects import ConsumerReference

POD = ConsumerReference(resource="pods", name="pod0", uid="u1")
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def warn(there: Client, *, pod: ConsumerReference = POD, message: str = "no") -> None:
    events = ServerPodEvents(there.kube, driver="d", node="n")
    events.warn(pod, namespace="ns", reason="Refused", message=message)


def test_a_warning_is_an_event_of_the_pod(server: HostileServer, there: Client) -> None:
    """With all that ``kubectl describe pod`` looks for."""
    warn(there)
    (asked,) = server.requests
    event = asked.json
    assert ("POST", "/api/v1/namespaces/ns/events") == (asked.method, asked.target)
    assert ("Warning", "Refused", "no", 1) == tuple(
        event[key] for key in ("type", "reason", "message", "count")
    )
    assert ("Pod", "ns", "pod0", "u1") == tuple(
        event["involvedObject"][key] for key in ("kind", "namespace", "name", "uid")
    )
    assert {"component": "d", "host": "n"} == event["source"]


@pytest.mark.parametrize(("kept", "count"), [({"count": 4}, 5), ({}, 2)], ids=["4", "1"])
def test_the_same_warning_again_is_counted(
    server: HostileServer, there: Client, kept: dict[str, int], count: int
) -> None:
    """It is found by its name; only count and time change."""
    exists = refuses(409, "exists", reason="AlreadyExists")
    server.does(exists, says(200, {**kept, "message": "no"}), says(200))
    warn(there)
    posted, read, patched = server.requests
    name = posted.json["metadata"]["name"]
    assert [f"/api/v1/namespaces/ns/events/{name}"] * 2 == [read.target, patched.target]
    assert ["POST", "GET", "PATCH"] == [one.method for one in server.requests]
    assert "application/merge-patch+json" == patched.headers["content-type"]
    assert count == patched.json["count"]
    assert {"count", "lastTimestamp"} == patched.json.keys()


def test_warnings_that_differ_are_apart(server: HostileServer, there: Client) -> None:
    """By text, or by the pod that has the name now."""
    other = ConsumerReference(resource="pods", name="pod0", uid="u2")
    for pod, message in [(POD, "no"), (POD, "no!"), (other, "no"), (POD, "no")]:
        warn(there, pod=pod, message=message)
    names = [one.json["metadata"]["name"] for one in server.requests]
    assert 3 == len(set(names))
    assert names[0] == names[3]


@pytest.mark.parametrize(
    "pod", ["a" * 253, "a" * 235 + ".b" + "c" * 16, "a" * 235 + "-b", "a" * 234 + "-.b"], ids=len
)
def test_an_events_name_is_one(server: HostileServer, there: Client, pod: str) -> None:
    """Where a long pod's name is cut it must not end in a dot or dash."""
    warn(there, pod=ConsumerReference(resource="pods", name=pod, uid="u"))
    name = server.requests[0].json["metadata"]["name"]
    assert len(name) <= 253
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("letter", ["x", "ü", "語", "🦀"], ids=range(1, 5))
def test_a_long_message_is_cut_between_letters(
    server: HostileServer, there: Client, letter: str
) -> None:
    """At 1024 bytes, as the server counts, and it shows."""
    warn(there, message=letter * 1025)
    message = server.requests[0].json["message"]
    size = len(letter.encode())
    assert letter * ((1024 - 3) // size) + "..." == message


@given(text=st.text(st.characters(exclude_categories=[]), max_size=1500))
def test_any_text_fits(text: str) -> None:
    """What is short and printable stays; names of files may be no text at all."""
    fitting = _fitting(text)
    assert len(fitting.encode()) <= 1024
    try:
        short = len(text.encode()) <= 1024
    except UnicodeEncodeError:
        return
    assert (fitting == text) is short


def test_a_warning_of_a_file_that_is_no_text_is_sent(server: HostileServer, there: Client) -> None:
    """Surrogates are how Python keeps such names."""
    warn(there, message=b"/x/\xff".decode(errors="surrogateescape"))
    assert "/x/?" == server.requests[0].json["message"]


def test_a_pod_in_a_namespace_that_ends_is_our_error(server: HostileServer, there: Client) -> None:
    """The server says why."""
    server.does(refuses(403, "namespace ns is being terminated", reason="Forbidden"))
    with pytest.raises(KubeFailed, match="being terminated"):
        warn(there)


def test_a_status_is_applied_by_force_as_the_driver(server: HostileServer, there: Client) -> None:
    """With the claim's UID, so that it is never another one of that name."""
    ServerClaimStatus(there.kube, driver="d").apply("ns", "a", [], uid="u1")
    (asked,) = server.requests
    patch: dict[str, Any] = asked.json
    assert "PATCH" == asked.method
    assert asked.target.endswith("/namespaces/ns/resourceclaims/a/status?fieldManager=d&force=true")
    assert "application/apply-patch+yaml" == asked.headers["content-type"]
    assert {"namespace": "ns", "name": "a", "uid": "u1"} == patch["metadata"]
    assert {"devices": []} == patch["status"]


def test_a_status_of_another_claim_is_a_conflict(server: HostileServer, there: Client) -> None:
    """As the server sees it by the UID."""
    server.does(refuses(409, "Precondition failed: UID", reason="Conflict"))
    with pytest.raises(KubeConflict, match="UID"):
        ServerClaimStatus(there.kube, driver="d").apply("ns", "a", [], uid="u1")


def test_a_node_that_is_not_there_is_not_found(server: HostileServer, there: Client) -> None:
    """The message says where to look for its name."""
    nodes = ServerNodes(there.kube)
    server.does(says(200, {"metadata": {"uid": "u7", "name": "n"}}))
    assert "u7" == nodes.uid("n")
    server.does(refuses(404, 'nodes "n" not found', reason="NotFound"))
    with pytest.raises(KubeNotFound, match=r"there is no node n: .*kubectl get nodes"):
        nodes.uid("n")
