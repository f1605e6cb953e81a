"""The program on the host by itself: its arguments, the OCI state, daemons that misbehave."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contract.hook.hook_runs import (
    ROOT,
    UID,
    Helper,
    Ran,
    hand_made,
    request_from,
    run_program,
    state_of,
)

Serve = Callable[[socket.socket], None]
RUNTIME = "look at the container runtime, it has to write it to the hook's standard input"
YES = b'{"version":1,"attached":true}'
NOT_UNDERSTOOD = (
    "the ibdra daemon's answer is not understood: compare its version with that of this hook"
)
NO_ANSWER = (
    "the ibdra daemon closed the connection without an answer: look at its log, the kubelet "
    "tries again"
)


def refusal(reason: str, *, claim: str = UID) -> Ran:
    """Give what a refused run leaves: exit status 1 and one line."""
    return Ran(1, f"ibdra: claim {claim}: {reason}\n")


def answering(raw: bytes) -> Serve:
    """Make a daemon that listens to the end and then says this."""

    def serve(connection: socket.socket) -> None:
        request_from(connection)
        connection.sendall(raw)

    return serve


def test_it_tells_its_version(program: Path) -> None:
    """The version is the project's."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    version = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition('version = "')[2]
    assert f"ibdra-hook {version.partition(chr(34))[0]}\n" == done.stdout


