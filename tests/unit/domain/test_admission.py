"""An admission review judged: what passes, what does not, and what is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ibdra_domain.admission import (
    MOST_PROBLEMS,
    MOST_WARNINGS,
    OTHER,
    Outcome,
    Verdict,
    failed,
    judge,
    unreadable,
)
from ibdra_domain.manifest_rules import format_path
from unit.domain.admission_facts import (
    BAD,
    CLAIMS,
    CONFIG,
    EVERY_SHAPE,
    GOOD,
    Json,
    a_request_in,
    a_review,
    an_object,
    an_opaque,
)

shapes = pytest.mark.parametrize(("kind", "version"), EVERY_SHAPE)
ALLOWED = Verdict()


def told(verdict: Verdict) -> list[tuple[str, str]]:
    """Give where and what, and see that each comes with something to do."""
    assert all(p.remedy for p in verdict.problems)
    return [(format_path(p.path), p.problem) for p in verdict.problems]


@shapes
def test_a_good_config_passes(kind: str, version: str) -> None:
    """In each kind and version, without a word."""
    assert ALLOWED == judge(a_review(an_object(kind, version, config=[an_opaque()])))


@shapes
def test_an_object_without_any_config_passes(kind: str, version: str) -> None:
    """An IbConfig is nobody's duty."""
    assert ALLOWED == judge(a_review(an_object(kind, version)))


@shapes
def test_everything_that_is_wrong_is_told_with_its_path(kind: str, version: str) -> None:
    """Of every config, as the API server writes paths."""
    good, bad, none = an_opaque(), an_opaque(BAD), an_opaque(None)
    verdict = judge(a_review(an_object(kind, version, config=[good, bad, none])))
    assert (Outcome.REFUSED, ()) == (verdict.outcome, verdict.warnings)
    assert [
        (f"{CONFIG[kind]}[1].opaque.parameters.mtu", "mtu 9000 is not an InfiniBand MTU"),
        (
            f"{CONFIG[kind]}[1].opaque.parameters.trafficclass",
            "'trafficclass' is not a field of IbConfig",
        ),
        (f"{CONFIG[kind]}[2].opaque.parameters", "the parameters are null, not an object"),
    ] == told(verdict)


@shapes
def test_other_drivers_parameters_are_left_alone(kind: str, version: str) -> None:
    """Whatever stands in them; even what would be wrong in ours."""
    documents: list[Any] = [BAD, None, [1], {"a": {}}]
    theirs = [an_opaque(document, driver="gpu.example.com") for document in documents]
    assert ALLOWED == judge(a_review(an_object(kind, version, config=theirs)))


@shapes
def test_another_version_of_ib_config_is_refused(kind: str, version: str) -> None:
    """What it means is not known here, and the message says which is."""
    config = an_opaque(GOOD | {"apiVersion": "ib.resource.sigs.k8s.io/v1beta1"})
    verdict = judge(a_review(an_object(kind, version, config=[config])))
    where = f"{CONFIG[kind]}[0].opaque.parameters.apiVersion"
    assert [
        (where, "apiVersion is the text 'ib.resource.sigs.k8s.io/v1beta1'")
    ] == told(verdict)  # fmt: skip
    assert "write apiVersion: ib.resource.sigs.k8s.io/v1alpha1" == verdict.problems[0].remedy


