"""``ibdra validate``: the webhook's rules on files, with the line to edit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unit.cli.cli_runs import EXAMPLES, run

Writer = Callable[..., Path]
GOOD = """\
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: a}
spec:
  devices:
    requests:
    - name: vf
      exactly:
        deviceClassName: vf.ib.sigs.k8s.io
        selectors:
        - cel:
            expression: device.attributes["ib.sigs.k8s.io"].portState == "Active"
    config:
    - opaque:
        driver: ib.sigs.k8s.io
        parameters:
          apiVersion: ib.resource.sigs.k8s.io/v1alpha1
          kind: IbConfig
          mtu: 4096
"""
EXPRESSION = 'device.attributes["ib.sigs.k8s.io"].portState == "Active"'
AT = "spec.devices.requests[0].exactly.selectors[0].cel.expression"
CONFIG = "spec.devices.config[0].opaque.parameters"


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Give a function that writes a file and gives its path."""

    def written(text: str, name: str = "claim.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("**/*.yaml")), ids=lambda p: p.stem)
def test_the_examples_are_good(path: Path) -> None:
    """What we ship passes our own rules."""
    ran = run("validate", path)
    assert (0, "") == (ran.code, ran.err)
    assert ran.out.startswith(f"{path}: good (")
    assert 1 == len(ran.out.splitlines())


def test_counts_what_it_looked_at(write: Writer) -> None:
    """A good file's line says how much in it was ours."""
    path = write(GOOD)
    assert f"{path}: good (1 of its objects looked at, 1 IbConfig)\n" == run("validate", path).out
    assert run("validate", EXAMPLES / "device-classes.yaml").out.endswith(
        "good (3 of its objects looked at, 0 IbConfigs)\n"
    )


@pytest.mark.parametrize(
    ("edit", "line", "where", "problem"),
    [
        (("mtu: 4096", "mtu: 9000"), 19, f"{CONFIG}.mtu", "mtu 9000 is not an InfiniBand MTU: use"),
        (("mtu: 4096", "mtu: '4096'"), 19, f"{CONFIG}.mtu", "mtu is the text '4096', not a whole"),
        (("mtu: 4096", "pkey: 0x8000"), 19, f"{CONFIG}.pkey", "pkey 0x8000 names partition 0"),
        (("mtu: 4096", "trafficclass: 1"), 19, f"{CONFIG}.trafficclass", "'trafficclass' is not a"),
        (
            ("kind: IbConfig", "kind: Ib"),
            18,
            f"{CONFIG}.kind",
            "kind is the text 'Ib': write kind: IbConfig",
        ),
        (("          kind: IbConfig\n", ""), 16, f"{CONFIG}.kind", "kind is missing: write kind"),
        (
            (EXPRESSION, "device.attributes.type"),
            12,
            AT,
            "device.attributes.type looks for a domain",
        ),
        ((EXPRESSION, "device.driver =="), 12, AT, "'device.driver ==' does not compile ("),
        ((EXPRESSION, 'quantity("1") > 1'), 12, AT, "'quantity(\"1\") > 1' does not compile ("),
    ],
)
def test_says_where_what_and_what_to_do(
    write: Writer, edit: tuple[str, str], line: int, where: str, problem: str
) -> None:
    """FILE:LINE: field: problem: remedy, and exit 1."""
    assert edit[0] in GOOD
    path = write(GOOD.replace(*edit))
    ran = run("validate", path)
    assert (1, "") == (ran.code, ran.err)
    (told,) = ran.out.splitlines()
    assert told.startswith(f"{path}:{line}: {where}: {problem}")


def test_lists_everything_that_is_wrong(write: Writer) -> None:
    """All problems of all documents come at once, in their order."""
    first = GOOD.replace("mtu: 4096", "mtu: 1\n          pkey: 0\n          pkey: 32769")
    path = write(f"{first}---\n{GOOD.replace('mtu: 4096', 'mtu: 2')}")
    ran = run("validate", path)
    assert 1 == ran.code
    assert [
        f"{path}:21: 'pkey' is given twice",
        f"{path}:19: {CONFIG}.mtu: mtu 1 is not an InfiniBand MTU",
        f"{path}:41: {CONFIG}.mtu: mtu 2 is not an InfiniBand MTU",
    ] == [told.partition(": use")[0] for told in ran.out.splitlines()]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [\n", ":2: not YAML: "),
        ("a: 2024-13-45\n", ":1: not YAML: '2024-13-45' is no timestamp"),
        ("a: \0\n", ":1: not YAML: it holds the control character 0x00"),
        ("- a\n", ":1: the document is not an object"),
        ("a: 1\na: 2\n", ":2: 'a' is given twice"),
    ],
    ids=["broken", "timestamp", "control", "list", "twice"],
)
def test_a_file_that_is_wrong_itself_has_its_line_too(write: Writer, text: str, told: str) -> None:
    """What is no manifest is a problem of the file, not a crash."""
    path = write(text)
    ran = run("validate", path)
    assert (1, "") == (ran.code, ran.err)
    assert ran.out.startswith(f"{path}{told}")


def test_other_objects_and_drivers_are_left_alone(write: Writer) -> None:
    """Pods, other API groups and other drivers' parameters are none of our business."""
    pod = "apiVersion: v1\nkind: Pod\nspec: {mtu: 9000}\n"
    theirs = GOOD.replace("driver: ib.sigs.k8s.io", "driver: gpu.example.com")
    odd = "apiVersion: resource.k8s.io/v1\nkind: [ResourceClaim]\n"
    path = write(f"{pod}---\n{odd}")
    assert (0, f"{path}: good (nothing in it concerns this driver)\n") == (
        (ran := run("validate", path)).code,
        ran.out,
    )
    ran = run("validate", write(theirs.replace("mtu: 4096", "mtu: 9000")))
    assert 0 == ran.code
    assert ran.out.endswith("good (1 of its objects looked at, 0 IbConfigs)\n")


def test_several_files_are_judged_one_by_one(write: Writer) -> None:
    """One bad file does not hide the others, and decides the exit code."""
    good, bad = write(GOOD, "good.yaml"), write(GOOD.replace("4096", "9000"), "bad.yaml")
    ran = run("validate", bad, good)
    assert 1 == ran.code
    first, second = ran.out.splitlines()
    assert first.startswith(f"{bad}:19: ")
    assert second.startswith(f"{good}: good (")


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_older_versions_are_checked_too(write: Writer, version: str) -> None:
    """Manifests for older clusters get the same rules."""
    text = GOOD.replace("resource.k8s.io/v1", f"resource.k8s.io/{version}", 1)
    assert 0 == run("validate", write(text)).code
    assert 1 == run("validate", write(text.replace("4096", "9000"))).code


def test_json_is_read_as_well(write: Writer) -> None:
    """A JSON file's problems have lines like any other's."""
    text = (
        '{\n\t"apiVersion": "resource.k8s.io/v1",\n\t"kind": "DeviceClass",\n'
        '\t"spec": {"selectors": [\n\t\t{"cel": {"expression": "1 +"}}]}\n}\n'
    )
    path = write(text, "class.json")
    ran = run("validate", path)
    assert 1 == ran.code
    assert ran.out.startswith(f"{path}:5: spec.selectors[0].cel.expression: '1 +' does not compile")


def test_a_file_that_is_not_there_is_another_exit_code(tmp_path: Path) -> None:
    """Exit 2: it could not even be tried; standard error names the file."""
    path = tmp_path / "nothing.yaml"
    ran = run("validate", path)
    assert (2, "") == (ran.code, ran.out)
    assert ran.err.startswith(f"ibdra: {path} cannot be read (no such file or directory): ")
