"""The pages and what is in them: console blocks, quoted messages, links.

Why: a page is only as true as its last check; here it is cut into what can be checked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[3]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_REFUSAL_IN_C = re.compile(r'\brefuse\((?P<text>(?:\s*(?:"(?:[^"\\]|\\.)*"|VERSION))+)')
_LITERAL_IN_C = re.compile(r'"((?:[^"\\]|\\.)*)"|(VERSION)')
_FORMAT_IN_C = re.compile(r"%l?[sd]")
_EXITS = re.compile(r"\s+# exits (\d+)$")


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A command on a page, the exit code it should have, and the output that is shown."""

    page: Path
    line: int
    command: str
    exits: int = 0
    output: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, language: str) -> Iterator[tuple[int, list[str]]]:
    """Give the fenced blocks of a language: the line they start at, and their lines."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start(2)) + 1, match[2].splitlines()


def typed_lines(page: str, heading: str = "", *, program: str = "") -> list[str]:
    """Give the lines of the ``sh`` blocks of a page (a path in the repository), or of one section.

    They come in the order that a reader comes to them, without their comments; of one program
    only if that is named.  A test that asks for lines is one that types them:
    `test_typed_lines` demands one for every line.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    if heading:
        text = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
    joined = re.sub(r"\\\n\s*", "", "".join(_TYPED.findall(text)))
    lines = [re.sub(r"(^|\s+)# .*", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line and line.startswith(program)]


def with_names(line: str, names: Mapping[str, str]) -> str:
    """Put names in place of those that a page has for an example."""
    for name, value in names.items():
        line = re.sub(rf"(?<![\w.:-]){re.escape(name)}(?![\w.-])", value, line)
    return line


def shown_commands() -> tuple[Shown, ...]:
    """Give every command of every console block, with its output up to the next command."""
    found: list[Shown] = []
    for page in PAGES:
        for start, lines in blocks(page, "console"):
            for number, line in enumerate(lines):
                if line.startswith("$ "):
                    exits = _EXITS.search(line)
                    found.append(
                        Shown(
                            page=page,
                            line=start + number,
                            command=_EXITS.sub("", line)[2:],
                            exits=int(exits[1]) if exits else 0,
                        )
                    )
                elif found:
                    output = (*found[-1].output, line.rstrip())
                    found[-1] = msgspec.structs.replace(found[-1], output=output)
    return tuple(found)


def same_but_for_dots(shown: tuple[str, ...], real: list[str]) -> bool:
    """Compare line by line; a line of only ``...`` stands for any number of lines."""
    any_lines = r"(?:[^\n]*\n)*"
    parts = [any_lines if line.strip() == "..." else re.escape(line) + "\n" for line in shown]
    return re.fullmatch("".join(parts), "".join(f"{line}\n" for line in real)) is not None


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Give the links to other files and headings of the repository."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in _LINK.finditer(prose):
        path, _, anchor = match[1].partition("#")
        if "://" not in match[1]:
            yield ((page.parent / path).resolve() if path else page), anchor


def anchors(page: Path) -> frozenset[str]:
    """Give the names under which a page's headings can be linked to."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = (match[1].strip().lower() for match in _HEADING.finditer(prose))
    return frozenset(re.sub(r"[^\w\- ]", "", h).replace(" ", "-") for h in headings)


@cache
def message_patterns() -> tuple[re.Pattern[str], ...]:
    """Make a pattern of every text in the source: whatever is filled in may be anything."""
    found = set(_patterns_in_c())
    for path in sorted((ROOT / "src").glob("ibdra_*/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = node.values if isinstance(node, ast.JoinedStr) else [node]
            texts = [
                v.value if isinstance(v, ast.Constant) and isinstance(v.value, str) else None
                for v in values
            ]
            if sum(len(text) for text in texts if text) >= 15:
                found.add("".join(".*?" if text is None else re.escape(text) for text in texts))
    return tuple(re.compile(pattern) for pattern in sorted(found))


def _patterns_in_c() -> Iterator[str]:
    """Make a pattern of each refusal of the attach hook, which is C."""
    for path in sorted((ROOT / "deploy/hook").glob("*.c")):
        for refusal in _REFUSAL_IN_C.finditer(path.read_text(encoding="utf-8")):
            pieces = _LITERAL_IN_C.findall(refusal["text"])
            text = "".join("%s" if version else literal for literal, version in pieces)
            parts = _FORMAT_IN_C.split(text)
            if sum(map(len, parts)) >= 15:
                yield ".*?".join(map(re.escape, parts))


def is_a_message(line: str) -> bool:
    """Tell whether a line is ``problem: remedy``, each as the source writes it.

    What an ``if`` puts behind a problem or a remedy may follow it.
    """
    cuts = [match.start() for match in re.finditer(": ", line)]
    patterns = message_patterns()
    return any(
        any(p.fullmatch(line[:cut]) for p in patterns)
        and any(p.match(line[cut + 2 :]) for p in patterns)
        for cut in cuts
    ) or any(p.fullmatch(line) for p in patterns)