@pytest.mark.parametrize("kind", CONFIG)
@pytest.mark.parametrize("version", ["v2", "v1alpha3", "", "v1 "])
def test_an_unknown_version_of_a_known_kind_is_refused(kind: str, version: str) -> None:
    """Nobody can tell where an IbConfig would stand in it."""
    verdict = judge(a_review(an_object(kind, version, config=[an_opaque()])))
    problem = f"version {version!r} of resource.k8s.io is not known to this driver"
    assert [("apiVersion", problem)] == told(verdict)
    assert "v1, v1beta1, v1beta2" in verdict.problems[0].remedy


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1beta2"])
def test_a_config_that_names_a_request_with_admin_access_is_refused(
    kind: str, version: str
) -> None:
    """In each version's place for it, and only where the request is named."""
    requests = [
        a_request_in(version),
        a_request_in(version, name="monitor", adminAccess=True),
    ]
    named = an_opaque(requests=["vf", "monitor"])
    verdict = judge(a_review(an_object(kind, version, requests=requests, config=[named])))
    where = f"{CONFIG[kind]}[0].requests[1]"
    problem = "request monitor has admin access, which changes nothing on the device"
    assert [(where, problem)] == told(verdict)
    for fine in (an_opaque(), an_opaque(requests=["vf"]), an_opaque(requests=[["monitor"], None])):
        assert judge(a_review(an_object(kind, version, requests=requests, config=[fine]))).allowed
    theirs = an_opaque(driver="gpu.example.com", requests=["monitor"])
    assert judge(a_review(an_object(kind, version, requests=requests, config=[theirs]))).allowed


def text_of(config: str, *, kind: str = "ResourceClaim") -> str:
    """Write an object with a config entry as it is, keys given twice and all."""
    return json.dumps(an_object(kind, config=["HERE"])).replace('"HERE"', config)


TWICE = '{"apiVersion": "a", "kind": "b", "mtu": 256, "mtu": 512}'


@pytest.mark.parametrize("kind", CONFIG)
def test_a_field_given_twice_is_refused(kind: str) -> None:
    """The node would see both, and refuse; the other mistakes are told as well."""
    config = f'{{"opaque": {{"driver": "ib.sigs.k8s.io", "parameters": {TWICE}}}}}'
    where = f"{CONFIG[kind]}[0].opaque.parameters"
    assert [
        (f"{where}.mtu", "'mtu' is given twice"),
        (f"{where}.apiVersion", "apiVersion is the text 'a'"),
        (f"{where}.kind", "kind is the text 'b'"),
    ] == told(judge(a_review(text_of(config, kind=kind))))


def test_a_field_given_twice_to_another_driver_passes() -> None:
    """It is for that driver to say what it makes of it."""
    config = f'{{"opaque": {{"driver": "gpu.example.com", "parameters": {TWICE}}}}}'
    assert ALLOWED == judge(a_review(text_of(config)))


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ('{"opaque": {"driver": "a", "driver": "ib.sigs.k8s.io"}}', "[0].opaque.driver"),
        ('{"opaque": {"driver": "a", "parameters": 1, "parameters": 2}}', "[0].opaque.parameters"),
        (
            '{"opaque": {"driver": "ib.sigs.k8s.io", "parameters": 1, "parameters": 2}}',
            "[0].opaque.parameters",
        ),
        ('{"opaque": {"driver": "a"}, "opaque": {}}', "[0].opaque"),
        ('{"requests": ["a"], "requests": []}', "[0].requests"),
        ('{"parameters": {"a": 1, "a": 1}}', "[0].parameters.a"),
    ],
)
def test_a_field_given_twice_around_the_parameters_is_refused(config: str, where: str) -> None:
    """Whose parameters they are could be read in two ways."""
    found = told(judge(a_review(text_of(config))))
    last = where.rpartition(".")[2]
    assert (f"spec.devices.config{where}", f"'{last}' is given twice") == found[0]


def test_a_whole_spec_given_twice_is_refused() -> None:
    """One of the two would not have been looked at."""
    text = text_of(json.dumps(an_opaque()))
    assert [("spec", "'spec' is given twice")] == told(
        judge(a_review(text[:-1] + ', "spec": {}}')),
    )


@shapes
@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
def test_what_writes_nothing_passes(kind: str, version: str, operation: str) -> None:
    """A bad object can always be deleted."""
    review = a_review(None, group="resource.k8s.io", version=version, kind=kind)
    bad = an_object(kind, version, config=[an_opaque(BAD)])
    for new, old in ((None, bad), (bad, None)):
        changed = a_review(new, operation=operation, old=old, group="resource.k8s.io", kind=kind)
        assert ALLOWED == judge(changed)
    assert Outcome.UNREADABLE is judge(review).outcome


