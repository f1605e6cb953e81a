"""Whatever a page has its reader type at a shell, a test types too.

Why: who adds a line to a page has to add the place that proves it; nothing else would tell.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from unit.docs.pages import PAGES, ROOT, typed_lines

# A console block has its output, and is run by test_docs.py; others are not for a shell.
_LANGUAGES = {"sh", "console", "text", "yaml", "json", "python", "cel", "toml", ""}
_FENCES = re.compile(r"^ *```(\S*)\n(?:.*?)^ *```$", re.MULTILINE | re.DOTALL)
EVERY_PAGE = sorted(
    {
        *PAGES,
        *(page for part in ("deploy", "examples", "tests") for page in (ROOT / part).rglob("*.md")),
    }
)


@cache
def asked_for() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Give each place in the tests that asks for lines, with what it gets."""
    return tuple(_asked_for())


def _asked_for() -> Iterator[tuple[str, tuple[str, ...]]]:
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "typed_lines":
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                if path == Path(__file__):
                    continue
                arguments = [ast.literal_eval(argument) for argument in node.args]
                named = {k.arg or "": ast.literal_eval(k.value) for k in node.keywords}
                yield where, tuple(typed_lines(*arguments, **named))


def is_run_by_ci(line: str) -> bool:
    """Tell whether the script that CI runs has the line, with more behind it perhaps."""
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    return re.search(rf"^{re.escape(line)}( |$)", script, re.MULTILINE) is not None


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_line_to_type_is_typed_by_a_test(page: Path) -> None:
    """A shell's block has no line that no test asks for, and CI does not run itself."""
    known = {line for _, lines in asked_for() for line in lines}
    lines = typed_lines(str(page.relative_to(ROOT)))
    assert [] == [line for line in lines if line not in known and not is_run_by_ci(line)]


def test_who_asks_for_lines_gets_some() -> None:
    """A heading or a program that is gone from a page leaves no test that types nothing."""
    assert len(asked_for()) > 20
    assert [] == [where for where, lines in asked_for() if not lines]


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_hides_in_a_block_of_another_kind(page: Path) -> None:
    """A shell's lines are marked ``sh`` or ``console`` on every page."""
    languages = set(_FENCES.findall(page.read_text(encoding="utf-8")))
    assert languages <= _LANGUAGES
