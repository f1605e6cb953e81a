"""The program's JSON reader beside Python's: thousands of documents, good and broken."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from contract.hook.hook_runs import SOURCE

HERE = Path(__file__).parent
MOST = 2**31 - 1
LINE = 63
_TURNING = {0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)}


# Without -fno-sanitize-recover: GCC 12 then leaves out some of the address checks.
_CC = ("cc", "-std=c11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")


def can_sanitize(out: Path) -> bool:
    """Tell whether this machine's compiler has the sanitizers' libraries."""
    if not shutil.which("cc"):
        return False
    trial = [*_CC, "-o", str(out), "-x", "c", "/dev/stdin"]
    empty = b"int main(void) { return 0; }"
    return 0 == subprocess.run(trial, input=empty, capture_output=True, check=False).returncode


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the reader with a main of its own, under the sanitizers."""
    program = tmp_path_factory.mktemp("scanner") / "scanner"
    if not can_sanitize(program):
        pytest.skip("needs cc with the libraries of its address and undefined sanitizers")
    sources = [str(HERE / "scanner_main.c"), str(SOURCE / "json.c")]
    subprocess.run([*_CC, f"-I{SOURCE}", "-o", str(program), *sources], check=True)
    return program


def scanned(scanner: Path, documents: list[bytes]) -> list[str]:
    """Put documents through one process; a line each."""
    given = b"".join(b"%d\n%s" % (len(document), document) for document in documents)
    done = subprocess.run([str(scanner)], input=given, capture_output=True, check=False)
    assert (0, b"") == (done.returncode, done.stderr)
    lines = done.stdout.decode().split("\n")
    assert "" == lines.pop()
    assert len(documents) == len(lines)
    return lines


def _refuse(_text: str) -> Any:
    raise ValueError("RFC 8259 has no such number")


def expected(document: bytes) -> str:
    """Tell what the reader has to say, by Python's own."""
    try:
        text = document.decode()
        pairs = json.loads(text, parse_constant=_refuse, object_pairs_hook=list, parse_int=_Digits)
    except ValueError:
        return "malformed"
    if not text.lstrip(" \t\n\r").startswith("{"):
        return "no object"
    keys = [key for key, _ in pairs]
    if keys.count("pid") > 1 or keys.count("reason") > 1:
        return "twice"
    found = dict(pairs)
    pid, reason = found.get("pid"), found.get("reason")
    number = -1
    if isinstance(pid, _Digits) and pid.isdecimal() and 1 <= int(pid[:11]) <= MOST:
        number = int(pid)
    line = f"\t{as_line(reason)}" if type(reason) is str else ""
    return f"good\t{number}{line}"


class _Digits(str):
    """An integer as it was written; int() of thousands of digits is refused by Python."""

    __slots__ = ()


def as_line(text: str) -> str:
    """Write a reason as the program does."""
    out = b""
    for number in map(ord, text):
        shown = chr(number)
        if number < 0x20 or 0x7F <= number <= 0x9F or number in _TURNING:
            shown = " "
        elif 0xD800 <= number <= 0xDFFF:
            shown = "\N{REPLACEMENT CHARACTER}"
        if len(out) + 8 > LINE + 1:
            return out.decode() + "..."
        out += shown.encode()
    return out.decode()


