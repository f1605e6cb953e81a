"""Examples are read before they are run: each says what it shows, and what to expect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ibdra_app.demo import EXAMPLES as IN_THE_DEMO
from ibdra_app.examples import examples_folder
from unit.docs.pages import ROOT

EXAMPLES = ROOT / "examples"
FILES = sorted([*EXAMPLES.glob("*.yaml"), *EXAMPLES.glob("custom_driver/*.yaml")])


def header_of(path: Path) -> list[str]:
    """Give the comment that a file begins with, by paragraph."""
    text = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
    lines = [line.removeprefix("#").strip() for line in text[0].splitlines()] if text else []
    return " ".join(line or "\n" for line in lines).split(" \n ")


def objects_of(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def pod_specs(path: Path) -> list[dict[str, Any]]:
    """Give the specs of pods, and of what makes pods."""
    specs = [each["spec"] for each in objects_of(path) if each["kind"] in ("Pod", "DaemonSet")]
    return [spec["template"]["spec"] if "template" in spec else spec for spec in specs]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_header_says_what_is_shown_and_what_to_expect(path: Path) -> None:
    """One sentence for the first, and where there is a pod, a word on what happens."""
    header = header_of(path)
    assert header[0].endswith(".")
    assert not pod_specs(path) or len(header) > 1
    if path.stem not in ("ib-test3", "ib-test5") and pod_specs(path):
        assert "Expect" in " ".join(header)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_pod_ends_when_it_is_told_to(path: Path) -> None:
    """Its shell is process 1, which a SIGTERM without a handler does not end."""
    for spec in pod_specs(path):
        for container in spec["containers"]:
            script = container["command"][2]
            assert script.startswith("trap 'exit 0' TERM; ")
            assert script.endswith("; sleep infinity & wait")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_namespace_is_named_after_its_file(path: Path) -> None:
    """So that two examples do not meet; the loop driver's is the exception."""
    names = [each["metadata"]["name"] for each in objects_of(path) if each["kind"] == "Namespace"]
    assert set(names) <= {path.stem, "loop-test"}


def test_the_demo_takes_its_five_and_no_other() -> None:
    """More files in the folder change nothing in it."""
    assert tuple(f"ib-test{n}" for n in range(1, 6)) == IN_THE_DEMO
    assert EXAMPLES == examples_folder()
