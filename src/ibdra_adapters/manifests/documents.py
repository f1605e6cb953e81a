"""Manifests read strictly, with the line of every value, and written for kubectl.

Why: "mtu 9000 is not an InfiniBand MTU" is half an answer; the other half is the line to
edit.  And a key given twice, which YAML readers quietly resolve, must be an error here as
it is in the webhook (D7).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ibdra_domain.errors import InvalidManifest
from ibdra_domain.strict_json import FieldPath

# libyaml's writer where the installed PyYAML has it: a tenth of the time.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_VALUES = 100_000


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One object of a file; ``lines`` gives a path's line, 1-based."""

    source: str
    body: dict[str, Any]
    lines: dict[FieldPath, int]

    def line_of(self, path: FieldPath) -> int:
        """Give the line of a value, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


class ManifestProblem(msgspec.Struct, frozen=True):
    """Something wrong with a file before any object can be looked at."""

    source: str
    line: int
    problem: str


def read_manifests(path: Path) -> tuple[list[Manifest], list[ManifestProblem]]:
    """Read all objects of a file (YAML with several documents, JSON, or a List).

    Raises InvalidManifest if the file cannot be read; what is wrong inside it comes back
    as problems, and the other documents are read all the same.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidManifest(
            f"{path} cannot be read ({reason.lower()})", remedy="give a YAML or JSON file"
        ) from error
    manifests: list[Manifest] = []
    problems: list[ManifestProblem] = []
    if path.suffix == ".json":
        text = text.replace("\t", " ")  # JSON may be indented with tabs, YAML may not
    try:
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            if node is not None:
                _take(str(path), loader, node, manifests, problems)
    except (yaml.YAMLError, RecursionError) as error:
        line = _line(error, text)
        problems.append(ManifestProblem(str(path), line, f"not YAML: {_reason(error)}"))
    return manifests, problems


def to_yaml(documents: Iterable[Any]) -> str:
    """Write plain values as YAML documents, fields in the order given."""
    text: str = yaml.dump_all(
        documents, Dumper=_DUMPER, sort_keys=False, default_flow_style=False, width=100
    )
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's, but a value that is not what its tag or look says is a YAML error with a line."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 -- PyYAML's signature
        """Make a value; PyYAML lets 2024-13-45, 0x_ and ``!!bool x`` fail in any way at all."""
        try:
            return super().construct_object(node, deep=deep)
        except (AttributeError, KeyError, ValueError) as error:
            raise yaml.constructor.ConstructorError(
                problem=f"{str(node.value)[:40]!r} is no {node.tag.rpartition(':')[2]}",
                problem_mark=node.start_mark,
            ) from error

    def construct_document(self, node: yaml.Node) -> Any:
        """Start clean, whatever a bad document before this one left unfinished."""
        self.constructed_objects: dict[yaml.Node, Any] = {}
        self.recursive_objects: dict[yaml.Node, Any] = {}
        self.state_generators: list[Any] = []
        self.deep_construct = False
        return super().construct_document(node)


def _take(
    source: str,
    loader: yaml.SafeLoader,
    node: yaml.Node,
    manifests: list[Manifest],
    problems: list[ManifestProblem],
) -> None:
    lines: dict[FieldPath, int] = {}
    for count, (path, line, duplicate) in enumerate(_walk(node, ())):
        if count > MAX_VALUES:  # aliases of aliases grow without bound
            problems.append(ManifestProblem(source, line, f"more than {MAX_VALUES} values"))
            return
        lines.setdefault(path, line)
        if duplicate:
            problems.append(ManifestProblem(source, line, f"{path[-1]!r} is given twice"))
    try:
        body = loader.construct_document(node)
    except yaml.constructor.ConstructorError as error:
        problems.append(ManifestProblem(source, _line(error, ""), f"not YAML: {_reason(error)}"))
        return
    if body is None:
        return
    if not isinstance(body, dict):
        line = lines.get((), 1)
        problems.append(ManifestProblem(source, line, "the document is not an object"))
        return
    if body.get("kind") == "List" and isinstance(body.get("items"), list):
        for index, item in enumerate(body["items"]):
            if isinstance(item, dict):
                below = {p[2:]: n for p, n in lines.items() if p[:2] == ("items", index)}
                manifests.append(Manifest(source=source, body=item, lines=below))
        return
    manifests.append(Manifest(source=source, body=body, lines=lines))


def _walk(node: yaml.Node, path: FieldPath) -> Iterator[tuple[FieldPath, int, bool]]:
    yield path, node.start_mark.line + 1, False
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield (*path, name), key.start_mark.line + 1, True
            seen.add(name)
            yield from (
                (p, _own(p, (*path, name), key, n), d) for p, n, d in _walk(value, (*path, name))
            )
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(value, (*path, index))


def _own(path: FieldPath, whole: FieldPath, key: yaml.Node, line: int) -> int:
    """Give a field its key's line, also where its value begins on the next one."""
    return key.start_mark.line + 1 if path == whole else line


def _line(error: Exception, text: str) -> int:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1
    return 1


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.reader.ReaderError):
        return f"it holds the control character {error.character:#04x}"
    return str(getattr(error, "problem", None) or "it is nested too deeply")
