"""Watches: events however they are cut, ends that say so, and a close that wakes the reader."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from contract.kube.conftest import Client, MakeClient
from contract.kube.hostile_server import (
    END,
    PATIENCE,
    Act,
    HostileServer,
    Json,
    Talk,
    chunk,
    connections_to,
    hangs,
    head,
    kubeconfig,
    refuses,
    says,
    sends,
    watches,
)
from ibdra_adapters.kube import answers, client
from ibdra_adapters.kube.client import KubeClient
from ibdra_adapters.kube.server import ServerSlices, ServerSliceWatch
from ibdra_domain.errors import KubeFailed, KubeUnavailable
from ibdra_domain.ports.kube import SliceChange, SliceEvent

LISTED: Json = {"metadata": {"resourceVersion": "7"}, "items": []}
BEGUN = head(200, None, Transfer_Encoding="chunked")


def a_slice(name: str, **fields: object) -> Json:
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": name}, "spec": {"driver": "d", "pool": pool}, **fields}


def event(kind: str, name: str = "a", **fields: object) -> bytes:
    return json.dumps({"type": kind, "object": a_slice(name, **fields)}).encode() + b"\n"


def watch(kube: KubeClient) -> ServerSliceWatch:
    return ServerSlices(kube, driver="d", node="n").watch()


def seen_by(events: Iterator[SliceEvent]) -> list[tuple[SliceChange, str]]:
    """Give what came until the server ended it."""
    seen = []
    try:
        for one in events:
            seen.append((one.change, one.slice.metadata.name))  # noqa: PERF401 -- kept if it raises
    except KubeUnavailable:
        return seen
    raise AssertionError("a watch that ended must say so")


def test_begins_where_the_list_ended(server: HostileServer, there: Client) -> None:
    """What is there comes first; then what came after that list."""
    listed = {**LISTED, "items": [a_slice("b"), a_slice("a")]}
    server.does(says(200, listed), watches(event("DELETED", "b")))
    expected = [(SliceChange.ADDED, "a"), (SliceChange.ADDED, "b"), (SliceChange.DELETED, "b")]
    assert expected == seen_by(watch(there.kube))
    assert "resourceVersion=7" in server.requests[1].target
    assert "allowWatchBookmarks=true" in server.requests[1].target
    assert [("GET", "200"), ("WATCH", "200")] == there.seen


@pytest.mark.parametrize(("luck", "seconds"), [(0.0, 324), (1.0, 540)])
def test_watches_of_one_moment_do_not_end_in_one(
    server: HostileServer, there: Client, luck: float, seconds: int
) -> None:
    """Each asks for a length of its own, or a restarted server had all agents back for ever."""
    there.luck = luck
    server.does(says(200, LISTED), watches())
    seen_by(watch(there.kube))
    assert f"timeoutSeconds={seconds}" in server.requests[1].target


TWO = event("ADDED", "a") + event("MODIFIED", "b")


@pytest.mark.parametrize(
    "pieces",
    [
        [TWO],
        [TWO[:5], TWO[5:70], TWO[70:]],
        [TWO[i : i + 1] for i in range(len(TWO))],
        [TWO[:-1], TWO[-1:]],
        [b"\n\n" + TWO.replace(b"\n", b"\n\n") + b" \n"],
        [event("BOOKMARK", "x"), TWO, event("NOVELTY", "y")],
        [b'{"type": "BOOKMARK", "object": {"kind": "ResourceSlice"}}\n', TWO],
    ],
    ids=["one chunk", "three", "bytes", "newline apart", "blank lines", "other types", "bookmark"],
)
def test_events_are_lines_however_they_come(
    server: HostileServer, there: Client, pieces: list[bytes]
) -> None:
    """Chunks are the network's; what is no change of a slice is passed over."""
    server.does(says(200, LISTED), watches(*pieces))
    expected = [(SliceChange.ADDED, "a"), (SliceChange.MODIFIED, "b")]
    assert expected == seen_by(watch(there.kube))


def test_a_long_event_is_read(server: HostileServer, there: Client) -> None:
    """A line of 1 MiB, in small chunks."""
    line = event("ADDED", "long", novelty="x" * (1 << 20))
    pieces = [line[i : i + 1000] for i in range(0, len(line), 1000)]
    server.does(says(200, LISTED), watches(*pieces))
    assert [(SliceChange.ADDED, "long")] == seen_by(watch(there.kube))


