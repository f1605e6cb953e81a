"""``ibdra match``: which devices a claim's selectors accept, and why not the others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from unit.cli.cli_runs import EXAMPLES, PROFILES, Ran, run

EXAMPLE_NAMES = tuple(f"ib-test{n}" for n in range(1, 6))


def accepted_in(ran: Ran) -> list[str]:
    rows = [line.split(maxsplit=2) for line in ran.out.splitlines() if line.startswith("pci-")]
    assert {"yes", "no"} >= {row[1] for row in rows}
    return [row[0] for row in rows if row[1] == "yes"]


def wanted_by(example: str, attributes: dict[str, Any]) -> bool:
    """Say in Python what each example asks for in CEL."""
    active, kind = attributes["portState"] == "Active", attributes["type"]
    wanted: dict[str, bool] = {
        "ib-test1": kind == "VF",
        "ib-test2": kind == "VF" and active,
        "ib-test3": kind == "PF" and active,
        "ib-test4": kind == "VF",
        "ib-test5": active and attributes["linkSpeedGbps"] >= 100,
    }
    return wanted[example]


def request(expression: str, *, device_class: str = "ib.sigs.k8s.io", rest: str = "") -> str:
    return (
        "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: a}\nspec:\n"
        f"  devices:\n    requests:\n    - name: r\n      exactly:\n"
        f"        deviceClassName: {device_class}\n        selectors:\n"
        f"        - cel:\n            expression: {expression}\n{rest}"
    )


def match(tmp_path: Path, text: str, *options: str | Path) -> Ran:
    path = tmp_path / "claim.yaml"
    path.write_text(text, encoding="utf-8")
    return run("match", path, "--simulate", "hpc-hdr100-dual-port", *options)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_examples_accept_what_they_say(profile: str) -> None:
    """For each example exactly the devices it describes, and exit 1 only where there are none."""
    listing = run("devices", "--simulate", profile, "-o", "json").json
    for example in EXAMPLE_NAMES:
        ran = run("match", EXAMPLES / f"{example}.yaml", "--simulate", profile)
        expected = [d["name"] for d in listing if wanted_by(example, d["attributes"])]
        assert expected == accepted_in(ran)
        assert (0 if expected else 1, "") == (ran.code, ran.err)
        count = f"{len(expected)} device{'' if len(expected) == 1 else 's'} accepted"
        assert f"{count}, {2 if example == 'ib-test4' else 1} asked for" in ran.out


def test_says_which_expression_refused_a_device(tmp_path: Path) -> None:
    """The first expression that is not true stands beside each device."""
    expression = 'device.attributes["ib.sigs.k8s.io"].linkSpeedGbps == 56'
    ran = match(tmp_path, request(expression))
    assert (0, ["pci-0000-af-00-0-port1"]) == (ran.code, accepted_in(ran))
    assert 7 == ran.out.count(f"{expression} -> false")


@pytest.mark.parametrize(
    "expression",
    [
        "device.attributes['type'].stringValue == 'VF'",
        'device.attributes["type"] == "VF"',
        'device.attributes.type == "VF"',
    ],
)
def test_the_wrong_form_is_explained(tmp_path: Path, expression: str) -> None:
    """A selector that can never match gets the form that can."""
    ran = match(tmp_path, request(expression))
    assert (1, []) == (ran.code, accepted_in(ran))
    assert "advice: device.attributes" in ran.out
    assert 'write device.attributes["ib.sigs.k8s.io"].type' in ran.out
    assert "0 devices accepted, 1 asked for" in ran.out


def test_a_failing_evaluation_fails_the_claim(tmp_path: Path) -> None:
    """VFs alone have a parentDevice; asking all devices for it fails, as in the scheduler."""
    ran = match(tmp_path, request('device.attributes["ib.sigs.k8s.io"].parentDevice == "mlx5_0"'))
    assert 1 == ran.code
    assert 4 == len(accepted_in(ran))
    assert "on pci-0000-3b-00-0-port1 the evaluation fails" in ran.out
    assert "has() or orValue()" in ran.out
    guarded = 'device.attributes["ib.sigs.k8s.io"].?parentDevice.orValue("") == "mlx5_0"'
    assert 0 == match(tmp_path, request(guarded)).code


def test_an_expression_that_does_not_compile_is_told(tmp_path: Path) -> None:
    """The compiler's reason is printed, with exit 1."""
    ran = match(tmp_path, request("device.driver =="))
    assert 1 == ran.code
    assert "'device.driver ==' does not compile (ERROR" in ran.out


