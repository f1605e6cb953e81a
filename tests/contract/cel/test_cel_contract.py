"""The contract of the ``Selectors`` port: expressions mean what they mean to Kubernetes."""

from __future__ import annotations

import pytest

from ibdra_adapters.cel.evaluator import MAX_EXPRESSION, CelSelectors
from ibdra_domain.errors import InvalidSelector
from ibdra_domain.kube_objects import Device, DeviceAttribute
from ibdra_domain.ports.selectors import Selectors, Verdict

DRIVER = "ib.sigs.k8s.io"
OURS = f'device.attributes["{DRIVER}"]'
STANDARD = 'device.attributes["resource.kubernetes.io"]'
NOBODYS = 'device.attributes["gpu.example.com"]'
DEVICE = Device(
    name="pci-0000-3b-00-1-port1",
    attributes={
        "type": DeviceAttribute(string="VF"),
        "linkSpeedGbps": DeviceAttribute(int_=400),
        "numaNode": DeviceAttribute(int_=-1),
        "empty": DeviceAttribute(string=""),
        "zero": DeviceAttribute(int_=0),
        "ready": DeviceAttribute(bool_=True),
        "broken": DeviceAttribute(bool_=False),
        f"{DRIVER}/spelledOut": DeviceAttribute(string="same domain"),
        "resource.kubernetes.io/pcieRoot": DeviceAttribute(string="pci0000:3a"),
        "resource.kubernetes.io/numaNode": DeviceAttribute(int_=0),
    },
)
TRUE, FALSE = Verdict(matched=True), Verdict(matched=False)


@pytest.fixture(scope="module")
def selectors() -> Selectors:
    """Give the evaluator."""
    return CelSelectors()


def judged(selectors: Selectors, expression: str) -> Verdict:
    return selectors.compile(expression).judge(DEVICE, driver=DRIVER)


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        (f'{OURS}.type == "VF"', TRUE),
        (f'{OURS}["type"] == "VF"', TRUE),
        ("device.attributes['ib.sigs.k8s.io'].type == 'PF'", FALSE),
        (f"{OURS}.linkSpeedGbps >= 200", TRUE),
        (f"{OURS}.linkSpeedGbps == 400", TRUE),
        (f"{OURS}.linkSpeedGbps / 2 > 200", FALSE),
        (f"{OURS}.numaNode == -1", TRUE),
        (f"{OURS}.zero == 0", TRUE),
        (f'{OURS}.empty == ""', TRUE),
        (f"{OURS}.ready", TRUE),
        (f"{OURS}.broken", FALSE),
        (f"!{OURS}.broken", TRUE),
        (f'{OURS}.spelledOut == "same domain"', TRUE),
    ],
)
def test_attributes_have_their_native_types(
    selectors: Selectors, expression: str, verdict: Verdict
) -> None:
    """Texts, numbers and booleans are plain values below their domain."""
    assert verdict == judged(selectors, expression)


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        (f'{STANDARD}.pcieRoot == "pci0000:3a"', TRUE),
        (f"{STANDARD}.numaNode == 0", TRUE),
        (f"has({STANDARD}.pciBusID)", FALSE),
    ],
)
def test_standard_attributes_have_a_domain_of_their_own(
    selectors: Selectors, expression: str, verdict: Verdict
) -> None:
    """What is published with a domain is found there, not among the driver's own."""
    assert verdict == judged(selectors, expression)
    assert FALSE == judged(selectors, f"has({OURS}.pcieRoot)")


def test_the_driver_is_a_plain_name(selectors: Selectors) -> None:
    """``device.driver`` is the name the device is judged for."""
    selector = selectors.compile(f'device.driver == "{DRIVER}"')
    assert TRUE == selector.judge(DEVICE, driver=DRIVER)
    assert FALSE == selector.judge(DEVICE, driver="gpu.example.com")


def test_attributes_without_a_domain_are_the_drivers_at_hand(selectors: Selectors) -> None:
    """The same device under another driver has its attributes in that driver's domain."""
    selector = selectors.compile(f'{NOBODYS}.type == "VF"')
    assert TRUE == selector.judge(DEVICE, driver="gpu.example.com")


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        (f"has({NOBODYS}.model)", FALSE),
        (f"{NOBODYS}.size() == 0", TRUE),
        (f'{NOBODYS}.?model.orValue("none") == "none"', TRUE),
        (f'has({NOBODYS}.model) && {NOBODYS}.model == "x"', FALSE),
    ],
)
def test_an_absent_domain_is_an_empty_map(
    selectors: Selectors, expression: str, verdict: Verdict
) -> None:
    """A domain nobody publishes can be asked, and has nothing."""
    assert verdict == judged(selectors, expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (f'{OURS}.nothing == "x"', '"nothing"'),
        (f'{NOBODYS}.model == "x"', '"model"'),
        ('device.attributes["type"].stringValue == "VF"', '"stringValue"'),
        ('device.attributes.type == "VF"', '"type"'),
        (f"{OURS}.type > 3", "No matching overloads"),
        ("1 / 0 == 1", "divide by zero"),
    ],
)
def test_what_fails_at_run_time_says_why(
    selectors: Selectors, expression: str, reason: str
) -> None:
    """A key that is not there, or a wrong type, is an error with the evaluator's text."""
    verdict = judged(selectors, expression)
    assert not verdict.matched
    assert verdict.error is not None
    assert reason in verdict.error


