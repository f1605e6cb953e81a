"""Writes docs/user/configuration.md from the comments of the chart's values.

Why: a page kept by hand lacks the value that somebody needs.  ``--check`` fails if the page is
not what the values say, or if a value has no description.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
VALUES = ROOT / "deploy/helm/ibdra/values.yaml"
PAGE = ROOT / "docs/user/configuration.md"

HEAD = """\
# Every value of the chart

Made from `deploy/helm/ibdra/values.yaml`. A wrong name or type is refused by the chart's schema,
before anything is sent. How to use them: [install](install.md).

| value | default | what |
|---|---|---|
"""

_LINE = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]+):(?P<rest>.*)$")


def described(text: str) -> dict[str, str]:
    """Give the description of each value that has one, by its path."""
    found: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    told = ""
    for line in text.splitlines():
        if line.lstrip().startswith("# -- "):
            told = line.split("# -- ", 1)[1]
            continue
        match = _LINE.match(line)
        if match is None:
            continue
        indent = len(match["indent"])
        path = [(at, key) for at, key in path if at < indent] + [(indent, match["key"])]
        name = ".".join(key for _, key in path)
        if told:
            found[name], told = told, ""
    return found


def values(tree: dict[str, Any], told: dict[str, str], path: str = "") -> Iterator[tuple[str, Any]]:
    """List the values that are described as one, with their defaults."""
    for key, value in tree.items():
        name = f"{path}{key}"
        if name not in told and isinstance(value, dict) and value:
            yield from values(value, told, f"{name}.")
        else:
            yield name, value


def page() -> str:
    """Make the page.  Raises KeyError for a value without a description."""
    text = VALUES.read_text()
    told = described(text)
    rows = (
        f"| `{name}` | `{json.dumps(default)}` | {told[name]} |\n".replace("|| ", "| ")
        for name, default in values(yaml.safe_load(text), told)
    )
    return HEAD + "".join(rows)


def main() -> None:
    """Write the page, or compare it."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or wanted != PAGE.read_text():
            sys.exit(
                f"{PAGE.name} is not what values.yaml says: run tools/generate_configuration.py"
            )
        print("the page of the chart's values is up to date")
    else:
        PAGE.write_text(wanted)


if __name__ == "__main__":
    main()