@pytest.mark.skipif("IBDRA_HOOK_MAKE" in os.environ, reason="needs the build as it is shipped")
def test_it_needs_nothing_of_the_host(program: Path) -> None:
    """It is a static program: no interpreter, no library."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    assert "not a dynamic executable" in done.stderr + done.stdout


WRONG_ARGUMENTS = {
    "none": [],
    "no claim": ["attach"],
    "no nodes": ["attach", UID],
    "one too many": ["attach", UID, "-", "-"],
    "another verb": ["detach", UID, "-"],
    "empty claim": ["attach", "", "-"],
    "long claim": ["attach", "a" * 64, "-"],
    "claim as path": ["attach", "../x", "-"],
    "claim with a dot": ["attach", "a.b", "-"],
    "claim not ASCII": ["attach", "ä", "-"],
    "claim of two lines": ["attach", "a\n", "-"],
    "empty nodes": ["attach", UID, ""],
    "nodes as names": ["attach", UID, "uverbs0"],
    "half nodes": ["attach", UID, "231:"],
    "nodes with a comma more": ["attach", UID, "231:1,"],
    "nodes with blanks": ["attach", UID, "231:1, 231:2"],
    "nodes that would end the string": ["attach", UID, '231:1"'],
    "long number": ["attach", UID, "12345678901:1"],
    "too many nodes": ["attach", UID, ",".join(["231:1"] * 1000)],
    "unknown option": ["--verbose", "yes", "attach", UID, "-"],
    "option without value": ["--socket"],
    "relative socket": ["--socket", "hook.sock", "attach", UID, "-"],
    "long socket": ["--socket", "/" + "x" * 107, "attach", UID, "-"],
    "no deadline": ["--deadline", "0", "attach", UID, "-"],
    "deadline with a unit": ["--deadline", "5s", "attach", UID, "-"],
    "endless deadline": ["--deadline", "3601", "attach", UID, "-"],
}


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS.values(), ids=WRONG_ARGUMENTS)
def test_wrong_arguments_are_said_so(program: Path, arguments: list[str]) -> None:
    """Exit status 2 and a line with the usage, whatever the state is."""
    ran = run_program(str(program), *arguments, stdin=state_of(1))
    assert 2 == ran.code
    assert ran.err.startswith("ibdra-hook: ")
    assert ran.err.endswith(" attach CLAIM_UID NODES\n")
    assert 1 == ran.err.count("\n")


GOOD_ARGUMENTS = {
    "no nodes": [UID, "-"],
    "one node": [UID, "10:58"],
    "largest": ["a" * 63, ",".join(["231:1"] * 660)],
    "a dash first": ["-uid", "-"],
}


@pytest.mark.parametrize("arguments", GOOD_ARGUMENTS.values(), ids=GOOD_ARGUMENTS)
def test_the_daemon_gets_claim_nodes_and_state(helper: Helper, arguments: list[str]) -> None:
    """One JSON document: what the arguments say, and the state as the runtime wrote it."""
    claim, nodes = arguments
    got = []

    def serve(connection: socket.socket) -> None:
        got.append(request_from(connection))
        connection.sendall(YES)

    state = state_of(4711, annotations={"größe": 'a "b" \\ \n'})
    with hand_made(helper.socket, serve):
        assert Ran(0, "") == helper.run(state, claim=claim, nodes=nodes)
    request = {"version": 1, "claim": claim, "nodes": nodes, "state": json.loads(state)}
    assert request == json.loads(got[0])
    assert got[0].endswith(state + b"}")


BAD_STATES = {
    "empty": (b"", "is empty"),
    "blank": (b"\n", "is not JSON"),
    "not JSON": (b"state", "is not JSON"),
    "not UTF-8": (b'{"pid":1,"a":"\xff"}', "is not JSON"),
    "cut off": (state_of(1)[:-1], "is not JSON"),
    "two documents": (state_of(1) * 2, "is not JSON"),
    "a list": (b"[1]", "is not a JSON object"),
    "no pid": (b'{"id":"x"}', "names no pid"),
    "a nested pid": (b'{"process":{"pid":17},"x":"\\"pid\\":18"}', "names no pid"),
    "two pids": (b'{"pid":17,"pid":18}', "names two pids"),
    "two pids, one disguised": (b'{"pid":17,"p\\u0069d":18}', "names two pids"),
    "pid 0": (state_of(0), "names a pid that is none"),
    "pid below 0": (state_of(-1), "names a pid that is none"),
    "pid too big": (state_of(2**31), "names a pid that is none"),
    "pid as text": (b'{"pid":"17"}', "names a pid that is none"),
    "pid as a float": (b'{"pid":17.0}', "names a pid that is none"),
}


@pytest.mark.parametrize(("state", "problem"), BAD_STATES.values(), ids=BAD_STATES)
def test_a_bad_state_is_refused(helper: Helper, state: bytes, problem: str) -> None:
    """The daemon is not even asked."""
    assert refusal(f"the OCI state {problem}: {RUNTIME}") == helper.run(state)


def test_a_state_may_be_large(helper: Helper) -> None:
    """A MiB is read and handed on whole."""
    state = b'{"pid":1,"a":"' + b"x" * ((1 << 20) - 16) + b'"}'
    assert 1 << 20 == len(state)
    with hand_made(helper.socket, answering(YES)):
        assert Ran(0, "") == helper.run(state)


@pytest.mark.parametrize("size", [(1 << 20) + 1, 2 << 20], ids=["a byte more", "2 MiB"])
def test_a_state_may_not_be_larger(helper: Helper, size: int) -> None:
    """More is refused as soon as it is seen."""
    state = b'{"pid":1,"a":"' + b"x" * (size - 16) + b'"}'
    expected = "the OCI state has more than 1048576 bytes: remove annotations from the pod"
    assert refusal(expected) == helper.run(state)


def test_a_state_that_does_not_end_is_refused_in_time(helper: Helper) -> None:
    """A runtime that keeps the hook's standard input open gets an end too."""
    reading, writing = os.pipe()
    os.write(writing, b'{"pid":')
    began = time.monotonic()
    done = subprocess.run(
        helper.command(deadline=1), stdin=reading, capture_output=True, text=True, check=False
    )
    took = time.monotonic() - began
    os.close(reading)
    os.close(writing)
    assert 1 == done.returncode
    assert "the OCI state did not end within 1 s: look at the container runtime" in done.stderr
    assert 0.9 < took < 10


