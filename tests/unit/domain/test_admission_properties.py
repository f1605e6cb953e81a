"""The webhook and the node are of one mind: what holds of both for any claim.

The scheduler and the API server in between are played here: each request gets a device of
ours, and the configs of class and claim come along as they were written, byte for byte.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain.admission import Outcome, Verdict, judge
from ibdra_domain.allocation import Allocation, read_allocation
from ibdra_domain.errors import ConfigRefused, InvalidConfig
from ibdra_domain.identifiers import PciAddress, Pkey
from ibdra_domain.inventory import Inventory
from ibdra_domain.kube_objects import (
    AllocationConfig,
    AllocationResult,
    OpaqueConfig,
    ResourceClaim,
)
from ibdra_domain.manifest_rules import KINDS, VERSIONS
from ibdra_domain.preparation import prepare_claim
from unit.domain.admission_facts import Json, a_request_in, a_review, an_object
from unit.domain.domain_facts import NODE, a_char_device, a_claim, a_claim_ref, a_vf, parameters
from unit.domain.domain_strategies import json_values
from unit.domain.test_ib_config_properties import near_documents

NAMES = ("a", "b", "c")
OURS, THEIRS = "ib.sigs.k8s.io", "gpu.example.com"


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One config entry: its parameters as they were written."""

    raw: str
    driver: str = OURS
    requests: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request; with alternatives, the first of them is taken."""

    name: str
    admin: bool = False
    alternatives: tuple[str, ...] = ()


def twice(document: Json) -> str:
    """Write a document with its first field given two times."""
    text = json.dumps(document)
    first = json.dumps(dict([next(iter(document.items()))]))
    return f"{first[:-1]}, {text[1:]}"


good_documents = st.builds(
    lambda pkey, rest: parameters(**pkey, **rest),
    st.just({}) | st.integers(1, 0x7FFF).map(lambda key: {"pkey": key | 0x8000}),
    st.sampled_from([{}, {"mtu": 512}, {"trafficClass": 0}, {"mtu": 4096, "trafficClass": 255}]),
)
texts = (
    st.one_of(good_documents, good_documents, near_documents, json_values).map(json.dumps)
    | good_documents.map(lambda document: json.dumps(document, indent=1))
    | good_documents.map(twice)
)
configs = st.builds(
    Config,
    raw=texts,
    driver=st.sampled_from([OURS, OURS, OURS, THEIRS]),
    requests=st.lists(
        st.sampled_from([*NAMES, *(f"{name}/x" for name in NAMES)]), max_size=2, unique=True
    ).map(tuple),
)
requests = st.lists(
    st.builds(Request, name=st.sampled_from(NAMES), admin=st.booleans())
    | st.builds(
        Request, name=st.sampled_from(NAMES), alternatives=st.sampled_from([("x",), ("y", "x")])
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda request: request.name,
)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """A claim and the class it uses, as they were written."""

    requests: list[Request]
    of_claim: list[Config]
    of_class: list[Config]
    version: str
    template: bool

    def verdicts(self) -> tuple[Verdict, Verdict]:
        """Ask the webhook about class and claim."""
        of_class = an_object("DeviceClass", self.version, config=_entries(self.of_class))
        claim = an_object(
            "ResourceClaimTemplate" if self.template else "ResourceClaim",
            self.version,
            requests=[_as_written(r, self.version) for r in self.requests],
            config=_entries(self.of_claim),
        )
        return (
            judge(a_review(_with_texts(of_class, self.of_class))),
            judge(a_review(_with_texts(claim, self.of_claim))),
        )

    def allocated(self) -> ResourceClaim:
        """Give the claim as the node gets it."""
        return a_claim(
            results=tuple(
                AllocationResult(
                    request="/".join([request.name, *request.alternatives[:1]]),
                    driver=OURS,
                    pool=NODE,
                    device=device(index).name,
                    admin_access=request.admin,
                )
                for index, request in enumerate(self.requests)
            ),
            config=tuple(
                AllocationConfig(
                    source=source,
                    requests=config.requests if source == "FromClaim" else (),
                    opaque=OpaqueConfig(
                        driver=config.driver, parameters=msgspec.Raw(config.raw.encode())
                    ),
                )
                for source, written in (("FromClass", self.of_class), ("FromClaim", self.of_claim))
                for config in written
            ),
        )

    def read(self) -> Allocation:
        """Have the node read it."""
        return read_allocation(self.allocated(), wanted=a_claim_ref(), pool=NODE)


worlds = st.builds(
    World,
    requests=requests,
    of_claim=st.lists(configs, max_size=3),
    of_class=st.lists(configs, max_size=2),
    version=st.sampled_from(VERSIONS),
    template=st.booleans(),
)


def device(index: int) -> Any:
    """Build one of the VFs of a big HCA."""
    return a_vf(pci=PciAddress(f"0000:3b:01.{index}"), rdma_device=f"mlx5_{index}", vf_index=index)


def _as_written(request: Request, version: str) -> Json:
    if request.alternatives:
        found = [{"name": n, "deviceClassName": "ib.sigs.k8s.io"} for n in request.alternatives]
        return {"name": request.name, "firstAvailable": found}
    admin = {"adminAccess": True} if request.admin else {}
    return a_request_in(version, name=request.name, **admin)


def _entries(written: list[Config]) -> list[Json]:
    return [
        {"opaque": {"driver": config.driver, "parameters": f"@{index}@"}}
        | ({"requests": list(config.requests)} if config.requests else {})
        for index, config in enumerate(written)
    ]


def _with_texts(body: Json, written: list[Config]) -> str:
    """Put the parameters into an object as they were written."""
    text = json.dumps(body)
    for index, config in enumerate(written):
        text = text.replace(f'"@{index}@"', config.raw)
    return text


@given(worlds)
def test_what_the_webhook_lets_through_a_fit_node_prepares(world: World) -> None:
    """No surprise in ContainerCreating for what was accepted, where the ports can do it."""
    of_class, of_claim = world.verdicts()
    assume(of_class.allowed and of_claim.allowed)
    allocation = world.read()
    wanted = {d.device: d.config.pkey for d in allocation.devices if d.config.pkey is not None}
    devices = tuple(device(index) for index, _ in enumerate(world.requests))
    prepared = prepare_claim(
        allocation,
        inventory=Inventory(devices=devices),
        held=(),
        pkey_tables={name: (Pkey(0xFFFF), Pkey(pkey)) for name, pkey in wanted.items()},
        char_devices=[
            a_char_device(pci=d.pci, rdma_device=d.rdma_device, minor=i)
            for i, d in enumerate(devices)
        ],
    )
    event(f"ports with a pkey: {len(wanted)}")
    assert [device.name for device in devices] == [port.device.name for port in prepared.ports]


ADMIN = World(
    requests=[Request(name="a", admin=True)],
    of_claim=[Config(raw=json.dumps(parameters(mtu=512)), requests=("a",))],
    of_class=[],
    version="v1beta1",
    template=True,
)


@given(worlds)
@example(ADMIN)
def test_what_the_node_refuses_for_its_form_the_webhook_refuses(world: World) -> None:
    """And nothing else; the node's complaint is among the webhook's, word for word."""
    verdicts = world.verdicts()
    told = [finding.problem for verdict in verdicts for finding in verdict.problems]
    try:
        world.read()
    except InvalidConfig as error:
        event("IbConfig refused")
        assert isinstance(error.__cause__, InvalidConfig)  # noqa: PT017 -- likewise
        problem = error.__cause__.problem
        assert any(problem.startswith(one) for one in told)
    except ConfigRefused:
        event("admin access refused")
        assert any("has admin access" in one for one in told)
    else:
        event("read")
        assert not told
    outcomes = {Outcome.ALLOWED, Outcome.REFUSED} if told else {Outcome.ALLOWED}
    assert {verdict.outcome for verdict in verdicts} <= outcomes


@given(text=texts, version=st.sampled_from(VERSIONS), junk=json_values)
def test_no_update_hides_a_change_to_the_worse(text: str, version: str, junk: Any) -> None:
    """An update is let through unread only if the stored spec is the same."""
    bad = Config(raw=text)
    new = an_object("DeviceClass", version, config=_entries([bad]))
    review = a_review(_with_texts(new, [bad]), operation="UPDATE")
    created = judge(a_review(_with_texts(new, [bad])))
    for old in (junk, an_object("DeviceClass", version), {**new, "spec": junk}):
        assert created.allowed == judge(replace(review, old=old)).allowed


@given(
    new=json_values,
    old=json_values,
    kind=st.sampled_from(KINDS),
    operation=st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
)
def test_no_review_is_too_odd(new: Any, old: Any, kind: str, operation: str) -> None:
    """Whatever stands in it, there is a verdict, with problems exactly if it is no."""
    about = {"apiVersion": "resource.k8s.io/v1", "kind": kind}
    bodies = (new, about | {"spec": new}, about | {"spec": {"devices": new, "config": new}})
    for body in bodies:
        review = replace(a_review(about), new=body, old=old, operation=operation)
        verdict = judge(review)
        assert verdict.allowed == (not verdict.problems)
