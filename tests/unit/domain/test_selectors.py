"""Selectors put to devices, and advice on those that can never match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.selectors import Verdict
from ibdra_domain.selectors import Judgement, advice_on, domains_named, judge

DRIVER = "ib.sigs.k8s.io"
RIGHT = 'device.attributes["ib.sigs.k8s.io"].type'


class Says:
    """A selector with an answer for each device."""

    def __init__(self, **verdicts: Verdict) -> None:
        self.verdicts = verdicts
        self.asked: list[tuple[str, str]] = []

    def judge(self, device: Device, *, driver: str) -> Verdict:
        self.asked.append((device.name, driver))
        return self.verdicts[device.name]


A, B = Device(name="a"), Device(name="b")
YES, NO, BROKEN = Verdict(matched=True), Verdict(matched=False), Verdict(False, "no such key")


def test_all_selectors_must_match() -> None:
    """A device is accepted if every expression is true; else the first that is not is named."""
    first, second = Says(a=YES, b=YES), Says(a=YES, b=NO)
    assert (
        Judgement(device="a", accepted=True),
        Judgement(device="b", accepted=False, failed="two"),
    ) == judge([A, B], [("one", first), ("two", second)], driver=DRIVER)
    assert [("a", DRIVER), ("b", DRIVER)] == second.asked


def test_a_failed_evaluation_is_named_and_ends_it() -> None:
    """The evaluator's reason is given, and later expressions are not asked."""
    never = Says()
    assert (Judgement(device="a", accepted=False, failed="one", error="no such key"),) == judge(
        [A], [("one", Says(a=BROKEN)), ("two", never)], driver=DRIVER
    )
    assert [] == never.asked


def test_an_error_counts_even_if_it_claims_to_match() -> None:
    """A verdict with an error never accepts."""
    verdict = Verdict(matched=True, error="odd")
    assert not judge([A], [("one", Says(a=verdict))], driver=DRIVER)[0].accepted


def test_no_selector_accepts_everything() -> None:
    """A class or request without expressions takes any device."""
    assert (Judgement(device="a", accepted=True),) == judge([A], [], driver=DRIVER)


@pytest.mark.parametrize(
    "expression",
    [
        f'{RIGHT} == "VF"',
        "device.attributes['ib.sigs.k8s.io'].type == 'VF'",
        'device.attributes["ib.sigs.k8s.io"]["type"] == "VF"',
        f'has({RIGHT}) && {RIGHT} in ["VF", "PF"]',
        'device.attributes["ib.sigs.k8s.io"].?numaNode.orValue(-1) == 0',
        'device.driver == "ib.sigs.k8s.io"',
        'device.capacity["ib.sigs.k8s.io"].memory.isGreaterThan(quantity("1Gi"))',
        '"resource.kubernetes.io" in device.attributes',
        'device.attributes.exists(domain, domain == "ib.sigs.k8s.io")',
        "device.attributes.size() > 0",
        "",
    ],
)
def test_right_forms_get_no_advice(expression: str) -> None:
    """What Kubernetes can evaluate is left alone."""
    assert () == advice_on(expression, driver=DRIVER)


@pytest.mark.parametrize(
    ("expression", "domain"),
    [
        ('device.attributes["type"] == "VF"', "type"),
        ("device.attributes['type'] == 'VF'", "type"),
        ('device.attributes [ "linkSpeedGbps" ] >= 100', "linkSpeedGbps"),
        ('device.attributes.type == "VF"', "type"),
        ('device.attributes.portState == "Active"', "portState"),
    ],
)
def test_an_attribute_in_the_domains_place_is_explained(expression: str, domain: str) -> None:
    """The advice names what is looked for, and gives the form to write."""
    advice = advice_on(expression, driver=DRIVER)
    assert 1 == len(advice)
    assert f"a domain named {domain!r}, and there is none" in advice[0]
    assert advice[0].endswith(f': write device.attributes["{DRIVER}"].{domain}')


@pytest.mark.parametrize("wrapper", ["stringValue", "intValue", "boolValue", "versionValue"])
def test_a_wrapped_value_is_explained(wrapper: str) -> None:
    """Attributes are plain values: the wire format's wrapper is not part of CEL."""
    advice = advice_on(f"{RIGHT}.{wrapper} == 1", driver=DRIVER)
    assert 1 == len(advice)
    assert advice[0].startswith(f".{wrapper} does not exist, attributes are plain values: ")


@pytest.mark.parametrize(
    "expression",
    [
        "device.attributes['type'].stringValue == 'VF'",
        'device.attributes.type.stringValue == "VF"',
    ],
)
def test_two_mistakes_get_two_pieces_of_advice(expression: str) -> None:
    """Wrong place and wrapper are both explained, each once."""
    twice = f"{expression} && {expression}"
    assert 2 == len(advice_on(expression, driver=DRIVER)) == len(advice_on(twice, driver=DRIVER))


def test_the_advice_is_for_the_driver_at_hand() -> None:
    """Another driver's expressions are answered with that driver's domain."""
    assert (
        'device.attributes["gpu.example.com"].model'
        in advice_on('device.attributes["model"] == "x"', driver="gpu.example.com")[0]
    )


def test_domains_are_those_written_out() -> None:
    """Both quotes count, each domain once; what is computed cannot be known."""
    expression = (
        "device.attributes['a.b'].x == device.attributes[\"c.d\"].y && "
        "device.attributes['a.b'].z && device.attributes[name].w"
    )
    assert frozenset({"a.b", "c.d"}) == domains_named(expression)


@given(st.text() | st.text(alphabet="device.attributes['\"]()stringValue \n"))
def test_advice_never_raises(expression: str) -> None:
    """Any text at all can be looked at."""
    assert isinstance(advice_on(expression, driver=DRIVER), tuple)
    assert isinstance(domains_named(expression), frozenset)