def test_a_line_without_end_is_not_kept(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends the watch before it fills the memory."""
    monkeypatch.setattr(answers, "LONGEST", 100_000)
    server.does(says(200, LISTED), watches(*[b"x" * 60_000] * 2))
    with pytest.raises(KubeFailed, match="longer than 100000 bytes"):
        next(watch(there.kube))


def test_an_event_is_seen_when_it_is_sent(server: HostileServer, there: Client) -> None:
    """Nothing waits for more, with chunks or without."""
    raw = head(200, None) + event("ADDED", "b")
    server.does(says(200, LISTED), hangs(BEGUN + chunk(event("ADDED", "a"))))
    first = watch(there.kube)
    server.does(says(200, LISTED), hangs(raw))
    second = watch(there.kube)
    assert ["a", "b"] == [next(one).slice.metadata.name for one in (first, second)]
    for one in (first, second):
        one.close()
        assert [] == list(one)


ENDS: dict[str, Act] = {
    "as it should": watches(event("ADDED")),
    "in a line": watches(event("ADDED"), event("ADDED", "b")[:20]),
    "without the last chunk": watches(event("ADDED"), then=b""),
    "in a chunk": watches(event("ADDED"), then=b"ff\r\n{"),
    "in a chunk's length": watches(event("ADDED"), then=b"f"),
    "with nonsense": watches(event("ADDED"), then=b"what?\r\n"),
    "without chunks": sends(head(200, None) + event("ADDED") + b'{"type'),
    "with 410": watches(
        event("ADDED"),
        json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410}}).encode() + b"\n",
    ),
}


@pytest.mark.parametrize("act", ENDS.values(), ids=ENDS)
def test_a_watch_that_ends_says_so(server: HostileServer, there: Client, act: Act) -> None:
    """Whoever follows knows that he must begin again; what came before counts."""
    server.does(says(200, LISTED), act)
    assert [(SliceChange.ADDED, "a")] == seen_by(watch(there.kube))


def test_a_silent_watch_is_given_up(
    server: HostileServer, there: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server sends bookmarks now and then; without any it is gone."""
    monkeypatch.setattr(client, "SILENCE", 0.5)
    server.does(says(200, LISTED), hangs(BEGUN + chunk(event("ADDED"))))
    assert [(SliceChange.ADDED, "a")] == seen_by(watch(there.kube))


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"nonsense\n", "_Seen from the API server is not understood"),
        (b"[]\n", "not understood"),
        (b'{"type": "ADDED"}\n', "not understood"),
        (b'{"type": "ADDED", "object": {}}\n', "ResourceSlice from the API server is not"),
        (b'{"type": "ADDED", "object": ' + b"[" * 100_000 + b"\n", "not understood"),
    ],
)
def test_an_event_of_nonsense_is_our_error(
    server: HostileServer, there: Client, line: bytes, text: str
) -> None:
    """And the connection is closed."""
    server.does(says(200, LISTED), hangs(BEGUN + chunk(line)))
    with pytest.raises(KubeFailed, match=text):
        next(watch(there.kube))
    there.kube.close()
    assert 0 == connections_to(server.port)


def test_a_version_that_is_forgotten_is_unavailable(server: HostileServer, there: Client) -> None:
    """Status 410 at the beginning is the same as in an event."""
    server.does(says(200, LISTED), refuses(410, "too old resource version"))
    with pytest.raises(KubeUnavailable, match=r"WATCH .*: 410, too old resource version"):
        watch(there.kube)
    assert ("WATCH", "410") == there.seen[-1]


def test_a_watch_begins_after_some_trouble(server: HostileServer, there: Client) -> None:
    """Opening one is tried again as any call is."""
    server.does(says(200, LISTED), refuses(503, "busy"), sends(b""), watches(event("ADDED")))
    assert [(SliceChange.ADDED, "a")] == seen_by(watch(there.kube))
    assert ["200", "503", "unreachable", "200"] == [status for _, status in there.seen]


