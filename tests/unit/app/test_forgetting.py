"""Claims that are gone do not keep their devices until the next start."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ibdra_domain.errors import StateFailed
from ibdra_domain.ports.driver import ClaimRef
from unit.app.app_node import OTHER_VF, PORT_1, VF, Node, running_node
from unit.app.test_daemon import eventually, running


@pytest.fixture
def node() -> Iterator[Node]:
    """Start a node in a folder whose path leaves room for sockets' names."""
    with TemporaryDirectory(prefix="ib") as folder, running_node(Path(folder)) as started:
        yield started


def delete(node: Node, claim: ClaimRef) -> None:
    """Delete a claim, as a human does who forces it."""
    node.api.delete("ResourceClaim", claim.namespace, claim.name)


async def test_an_agent_that_runs_frees_what_nobody_will_unprepare(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pods that run and claims that wait keep theirs; an API server that is away is no end."""
    monkeypatch.setattr("ibdra_app.forgetting.EVERY", 0.02)
    used, waiting = node.prepared(OTHER_VF), node.prepared(PORT_1)
    node.attach(used, node.kernel.start_process())
    delete(node, used)
    async with running(node.container.daemon()):
        await node.container.daemon().ready.wait()
        orphan = node.prepared(VF)
        await asyncio.sleep(0.1)
        assert {used.uid, waiting.uid, orphan.uid} == set(node.container.ledger().all())
        delete(node, orphan)
        node.api.fail_next = 5
        await eventually(lambda: orphan.uid not in node.container.ledger().all())
        await asyncio.sleep(0.1)
        assert {used.uid, waiting.uid} == set(node.container.ledger().all())
        assert isinstance(node.prepare(node.claim(VF))[0], tuple)


def test_what_another_process_wrote_last_is_forgotten_too(node: Node) -> None:
    """Its late prepare came after our unprepare, and it is gone by now."""
    ours = node.restarted()
    claim = node.claim(VF)
    assert [None] == ours.unprepare(claim)
    assert isinstance(node.prepare(claim)[0], tuple)
    delete(node, claim)
    assert {} == ours.container.ledger().all()

    ours.container.forgetting().look()

    assert [] == node.files()


def test_records_that_cannot_be_read_are_no_end(
    node: Node, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, nothing is forgotten, and the next round comes."""
    ours = node.restarted()
    claim = node.prepared(VF)
    delete(node, claim)
    with monkeypatch.context() as patched:
        broken = StateFailed("the disk is away", remedy="mend it")
        patched.setattr(ours.container.ledger(), "load", lambda: (_ for _ in ()).throw(broken))
        ours.container.forgetting().look()
    assert "claims that are gone were not looked for: the disk is away: mend it" in caplog.text
    assert [] != node.files()
    ours.container.forgetting().look()
    assert [] == node.files()
