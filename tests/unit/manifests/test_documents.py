"""Manifests read strictly, every value with its line, and written for kubectl."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_adapters.manifests.documents import (
    MAX_VALUES,
    Manifest,
    ManifestProblem,
    read_manifests,
    to_yaml,
)
from ibdra_domain.errors import InvalidManifest

Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Give a function that writes a file and gives its path."""

    def written(text: str, name: str = "claim.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return written


def read_one(path: Path) -> Manifest:
    manifests, problems = read_manifests(path)
    assert [] == problems
    (manifest,) = manifests
    return manifest


def test_reads_several_documents_with_their_lines(write: Writer) -> None:
    """Lines are counted from the file's start, in every document; empty documents do not count."""
    path = write("---\n# a comment\nkind: A\n---\n---\nkind: B\nspec:\n  x: 1\n")
    manifests, problems = read_manifests(path)
    assert [] == problems
    assert [{"kind": "A"}, {"kind": "B", "spec": {"x": 1}}] == [m.body for m in manifests]
    assert [3, 6] == [m.line_of(("kind",)) for m in manifests]
    assert 8 == manifests[1].line_of(("spec", "x"))
    assert {str(path)} == {m.source for m in manifests}


def test_knows_the_line_of_nested_values(write: Writer) -> None:
    """A field has its key's line and a list entry its own, however it is written."""
    manifest = read_one(
        write(
            "spec:\n"
            "  devices:\n"
            "    config:\n"
            "    - requests: [a,\n"
            "        b]\n"
            "    - opaque:\n"
            "        parameters:\n"
            "          {mtu: 9000,\n"
            "           pkey: 1}\n"
            "    text: >-\n"
            "      long\n"
        )
    )
    config = ("spec", "devices", "config")
    assert [1, 2, 3, 4, 4, 4, 5, 6, 6, 7, 8, 9, 10] == [
        manifest.line_of(path)
        for path in (
            ("spec",),
            ("spec", "devices"),
            config,
            (*config, 0),
            (*config, 0, "requests"),
            (*config, 0, "requests", 0),
            (*config, 0, "requests", 1),
            (*config, 1),
            (*config, 1, "opaque"),
            (*config, 1, "opaque", "parameters"),
            (*config, 1, "opaque", "parameters", "mtu"),
            (*config, 1, "opaque", "parameters", "pkey"),
            ("spec", "devices", "text"),
        )
    ]


def test_gives_the_nearest_line_for_what_is_missing(write: Writer) -> None:
    """A field that should be there is reported at what it should be in."""
    manifest = read_one(write("\nspec:\n  devices:\n    requests: []\n"))
    assert 3 == manifest.line_of(("spec", "devices", "config", 0, "opaque"))
    assert 2 == manifest.line_of(("metadata", "name"))


def test_finds_keys_given_twice(write: Writer) -> None:
    """Every repetition is a problem at the later key's line, at any depth."""
    manifests, problems = read_manifests(
        write("a: 1\nb:\n- x: {mtu: 1}\n  mtu: 256\n  mtu: 512\na: 2\n")
    )
    assert [(5, "'mtu' is given twice"), (6, "'a' is given twice")] == [
        (p.line, p.problem) for p in problems
    ]
    assert 1 == len(manifests)


def test_takes_a_list_apart(write: Writer) -> None:
    """A ``List``'s items are objects of their own, with lines in the file."""
    text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n- kind: B\n  spec:\n    x: 1\n- 5\n"
    manifests, problems = read_manifests(write(text))
    assert [] == problems
    assert [{"kind": "A"}, {"kind": "B", "spec": {"x": 1}}] == [m.body for m in manifests]
    assert [4, 5] == [m.line_of(()) for m in manifests]
    assert 7 == manifests[1].line_of(("spec", "x"))


@pytest.mark.parametrize("indent", [None, 2, "\t"], ids=["one-line", "spaces", "tabs"])
def test_reads_json(write: Writer, indent: int | str | None) -> None:
    """JSON is read as kubectl reads it, tabs, escapes and all."""
    body = {"kind": "A", "spec": {"list": [1, 2.5, None, True], "text": 'a\tb/é"\n'}}
    manifest = read_one(write(json.dumps(body, indent=indent), "claim.json"))
    assert body == manifest.body
    assert (1 if indent is None else 4) == manifest.line_of(("spec", "list"))


def test_anchors_and_merges_are_read(write: Writer) -> None:
    """Aliases and merge keys mean what YAML says, and are no duplicates."""
    manifest = read_one(
        write("base: &base {mtu: 4096, pkey: 1}\nuse: *base\nmore:\n  <<: *base\n  pkey: 2\n")
    )
    assert {"mtu": 4096, "pkey": 1} == manifest.body["use"]
    assert {"mtu": 4096, "pkey": 2} == manifest.body["more"]
    assert 5 == manifest.line_of(("more", "pkey"))
    assert 3 == manifest.line_of(("more", "mtu"))


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: [1,\n", 3, "not YAML: "),
        ("a: 1\nb: }\n", 2, "not YAML: "),
        ("a: 1\nb: *nobody\n", 2, "not YAML: found undefined alias 'nobody'"),
        ("a: 1\nb: !unknown x\n", 2, "not YAML: could not determine a constructor"),
        ("a: 1\n? [b]\n: c\n", 2, "not YAML: found unhashable key"),
        ("a: 1\nb: 2024-13-45\n", 2, "not YAML: '2024-13-45' is no timestamp"),
        ("a: 1\nb: 0x_\n", 2, "not YAML: '0x_' is no int"),
        ("a: 1\nb: !!bool x\n", 2, "not YAML: 'x' is no bool"),
        ("a: 1\nb: !!timestamp x\n", 2, "not YAML: 'x' is no timestamp"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, f"not YAML: '{'9' * 40}' is no int"),
        ("a: 1\nb: \0\n", 2, "not YAML: it holds the control character 0x00"),
        ("a: 1\n\tb: 2\n", 2, "not YAML: "),
        ("[" * 5000, 1, "not YAML: it is nested too deeply"),
        ("a: &a [*a]\n", 1, "not YAML: it is nested too deeply"),
    ],
    ids=lambda value: str(value)[:16].encode("unicode_escape").decode(),
)
def test_what_is_no_yaml_is_a_problem_with_its_line(
    write: Writer, text: str, line: int, reason: str
) -> None:
    """Nothing that can stand in a file makes reading it raise."""
    manifests, (problem,) = read_manifests(write(text))
    assert [] == manifests
    assert line == problem.line
    assert problem.problem.startswith(reason)