@pytest.mark.parametrize("fds", [(0,), (0, 1, 2)], ids=["no input", "nothing"])
def test_closed_standard_files_are_no_way_in(helper: Helper, fds: tuple[int, ...]) -> None:
    """Without an input the state is empty; nothing that is opened takes a standard place."""
    closing = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in fds)
    shell = shutil.which("sh")
    assert shell is not None
    done = subprocess.run(
        [shell, "-c", f'exec "$@" {closing}', "sh", *helper.command()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == done.returncode
    if 2 not in fds:
        assert "the OCI state is empty" in done.stderr


def test_no_daemon(helper: Helper) -> None:
    """No socket: the message says what is not there and what to do."""
    expected = (
        f"the ibdra daemon does not answer at {helper.socket} (no such file or directory): "
        "start it, the kubelet tries again"
    )
    assert refusal(expected) == helper.run(state_of(1))


def test_a_dead_daemon(helper: Helper) -> None:
    """A socket that nobody listens at: the same, with the kernel's other word."""
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(helper.socket))
    expected = (
        f"the ibdra daemon does not answer at {helper.socket} (connection refused): "
        "start it, the kubelet tries again"
    )
    assert refusal(expected) == helper.run(state_of(1))


def wait_for_the_end(connection: socket.socket) -> None:
    """Say nothing until the other end goes away."""
    request_from(connection)
    while True:  # until it fails: the other end went away
        connection.sendall(b" ")
        time.sleep(0.05)


def never_read(connection: socket.socket) -> None:
    """Read nothing until the other end goes away."""
    time.sleep(2)
    connection.recv(1)


@pytest.mark.parametrize(
    ("serve", "size"),
    [(wait_for_the_end, 100), (never_read, 1_000_000), (never_read, 100)],
    ids=["drip", "deaf to a large request", "deaf"],
)
def test_a_hung_daemon(helper: Helper, serve: Serve, size: int) -> None:
    """One deadline over everything: no byte now and then puts it off."""
    began = time.monotonic()
    with hand_made(helper.socket, serve):
        ran = helper.run(state_of(1, x="x" * size), deadline=1)
        took = time.monotonic() - began
    expected = (
        f"the ibdra daemon did not answer at {helper.socket} within 1 s: look at its log, "
        "the kubelet tries again"
    )
    assert refusal(expected) == ran
    assert 0.9 < took < 10


def test_a_daemon_that_takes_no_more_connections(helper: Helper) -> None:
    """Also the place in the queue is waited for no longer than the deadline."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(helper.socket))
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(helper.socket))
        began = time.monotonic()
        ran = helper.run(state_of(1), deadline=1)
        took = time.monotonic() - began
        waiting.close()
    assert 1 == ran.code
    assert "did not answer" in ran.err
    assert 0.9 < took < 10


NO_ANSWERS = {
    "closed at once": lambda _connection: None,
    "closed without a word": request_from,
    "closed while asked": lambda connection: connection.recv(1),
}


@pytest.mark.parametrize("size", [100, 1_000_000], ids=["small", "large"])
@pytest.mark.parametrize("serve", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_no_answer_is_a_refusal(helper: Helper, serve: Serve, size: int) -> None:
    """A daemon that dies meanwhile has not attached."""
    with hand_made(helper.socket, serve):
        assert refusal(NO_ANSWER) == helper.run(state_of(1, x="x" * size))


BAD_ANSWERS = {
    "text": b"yes",
    "half": YES[:-1],
    "two": YES + YES,
    "a list": b"[true]",
    "empty": b"{}",
    "no version": b'{"attached":true}',
    "another version": b'{"version":2,"attached":true}',
    "version as text": b'{"version":"1","attached":true}',
    "no verdict": b'{"version":1}',
    "verdict as text": b'{"version":1,"attached":"true"}',
    "verdict as number": b'{"version":1,"attached":1}',
    "two verdicts": b'{"version":1,"attached":false,"reason":"x","attached":true}',
    "nested verdict": b'{"version":1,"answer":{"attached":true}}',
    "no without a reason": b'{"version":1,"attached":false}',
    "reason is none": b'{"version":1,"attached":false,"reason":7}',
    "not UTF-8": b'{"version":1,"attached":true,"x":"\xff"}',
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_a_bad_answer_is_a_refusal(helper: Helper, answer: bytes) -> None:
    """Nothing but a well-formed yes starts a container."""
    with hand_made(helper.socket, answering(answer)):
        ran = helper.run(state_of(1))
    assert 1 == ran.code
    assert ran.err.startswith(f"ibdra: claim {UID}: {NOT_UNDERSTOOD} (")
    assert 1 == ran.err.count("\n")


def test_an_endless_answer_is_a_refusal(helper: Helper) -> None:
    """It is read up to a bound."""
    with hand_made(helper.socket, answering(YES + b" " * 70_000)):
        expected = "the ibdra daemon's answer has more than 65536 bytes: look at its log"
        assert refusal(expected) == helper.run(state_of(1))


def test_a_yes_to_half_a_question_is_none(helper: Helper) -> None:
    """Who has not heard the whole request cannot have attached."""

    def hasty(connection: socket.socket) -> None:
        connection.sendall(YES)
        connection.recv(1)

    with hand_made(helper.socket, hasty):
        assert 1 == helper.run(state_of(1, x="x" * 1_000_000)).code


def test_a_no_to_half_a_question_is_heard(helper: Helper) -> None:
    """A daemon that does not want to listen to the end can say why."""

    def hasty(connection: socket.socket) -> None:
        connection.sendall(b'{"version":1,"attached":false,"reason":"not you"}')
        connection.recv(1)

    with hand_made(helper.socket, hasty):
        assert refusal("not you") == helper.run(state_of(1, x="x" * 1_000_000))


REASONS = {
    "plain": ("mlx5_0 is busy: wait", "mlx5_0 is busy: wait"),
    "quotes": ('"a" \\ b', '"a" \\ b'),
    "other letters": ("größe € 😀", "größe € 😀"),
    "format": ("%s%n%d", "%s%n%d"),
    "controls": ("a\nb\tc\x1b[31md\x00e\x7ff\x9bg", "a b c [31md e f g"),
    "directions": ("a\u2028b\u202ec\u2066d", "a b c d"),
    "half a pair": ("a\ud83d", "a\N{REPLACEMENT CHARACTER}"),
}


@pytest.mark.parametrize(("reason", "shown"), REASONS.values(), ids=REASONS)
def test_a_reason_is_one_harmless_line(helper: Helper, reason: str, shown: str) -> None:
    """Escapes become what they stand for, and what a terminal would act on becomes a space."""
    answer = {"version": 1, "attached": False, "reason": reason}
    with hand_made(helper.socket, answering(json.dumps(answer).encode())):
        assert refusal(shown) == helper.run(state_of(1))


def test_a_reason_may_be_without_escapes(helper: Helper) -> None:
    """UTF-8 as it is, and what a terminal would act on in it."""
    raw = '{"version":1,"attached":false,"reason":"größe € 😀\x7f\u202e\x9b!"}'.encode()
    with hand_made(helper.socket, answering(raw)):
        assert refusal("größe € 😀   !") == helper.run(state_of(1))


def test_a_long_reason_is_cut(helper: Helper) -> None:
    """At a character's end, with three dots; a kubelet's event has no room for more."""
    answer = {"version": 1, "attached": False, "reason": "€" * 3000}
    with hand_made(helper.socket, answering(json.dumps(answer).encode())):
        ran = helper.run(state_of(1))
    assert refusal("€" * 665 + "...") == ran


def test_what_it_does_not_know_in_an_answer_is_passed_over(helper: Helper) -> None:
    """A later daemon may say more."""
    raw = b'{"version":1,"more":{"attached":false},"attached":true,"reason":null}'
    with hand_made(helper.socket, answering(raw)):
        assert Ran(0, "") == helper.run(state_of(1))