@shapes
def test_an_update_that_leaves_the_spec_alone_passes(kind: str, version: str) -> None:
    """What was stored before the webhook was there is nobody's fault now."""
    old = an_object(kind, version, config=[an_opaque(BAD)])
    new = an_object(kind, version, config=[an_opaque(dict(reversed(BAD.items())))])
    new["metadata"]["finalizers"] = ["example.com/wait"]
    assert ALLOWED == judge(a_review(new, operation="UPDATE", old=old))
    assert Outcome.REFUSED is judge(a_review(new, operation="CREATE", old=old)).outcome


def test_an_update_of_an_unknown_version_that_leaves_the_spec_alone_passes() -> None:
    """Nothing can become wrong by it."""
    body = an_object(version="v2", config=[an_opaque(BAD)])
    assert ALLOWED == judge(a_review(body, operation="UPDATE", old=body))


@shapes
def test_an_update_of_the_spec_is_judged(kind: str, version: str) -> None:
    """A DeviceClass' spec can change, and what it becomes counts."""
    old = an_object(kind, version, config=[an_opaque(GOOD)])
    for wishes, allowed in (({"pkey": 0x8002}, True), ({"pkey": 0x8000}, False)):
        new = an_object(kind, version, config=[an_opaque(GOOD | wishes)])
        assert allowed == judge(a_review(new, operation="UPDATE", old=old)).allowed


@pytest.mark.parametrize(("before", "after"), [("1", "true"), ("1", "1.0"), ("0", "false")])
def test_another_type_of_the_same_number_is_a_change(before: str, after: str) -> None:
    """Python's ``True == 1 == 1.0`` would let a bad config through."""
    text = json.dumps(an_object(config=[an_opaque(GOOD | {"trafficClass": "HERE"})]))
    one, other = (text.replace('"HERE"', value) for value in (before, after))
    assert json.loads(one) == json.loads(other)
    verdict = judge(a_review(other, operation="UPDATE", old=json.loads(one)))
    assert Outcome.REFUSED is verdict.outcome


@pytest.mark.parametrize(
    "old",
    [None, [], "text", {}, an_object(version="v1beta2", config=[an_opaque(BAD)])],
    ids=["nothing", "list", "text", "empty", "other version"],
)
def test_an_update_of_what_cannot_be_compared_is_judged(old: Any) -> None:
    """A doubt is no excuse."""
    new = an_object(config=[an_opaque(BAD)])
    assert Outcome.REFUSED is judge(a_review(new, operation="UPDATE", old=old)).outcome


def test_an_update_with_a_field_given_twice_is_judged() -> None:
    """Two such specs may differ in what is hidden."""
    text = text_of(f'{{"opaque": {{"driver": "ib.sigs.k8s.io", "parameters": {TWICE}}}}}')
    review = a_review(text)
    verdict = judge(a_review(text, operation="UPDATE", old=review.new))
    assert Outcome.REFUSED is verdict.outcome


@shapes
def test_an_update_of_the_status_passes(kind: str, version: str) -> None:
    """The scheduler and the driver write it, long after the spec."""
    bad = an_object(kind, version, config=[an_opaque(BAD)])
    good = an_object(kind, version)
    assert ALLOWED == judge(a_review(bad, operation="UPDATE", subresource="status", old=good))


def test_another_subresource_is_judged_by_its_spec() -> None:
    """None of today's can change one; one of tomorrow's might."""
    bad = an_object(config=[an_opaque(BAD)])
    for old, allowed in ((bad, True), (an_object(), False)):
        review = a_review(bad, operation="UPDATE", subresource="binding", old=old)
        assert allowed == judge(review).allowed


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "", "create", "PATCH"])
def test_an_operation_that_is_not_known_counts_as_writing(operation: str) -> None:
    """Only what is known to write nothing passes unseen."""
    review = a_review(an_object(config=[an_opaque(BAD)]), operation=operation)
    assert Outcome.REFUSED is judge(review).outcome


