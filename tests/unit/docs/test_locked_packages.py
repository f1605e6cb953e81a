"""What the image installs is what the tests ran with."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    """Read a list's packages and their versions."""
    return dict(_PIN.findall((_ROOT / name).read_text()))


def test_the_image_has_the_tested_versions() -> None:
    """Each package of the image's list has the version of the developers' list."""
    tested, shipped = pins("constraints.txt"), pins("constraints-run.txt")
    assert shipped == {name: tested.get(name) for name in shipped}


def test_the_image_has_all_that_the_project_names() -> None:
    """No dependency of the project is missing in the image's list."""
    project = (_ROOT / "pyproject.toml").read_text().split("dependencies = [", 1)[1].split("]\n")[0]
    named = {name.lower() for name in re.findall(r'^  "([A-Za-z0-9-]+)', project, re.MULTILINE)}
    assert named
    assert set() == named - pins("constraints-run.txt").keys()
