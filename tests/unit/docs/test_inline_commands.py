"""Commands that a page names in passing: they exist, with the options that are named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ibdra_app.cli import cli
from unit.docs.pages import PAGES, ROOT

_INLINE = re.compile(r"`(ibdra|make) ([^`\n]+)`")
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)


def named_on(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Give the program and the words of each command in a page's prose."""
    for program, words in _INLINE.findall(page.read_text(encoding="utf-8")):
        yield program, words.split()


def unknown_of_ibdra(words: list[str]) -> list[str]:
    """Give what ibdra does not know of a command: its name, or options."""
    name, *others = words
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        return [name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    known |= {option for parameter in command.params for option in parameter.secondary_opts}
    options = [word.partition("=")[0] for word in others if word.startswith("-")]
    return [option for option in options if option not in known]


def unknown_of_make(words: list[str]) -> list[str]:
    """Give the targets that the Makefile does not have."""
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    wanted = " ".join(words).partition(" && ")[0].split()
    return [word for word in wanted if "=" not in word and word not in targets]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_prose_exist(page: Path) -> None:
    """A command or an option that was renamed is renamed on the pages too."""
    unknown = {"ibdra": unknown_of_ibdra, "make": unknown_of_make}
    found = [(program, words, unknown[program](words)) for program, words in named_on(page)]
    assert [] == [each for each in found if each[-1]]


def test_commands_are_found() -> None:
    """The pages name many, and a wrong one is seen."""
    assert 60 < sum(1 for page in PAGES for _ in named_on(page))
    assert ["--no-such"] == unknown_of_ibdra(["run", "--node", "NAME", "--no-such=1"])
    assert ["ruin"] == unknown_of_ibdra(["ruin"])
    assert ["tests"] == unknown_of_make(["check", "tests", "PROFILE=x"])