@pytest.mark.parametrize(
    ("api_version", "kind", "told_as"),
    [
        ("apps/v1", "Deployment", "apps/v1 Deployment"),
        ("v1", "Pod", "/ Pod"),
        ("resource.k8s.io/v1", "ResourceSlice", "resource.k8s.io/v1 ResourceSlice"),
        ("example.com/v1", "ResourceClaim", "example.com/v1 ResourceClaim"),
    ],
)
def test_what_is_not_ours_passes_with_a_warning(api_version: str, kind: str, told_as: str) -> None:
    """A webhook must not break what it was not meant for, and nobody need have asked it."""
    body = {"apiVersion": api_version, "kind": kind, "spec": {"config": [an_opaque(BAD)]}}
    verdict = judge(a_review(body))
    assert (True, OTHER) == (verdict.allowed, a_review(body).label)
    (warning,) = verdict.warnings
    assert told_as.removeprefix("/ ") in warning
    assert "take it out of the rules" in warning


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "Pod"},
        {"group": "apps"},
        {"kind": "DeviceClass"},
        {"version": "v1beta1"},
        {"new": None},
        {"new": []},
        {"new": {}},
        {"new": {"apiVersion": 1, "kind": ["ResourceClaim"]}},
    ],
    ids=repr,
)
def test_a_review_that_contradicts_its_object_is_refused(changes: Json) -> None:
    """Rules for one type must not be dodged by the name of another."""
    verdict = judge(replace(a_review(an_object(config=[an_opaque()])), **changes))
    assert Outcome.UNREADABLE is verdict.outcome
    assert 1 == len(told(verdict))


def test_a_selector_that_can_never_match_is_warned_of() -> None:
    """In requests and classes that are meant for our devices; the API server compiles it."""
    wrong = [{"cel": {"expression": 'device.attributes.type == "VF"'}}]
    request = a_request_in("v1", selectors=wrong)
    verdict = judge(a_review(an_object(requests=[request])))
    assert verdict.allowed
    (warning,) = verdict.warnings
    assert warning.startswith("spec.devices.requests[0].exactly.selectors[0].cel.expression: ")
    assert 'write device.attributes["ib.sigs.k8s.io"].type' in warning
    of_class = an_object("DeviceClass", name="pf.ib.sigs.k8s.io", selectors=wrong)
    assert 1 == len(judge(a_review(of_class)).warnings)


def test_a_selector_for_other_devices_is_none_of_ours() -> None:
    """Our advice would be wrong there."""
    wrong = [{"cel": {"expression": 'device.attributes["gpu"].model == "a"'}}]
    request = a_request_in("v1", deviceClassName="gpu.example.com", selectors=wrong)
    claim = an_object(requests=[request], name="x.ib.sigs.k8s.io")
    of_class = an_object("DeviceClass", name="notib.sigs.k8s.io", selectors=wrong)
    for body in (claim, of_class):
        assert ALLOWED == judge(a_review(body))


def test_a_hostile_object_is_not_told_in_full() -> None:
    """Neither its problems nor its selectors are without end."""
    many = {f"field{number}": 1 for number in range(10_000)}
    verdict = judge(a_review(an_object(config=[an_opaque(many)])))
    assert MOST_PROBLEMS == len(verdict.problems)
    selectors = [{"cel": {"expression": f"device.attributes.a{n}"}} for n in range(100)]
    requests = [a_request_in("v1", selectors=selectors)]
    assert MOST_WARNINGS == len(judge(a_review(an_object(requests=requests))).warnings)


def test_a_kind_is_counted_under_a_name_of_its_own_or_as_another() -> None:
    """There are only so many labels, whatever is sent."""
    labels = {a_review(an_object(kind)).label for kind in CONFIG}
    assert set(CONFIG) == labels
    assert OTHER == a_review({"kind": "x" * 1000}).label


def test_an_error_of_our_own_is_a_refusal() -> None:
    """With the kind of error, not its text: that may hold anything."""
    verdict = failed(KeyError("secret"))
    assert (False, Outcome.FAILED) == (verdict.allowed, verdict.outcome)
    assert [("", "internal error of the webhook (KeyError)")] == told(verdict)
    assert not unreadable("a", "b").allowed