def test_a_short_circuit_hides_the_error(selectors: Selectors) -> None:
    """As in CEL everywhere, a false operand decides an ``&&`` whose other side fails."""
    assert FALSE == judged(selectors, f'{OURS}.type == "PF" && {OURS}.nothing == 1')
    assert TRUE == judged(selectors, f'{OURS}.nothing == 1 || {OURS}.type == "VF"')


@pytest.mark.parametrize("expression", [f"{OURS}.type", f"{OURS}.linkSpeedGbps", "[true]", "null"])
def test_a_result_that_is_no_boolean_is_an_error(selectors: Selectors, expression: str) -> None:
    """A value other than true or false accepts nothing, and says so."""
    verdict = judged(selectors, expression)
    assert not verdict.matched
    assert verdict.error is not None
    assert verdict.error.endswith("not true or false")


@pytest.mark.parametrize(
    ("expression", "verdict"),
    [
        (f'{OURS}.?type.orValue("none") == "VF"', TRUE),
        (f"{OURS}.?nothing.orValue(7) == 7", TRUE),
        (f"{OURS}.?nothing.hasValue()", FALSE),
        (f"has({OURS}.type)", TRUE),
        (f"has({OURS}.nothing)", FALSE),
        (f'{OURS}.type in ["VF", "PF"]', TRUE),
        (f'"type" in {OURS}', TRUE),
        (f'"nothing" in {OURS}', FALSE),
        (f'"{DRIVER}" in device.attributes', TRUE),
        (f'{STANDARD}.pcieRoot.startsWith("pci0000")', TRUE),
        (f'{STANDARD}.pcieRoot.matches("^pci[0-9a-f]{{4}}:3a$")', TRUE),
        (f'{OURS}.type.lowerAscii() == "vf"', TRUE),
        (f'{STANDARD}.pcieRoot.split(":")[1] == "3a"', TRUE),
        (f"cel.bind(ours, {OURS}, ours.ready && ours.zero == 0)", TRUE),
        (f"[1, 2, 400].exists(speed, speed == {OURS}.linkSpeedGbps)", TRUE),
        ('sets.contains(["VF", "PF"], ["VF"])', TRUE),
        (f'{OURS}.numaNode >= 0 ? {OURS}.ready : {OURS}.type == "VF"', TRUE),
    ],
)
def test_the_language_is_that_of_kubernetes(
    selectors: Selectors, expression: str, verdict: Verdict
) -> None:
    """Optionals, has(), ``in``, string, set and list functions are there."""
    assert verdict == judged(selectors, expression)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "Syntax error"),
        ("1 +", "Syntax error"),
        ("device.driver = 'x'", "Syntax error"),
        ('"open', "Syntax error"),
        ("devices.driver == 'x'", "undeclared reference to 'devices.driver'"),
        ("unknown(device)", "undeclared reference to 'unknown'"),
    ],
)
def test_what_does_not_compile_is_refused_with_the_reason(
    selectors: Selectors, expression: str, reason: str
) -> None:
    """The compiler's first line is in the message, its error is chained."""
    with pytest.raises(InvalidSelector) as caught:
        selectors.compile(expression)
    assert reason in caught.value.problem
    assert repr(expression) in caught.value.problem
    assert "\n" not in caught.value.problem
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    "expression", ['quantity("1Gi").isInteger()', 'semver("1.0.0").major() == 1']
)
def test_functions_of_kubernetes_own_are_refused_with_a_remedy(
    selectors: Selectors, expression: str
) -> None:
    """What this evaluator cannot know is never guessed at."""
    with pytest.raises(InvalidSelector) as caught:
        selectors.compile(expression)
    assert f"undeclared reference to '{expression.partition('(')[0]}'" in caught.value.problem
    assert "quantity(), semver()" in caught.value.remedy


def test_the_api_servers_limit_of_length_is_kept(selectors: Selectors) -> None:
    """The limit counts bytes, and an expression that just fits compiles."""
    fitting = 'device.driver != "' + "x" * (MAX_EXPRESSION - 18) + '"'
    assert MAX_EXPRESSION == len(fitting) - 1
    assert TRUE == judged(selectors, fitting.replace("xx", "x", 1))
    accented = fitting.replace("xx", "\u00e9", 1)
    assert MAX_EXPRESSION == len(accented)
    for too_long in (fitting, accented):
        with pytest.raises(InvalidSelector, match="longer than 10240 bytes"):
            selectors.compile(too_long)


def test_one_selector_judges_many_devices(selectors: Selectors) -> None:
    """A compiled expression keeps nothing of the device before."""
    selector = selectors.compile(f'has({OURS}.type) && {OURS}.type == "VF"')
    bare = Device(name="bare")
    verdicts = [selector.judge(device, driver=DRIVER) for device in (DEVICE, bare, DEVICE)]
    assert [TRUE, FALSE, TRUE] == verdicts