BY_HAND = [
    b"",
    b" ",
    b"{}",
    b" \t\r\n{ } ",
    b"{}{}",
    b"{},",
    b"[]",
    b"null",
    b"17",
    b'"pid"',
    b"{",
    b'{"pid"',
    b'{"pid":',
    b'{"pid":1',
    b'{"pid":1,',
    b'{"pid":1,}',
    b'{"pid" 1}',
    b"{pid:1}",
    b"{'pid':1}",
    b'{"pid":1}\0',
    b'\0{"pid":1}',
    b'{"pid":1}x',
    b'\xef\xbb\xbf{"pid":1}',
    b'{"pid":1}',
    b'{"pid":-1}',
    b'{"pid":0}',
    b'{"pid":-0}',
    b'{"pid":01}',
    b'{"pid":1.0}',
    b'{"pid":1e3}',
    b'{"pid":1E+3}',
    b'{"pid":1.}',
    b'{"pid":.1}',
    b'{"pid":+1}',
    b'{"pid":1e}',
    b'{"pid":-}',
    b'{"pid":2147483647}',
    b'{"pid":2147483648}',
    b'{"pid":' + b"9" * 5000 + b"}",
    b'{"pid":"1"}',
    b'{"pid":true}',
    b'{"pid":nul}',
    b'{"pid":NaN}',
    b'{"pid":Infinity}',
    b'{"pid":[1]}',
    b'{"pid":{"pid":1}}',
    b'{"a":{"pid":1},"b":[{"pid":2}],"c":"\\"pid\\":3","pid":4}',
    b'{"a":{"pid":1}}',
    b'{"a":"\\",\\"pid\\":1"}',
    b'{"pid":1,"pid":1}',
    b'{"pid":1,"\\u0070id":1}',
    b'{"\\u0070\\u0069\\u0064":5}',
    b'{"pid\\u0000":5}',
    b'{"pi":5,"pidd":6,"":7}',
    b'{"PID":5}',
    b'{"reason":"","pid":1}',
    b'{"reason":"a\\u0007\\n\\t\\r\\b\\f\\/\\\\\\"b"}',
    b'{"reason":"\\ud83d\\ude00 \\u00e9 \\u20ac"}',
    b'{"reason":"\\ud83d"}',
    b'{"reason":"\\ud83dx"}',
    b'{"reason":"\\ud83d\\n"}',
    b'{"reason":"\\ud83d\\u0041"}',
    b'{"reason":"\\ud83d\\ud83d\\ude00"}',
    b'{"reason":"\\ude00"}',
    b'{"reason":"\\ud83d\\u"}',
    b'{"reason":"\\u12"}',
    b'{"reason":"\\u12G4"}',
    b'{"reason":"\\x41"}',
    b'{"reason":"\\',
    b'{"reason":"\\"}',
    b'{"reason":"\\\0"}',
    b'{"reason":"a\nb"}',
    b'{"reason":"a\x7fb\xc2\x9bc\xe2\x80\xa8d\xe2\x80\xaee"}',
    b'{"reason":"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"}',
    b'{"reason":"\xc3"}',
    b'{"reason":"\xc0\x80"}',
    b'{"reason":"\xe0\x80\x80"}',
    b'{"reason":"\xed\xa0\x80"}',
    b'{"reason":"\xf0\x80\x80\x80"}',
    b'{"reason":"\xf4\x90\x80\x80"}',
    b'{"reason":"\xf5\x80\x80\x80"}',
    b'{"reason":"\x80"}',
    b'{"reason":"\xe2\x82"}',
    b'{"reason":"\xff"}',
    b'{"reason":"\xc3',
    b'{"reason":"\xe2\x82',
    b'{"reason":"\xf0\x9f\x98',
    b'{"reason":"' + b"x" * 56 + b'"}',
    b'{"reason":"' + b"x" * 57 + b'"}',
    b'{"reason":"' + "€".encode() * 30 + b'"}',
    b'{"reason":' + b"[" * 99 + b"]" * 99 + b"}",
    b'{"reason":' + b"[" * 99 + b"]" * 98 + b"}",
    b'{"a":' * 100 + b"1" + b"}" * 100,
]


def test_documents_by_hand(scanner: Path) -> None:
    """Every rule of JSON, of "pid" and of a reason's line, one document each."""
    said = scanned(scanner, BY_HAND)
    assert [(d, expected(d)) for d in BY_HAND] == list(zip(BY_HAND, said, strict=True))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_what_is_too_deep_is_refused(scanner: Path, opening: bytes) -> None:
    """However deep: the program's stack is never the limit."""
    closing = b"]" if opening == b"[" else b"}"
    deep = [
        b'{"x":' + opening * depth + b"1" + closing * depth + b"}" for depth in (99, 100, 200_000)
    ]
    assert ["good\t-1", "malformed", "malformed"] == scanned(scanner, deep)


def random_text(dice: random.Random) -> str:
    alphabet = 'pidreason"\\{}[]:,0179 \n\x00\x1f\x7fé€\u2028\u202e😀\x9b'
    return "".join(dice.choice(alphabet) for _ in range(dice.randrange(12)))


def random_value(dice: random.Random, depth: int = 0) -> Any:
    """Make a value out of what an OCI state may hold."""
    kind = dice.randrange(4 if depth > 3 else 6)
    if kind == 0:
        return dice.choice([1, 0, -1, 17, 2**31 - 1, 2**31, 1.5, 1e9, True, False, None])
    if kind <= 2:
        return dice.choice(["pid", "reason", '{"pid":1}', random_text(dice)])
    if kind == 3:
        return dice.randrange(1, 5_000_000)
    if kind == 4:
        return [random_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    keys = [dice.choice(["pid", "reason", "id", random_text(dice)]) for _ in range(4)]
    return {key: random_value(dice, depth + 1) for key in keys[: dice.randrange(5)]}


def spoilt(dice: random.Random, document: bytes) -> bytes:
    """Change a document a little: a byte gone, doubled, another; an end cut off."""
    at = dice.randrange(len(document) + 1)
    piece = dice.choice([b"", b'"', b"\\", b"{", b"}", b",", b"\xff", b"\0", b"\\u", b"0", b"pid"])
    return dice.choice([document[:at], document[:at] + piece + document[at + dice.randrange(3) :]])


@pytest.mark.parametrize("seed", range(4))
def test_it_reads_as_python_does(scanner: Path, seed: int) -> None:
    """Of 4000 generated documents, half of them spoilt, both say the same."""
    dice = random.Random(seed)
    documents = []
    for _ in range(2000):
        facts = {"pid": random_value(dice), "reason": random_value(dice), "x": random_value(dice)}
        keys = dice.sample(sorted(facts), dice.randrange(4))
        document = json.dumps(
            {key: facts[key] for key in keys},
            ensure_ascii=dice.random() < 0.5,
            indent=dice.choice([None, 2]),
        ).encode()
        documents += [document, spoilt(dice, document)]
    said = scanned(scanner, documents)
    differences = [
        (d, expected(d), s) for d, s in zip(documents, said, strict=True) if expected(d) != s
    ]
    assert [] == differences
    kinds = {line.split("\t")[0] for line in said}
    assert {"good", "malformed"} <= kinds