def test_documents_around_a_bad_value_are_read(write: Writer) -> None:
    """One document's bad value costs that document alone."""
    manifests, problems = read_manifests(
        write("kind: A\n---\nkind: B\nwhen: [{deep: 2024-13-45}]\n---\nkind: C\n")
    )
    assert ["A", "C"] == [m.body["kind"] for m in manifests]
    assert [4] == [p.line for p in problems]


def test_documents_before_broken_yaml_are_read(write: Writer) -> None:
    """Where the text itself breaks off, what came before it counts."""
    manifests, problems = read_manifests(write("kind: A\n---\nkind: [\n"))
    assert ["A"] == [m.body["kind"] for m in manifests]
    assert 1 == len(problems)


@pytest.mark.parametrize("text", ["- kind: A\n", "text\n", "5\n"])
def test_a_document_that_is_no_object_is_a_problem(write: Writer, text: str) -> None:
    """Lists and scalars are no manifests; the other documents are read."""
    path = write(f"kind: A\n---\n{text}")
    manifests, problems = read_manifests(path)
    assert [ManifestProblem(str(path), 3, "the document is not an object")] == problems
    assert 1 == len(manifests)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n---\n", "null\n"])
def test_an_empty_file_holds_nothing(write: Writer, text: str) -> None:
    """No document is no problem."""
    assert ([], []) == read_manifests(write(text))


def test_aliases_of_aliases_are_bounded(write: Writer) -> None:
    """A file of a few lines that stands for billions of values is refused, not expanded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    manifests, (problem,) = read_manifests(write("\n".join(lines)))
    assert [] == manifests
    assert f"more than {MAX_VALUES} values" == problem.problem


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The message names the file and the system's reason."""
    path = tmp_path / "nothing.yaml"
    with pytest.raises(InvalidManifest, match=r"nothing\.yaml cannot be read \(no such file"):
        read_manifests(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """A folder in a file's place is refused as what it is."""
    with pytest.raises(InvalidManifest, match=r"cannot be read \(is a directory\)"):
        read_manifests(tmp_path)


def test_what_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """Other encodings are not guessed at; the decoder's error is chained."""
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: \xe9\n")
    with pytest.raises(InvalidManifest, match=r"cannot be read \(it is not utf-8 text\)") as caught:
        read_manifests(path)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(bodies=st.lists(st.dictionaries(st.text(), PLAIN), max_size=3))
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, object]]
) -> None:
    """Plain values come back from YAML as they were, keys that look like numbers too."""
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(to_yaml(bodies).encode())
    manifests, problems = read_manifests(path)
    assert [] == problems
    assert bodies == [m.body for m in manifests]


def test_fields_stay_in_their_order() -> None:
    """Writing does not sort: apiVersion and kind come first, as people expect."""
    assert "kind: A\napiVersion: v1\nitems:\n- b\n- a\n" == to_yaml(
        [{"kind": "A", "apiVersion": "v1", "items": ["b", "a"]}]
    )
