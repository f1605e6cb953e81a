"""The embedded node: a pod's way with any driver, with several, and when it ends badly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ibdra_app import library as dra

Json = dict[str, Any]
NODE = "demo-node"
MANIFESTS = """\
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: a.example.com}
spec: {selectors: [{cel: {expression: device.driver == "a.example.com"}}]}
---
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: b.example.com}
spec: {selectors: [{cel: {expression: device.driver == "b.example.com"}}]}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {namespace: ns, name: both}
spec:
  devices:
    requests:
    - {name: one, exactly: {deviceClassName: a.example.com}}
    - {name: two, exactly: {deviceClassName: b.example.com}}
    constraints: [{matchAttribute: example.com/root}]
---
apiVersion: v1
kind: Pod
metadata: {namespace: ns, name: pod0}
spec:
  containers:
  - {name: all, resources: {claims: [{name: both}]}}
  - {name: half, resources: {claims: [{name: both, request: two}]}}
  resourceClaims: [{name: both, resourceClaimName: both}]
"""


class Words:
    """A driver whose devices are words in the environment."""

    def __init__(self, name: str, node: dra.EmbeddedNode, *, hook: bool = False) -> None:
        self.name = name
        self.claims = dra.in_memory(node.api, driver=name, node=NODE).claims
        self.cdi = dra.CdiFolder(node.cdi_folder, driver=name)
        self.hooks = (dra.Hook(hook_name="createRuntime", path="/bin/no"),) if hook else ()
        self.refusal = ""

    def prepare(self, claim: dra.ClaimRef) -> tuple[dra.PreparedDevice, ...]:
        if self.refusal:
            raise dra.DeviceRefused(self.refusal, remedy="wait")
        found = self.claims.get(claim.namespace, claim.name)
        (result,) = dra.read_results(found, wanted=claim, pool=NODE, driver=self.name).devices
        word = f"{self.name[0].upper()}={result.device}"
        edits = dra.ContainerEdits(env=(word,), hooks=self.hooks)
        device = dra.CdiDevice(name=claim.uid, container_edits=edits)
        spec = dra.CdiSpec(kind=f"{self.name}/word", devices=(device,))
        self.cdi.write(claim.uid, spec)
        return (
            dra.PreparedDevice(
                requests=(result.request,),
                pool=NODE,
                device=result.device,
                cdi_ids=(spec.qualified(claim.uid),),
            ),
        )

    def unprepare(self, claim: dra.ClaimRef) -> None:
        if self.refusal:
            raise dra.DeviceRefused(self.refusal, remedy="wait")
        self.cdi.remove(claim.uid)


def a_device(name: str, root: str) -> dra.Device:
    attributes = {"example.com/root": dra.DeviceAttribute.of(root)}
    return dra.Device(name=name, attributes=attributes)


@pytest.fixture
def node(short_path: Path) -> dra.EmbeddedNode:
    """Give a node without drivers."""
    return dra.EmbeddedNode.below(short_path)


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Write the manifests of a pod with a claim of two drivers."""
    path = tmp_path / "both.yaml"
    path.write_text(MANIFESTS)
    return path


async def test_one_claim_may_have_devices_of_two_drivers(
    node: dra.EmbeddedNode, manifests: Path
) -> None:
    """Each driver is asked; a container that names a request has that one's devices only."""
    first, second = Words("a.example.com", node), Words("b.example.com", node)
    async with (
        node,
        node.with_driver(first.name, dra.OneByOne(first), devices=[a_device("x", "left")]),
        node.with_driver(
            second.name,
            dra.OneByOne(second),
            devices=[a_device("y", "right"), a_device("z", "left")],
        ),
    ):
        *_, pod = node.apply(manifests)
        running = await node.start(pod)
        assert [{"A": "x", "B": "z"}, {"B": "z"}] == [c.env for c in running.containers]
        assert "pod0 runs\n  all: A=x\n  all: B=z\n  half: B=z" == str(running)
        await node.end(running)
        again = await node.start(pod)  # a claim with a name of its own outlives the pod
        assert "" == again.why_not
        await node.end(again)
    assert ("ResourceClaim both",) == node.left()


async def test_one_drivers_refusal_keeps_the_pod_from_running(
    node: dra.EmbeddedNode, manifests: Path
) -> None:
    """Its words are given; ending the pod gives back what the other prepared."""
    first, second = Words("a.example.com", node), Words("b.example.com", node)
    async with (
        node,
        node.with_driver(first.name, dra.OneByOne(first), devices=[a_device("x", "left")]),
        node.with_driver(second.name, dra.OneByOne(second), devices=[a_device("y", "left")]),
    ):
        *_, pod = node.apply(manifests)
        first.refusal = "x is ill"
        running = await node.start(pod)
        assert "pod0 does not run: x is ill: wait" == str(running)
        with pytest.raises(dra.ClaimRefused, match="x is ill: wait: see the driver's log"):
            await node.end(running)
        assert [] == [path for path in node.left() if path.endswith(".json")]


async def test_a_pod_without_devices_stays_pending(node: dra.EmbeddedNode, manifests: Path) -> None:
    """The reason is the scheduler's; ending it is nothing."""
    async with node:
        *objects, pod = node.apply(manifests)
        running = await node.start(pod)
        assert running.why_not.startswith("request one: 0 of the 1 devices asked for fit")
        await node.end(running)
        node.delete([*objects, pod])
    assert () == node.left()


async def test_a_hook_that_nobody_runs_is_refused(node: dra.EmbeddedNode, manifests: Path) -> None:
    """A container must not look as if it had what the hook would have given."""
    first, second = Words("a.example.com", node, hook=True), Words("b.example.com", node)
    async with (
        node,
        node.with_driver(first.name, dra.OneByOne(first), devices=[a_device("x", "left")]),
        node.with_driver(second.name, dra.OneByOne(second), devices=[a_device("y", "left")]),
    ):
        *_, pod = node.apply(manifests)
        with pytest.raises(dra.IbdraError, match="wants /bin/no run"):
            await node.start(pod)


def test_a_broken_manifest_is_told_with_its_line(node: dra.EmbeddedNode, tmp_path: Path) -> None:
    """As ``ibdra validate`` would."""
    path = tmp_path / "bad.yaml"
    path.write_text("kind: Pod\nkind: Pod\n")
    with pytest.raises(dra.InvalidManifest, match=r"bad\.yaml:2: 'kind' is given twice"):
        node.apply(path)