class Reader:
    """Reads a watch in a thread of its own, to its end."""

    def __init__(self, events: Iterator[SliceEvent]) -> None:
        self.seen: Queue[str] = Queue()
        self._events = events
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ended(self) -> str:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.seen.get_nowait()

    def _run(self) -> None:
        try:
            for one in self._events:
                self.seen.put(one.slice.metadata.name)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the test must see it
            self.seen.put(repr(error))
        else:
            self.seen.put("the end")


def closing_wakes(server: HostileServer, kube: KubeClient, *, quiet: float) -> None:
    """Watch, wait until an event came, close from here."""
    server.does(says(200, LISTED), hangs(BEGUN + chunk(event("ADDED", "a"))))
    watched = watch(kube)
    reader = Reader(watched)
    assert "a" == reader.seen.get(timeout=PATIENCE)
    time.sleep(quiet)
    began = time.monotonic()
    watched.close()
    assert "the end" == reader.ended()
    assert time.monotonic() - began < 1
    watched.close()
    assert [] == list(watched)


@pytest.mark.parametrize("quiet", [0, 0.1], ids=["at once", "while it waits"])
def test_closing_wakes_the_reader(server: HostileServer, there: Client, quiet: float) -> None:
    """From another thread, at any moment, and a second time for nothing."""
    for _ in range(5):
        closing_wakes(server, there.kube, quiet=quiet)
    there.kube.close()
    assert 0 == connections_to(server.port)


@pytest.mark.parametrize("items", [[], [a_slice("a")]], ids=["empty", "listed"])
def test_closed_before_it_was_read(server: HostileServer, there: Client, items: list[Json]) -> None:
    """Nothing comes, not even what was listed, and no connection is left."""
    listed = {**LISTED, "items": items}
    server.does(says(200, listed), hangs(BEGUN + chunk(event("ADDED", "b"))))
    watched = watch(there.kube)
    watched.close()
    watched.close()
    assert [] == list(watched)
    there.kube.close()
    assert 0 == connections_to(server.port)


def test_nothing_comes_after_the_close(server: HostileServer, there: Client) -> None:
    """What was read already, but not asked for, is dropped."""
    server.does(says(200, LISTED), hangs(BEGUN + chunk(TWO)))
    watched = watch(there.kube)
    next(watched)
    watched.close()
    assert [] == list(watched)


def test_closed_after_the_end(server: HostileServer, there: Client) -> None:
    """Closing what has ended by itself does nothing."""
    server.does(says(200, LISTED), watches(event("ADDED")))
    watched = watch(there.kube)
    seen_by(watched)
    watched.close()


def test_closing_what_has_ended_cuts_off_nobody(server: HostileServer, there: Client) -> None:
    """The connection of a watch that ended well serves others by then."""

    def ends_well(talk: Talk) -> None:
        talk.send(BEGUN + chunk(event("ADDED")) + END)

    server.does(says(200, LISTED), ends_well, says(200))
    watched = watch(there.kube)
    seen_by(watched)
    there.kube.call("GET", "/x")
    watched.close()
    there.kube.call("GET", "/x")
    assert [4, 1] == [len(server.requests), server.connections]
    assert {"200"} == {status for _, status in there.seen}


def test_abandoned_watches_leave_no_connection(server: HostileServer, there: Client) -> None:
    """Fifty that broke hold no socket, without the garbage collector's help."""
    gc.disable()
    try:
        for act in ENDS.values():
            for _ in range(7):
                server.does(says(200, LISTED), act)
                seen_by(watch(there.kube))
        there.kube.close()
        assert 0 == connections_to(server.port)
    finally:
        gc.enable()


def test_an_identity_that_was_rotated_opens_watches_too(
    server: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """The first refusal is not the last word."""
    token = tmp_path / "token"
    token.write_text("old", encoding="utf-8")
    config = kubeconfig(tmp_path / "config", server.url, user={"tokenFile": str(token)})
    there = make_client(config)
    token.write_text("new", encoding="utf-8")
    server.does(refuses(401, "Unauthorized"), watches(event("ADDED")))
    with pytest.raises(KubeUnavailable, match="ended it"):
        list(there.kube.stream("/x", query={}).lines())
    assert ["Bearer old", "Bearer new"] == [seen.token for seen in server.requests]