@pytest.mark.parametrize(
    ("rest", "code", "asked"),
    [
        ("        count: 2\n", 0, "8 devices accepted, 2 asked for"),
        ("        count: 9\n", 1, "8 devices accepted, 9 asked for"),
        ("        allocationMode: All\n", 0, "8 devices accepted, all asked for"),
    ],
    ids=["two", "nine", "all"],
)
def test_enough_is_what_the_request_asks_for(
    tmp_path: Path, rest: str, code: int, asked: str
) -> None:
    """The count decides the exit code."""
    ran = match(tmp_path, request("true", rest=rest))
    assert code == ran.code
    assert asked in ran.out


def test_an_unknown_class_is_told(tmp_path: Path) -> None:
    """Without the class nobody can say what matches."""
    ran = match(tmp_path, request("true", device_class="mine"))
    assert 1 == ran.code
    assert "the DeviceClass mine is not known: give it with --classes" in ran.out


def test_classes_come_from_the_file_or_from_another(tmp_path: Path) -> None:
    """A class beside the claim counts, and so does one named with --classes."""
    a_class = (
        "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nmetadata: {name: mine}\nspec:\n"
        "  selectors:\n  - cel:\n"
        """      expression: device.attributes["ib.sigs.k8s.io"].type == "PF"\n"""
    )
    classes = tmp_path / "classes.yaml"
    classes.write_text(a_class, encoding="utf-8")
    claim = request("true", device_class="mine")
    beside = match(tmp_path, f"{claim}---\n{a_class}")
    apart = match(tmp_path, claim, "--classes", classes)
    assert (0, 4) == (beside.code, len(accepted_in(beside)))
    assert beside.out == apart.out


@pytest.mark.parametrize("metadata", ["", "metadata: 5\n", "metadata: {}\n"])
def test_a_class_without_a_name_is_nobodys(tmp_path: Path, metadata: str) -> None:
    """An odd object in the file does not stop the claim beside it."""
    odd = f"apiVersion: resource.k8s.io/v1\nkind: DeviceClass\n{metadata}"
    assert 0 == match(tmp_path, f"{request('true')}---\n{odd}").code


def test_alternatives_are_shown_one_by_one(tmp_path: Path) -> None:
    """Each alternative of firstAvailable is a request of its own."""
    text = (
        "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nspec:\n  devices:\n    requests:\n"
        "    - name: r\n      firstAvailable:\n"
        "      - {name: one, deviceClassName: vf.ib.sigs.k8s.io}\n"
        "      - {name: two, deviceClassName: pf.ib.sigs.k8s.io}\n"
    )
    ran = match(tmp_path, text)
    assert "request r/one (class vf.ib.sigs.k8s.io):" in ran.out
    assert "request r/two (class pf.ib.sigs.k8s.io):" in ran.out
    assert (0, 2) == (ran.code, ran.out.count("4 devices accepted"))


@pytest.mark.parametrize("counts", [(9, 1), (1, 9), (9, 9), (1, 1)])
def test_claims_of_one_file_are_met_each_for_itself(
    tmp_path: Path, counts: tuple[int, int]
) -> None:
    """Requests of two claims may have one name; each must find its devices."""
    claims = [request("true", rest=f"        count: {count}\n") for count in counts]
    ran = match(tmp_path, "---\n".join([claims[0], claims[1].replace("name: a", "name: b")]))
    assert (0 if max(counts) == 1 else 1, "") == (ran.code, ran.err)
    assert ["a", "b"] == re.findall(r"^ResourceClaim (\w+):$", ran.out, re.MULTILINE)
    assert 2 == ran.out.count("request r (class ib.sigs.k8s.io):")


def test_a_claim_alone_needs_no_name(tmp_path: Path) -> None:
    """Other objects beside it are no claims."""
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
    ran = match(tmp_path, f"{pod}---\n{request('true')}")
    assert 0 == ran.code
    assert ran.out.startswith("request r (class ib.sigs.k8s.io):\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("apiVersion: v1\nkind: Pod\n", "claim.yaml holds no ResourceClaim"),
        ("", "claim.yaml holds no ResourceClaim"),
        ("a: [\n", "claim.yaml:2: not YAML"),
    ],
    ids=["pod", "empty", "broken"],
)
def test_a_file_without_a_claim_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """Exit 2 and a message that names the file."""
    ran = match(tmp_path, text)
    assert (2, "") == (ran.code, ran.out)
    assert told in ran.err


@pytest.mark.parametrize("text", [None, "a: [\n"], ids=["missing", "broken"])
def test_a_class_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str | None) -> None:
    """It is not passed over in silence: the classes would be unknown."""
    classes = tmp_path / "classes.yaml"
    if text is not None:
        classes.write_text(text, encoding="utf-8")
    ran = match(tmp_path, request("true"), "--classes", classes)
    assert (2, "") == (ran.code, ran.out)
    assert f"{classes}" in ran.err
