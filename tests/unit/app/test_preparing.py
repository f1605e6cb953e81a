from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from pytest_mock import MockerFixture

from ibdra_app.under_way import UnderWay
from ibdra_domain.errors import CdiFailed, ClaimRefused, KubeUnavailable
from ibdra_domain.kube_objects import ResourceClaim
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.kube import Claims
from unit.app.app_node import (
    OTHER_VF,
    PF,
    PORT_1,
    PORT_2,
    VF,
    Node,
    ib_config,
    refusals,
    running_node,
)


def test_a_prepared_claim_has_a_spec_a_record_and_an_answer(node: Node) -> None:
    """A claim's answer names the CDI device that its spec file holds."""
    claim = node.claim(VF)

    (answer,) = node.prepare(claim)

    assert isinstance(answer, tuple)
    spec = node.spec(claim)
    assert (f"{spec['kind']}={spec['devices'][0]['name']}",) == answer[0].cdi_ids
    assert [f"cdi/ib.sigs.k8s.io_{claim.uid}.json", f"state/{claim.uid}.json"] == node.files()


def test_preparing_twice_gives_the_same_answer_and_writes_nothing(node: Node) -> None:
    """The kubelet's second try is answered from the record, without the API server."""
    claim = node.claim(VF)
    first = node.prepare(claim)
    spec, calls = node.spec(claim), list(node.api.calls)

    second = node.prepare(claim)

    assert first == second
    assert spec == node.spec(claim)
    assert calls == node.api.calls


def test_unpreparing_leaves_nothing_and_can_be_repeated(node: Node) -> None:
    """Unprepare removes spec and record; again, or never prepared, it is a success."""
    claim = node.prepared(VF)
    stranger = ClaimRef(namespace="jobs", name="never", uid="0" * 8)

    assert [None] == node.unprepare(claim)
    assert [None, None] == node.unprepare(claim, stranger)
    assert [] == node.files()


BAD: dict[str, tuple[Callable[[Node], ClaimRef], str]] = {
    "not allocated": (lambda n: n.claim(VF, allocated=False), "is not allocated"),
    "another node's pool": (lambda n: n.claim(VF, pool="node-b"), "from pool node-b"),
    "a device we do not have": (lambda n: n.claim("pci-0000-99-00-0-port1"), "is not on this node"),
    "the same device twice": (lambda n: n.claim(VF, VF), "is allocated twice"),
    "a config that does not decode": (
        lambda n: n.claim(VF, config=ib_config(mtu="big")),
        "mtu is the text 'big'",
    ),
    "an unknown field": (
        lambda n: n.claim(VF, config=ib_config(vlan=3)),
        "'vlan' is not a field of IbConfig",
    ),
    "a pkey not in the table": (
        lambda n: n.claim(VF, config=ib_config(pkey=0x8002)),
        "pkey 0x8002 is not in the partition table of mlx5_0v0 port 1 (0x7fff, 0x8001)",
    ),
    "an MTU above the port's": (
        lambda n: n.claim(PORT_1, config=ib_config(mtu=4096)),
        "mtu 4096 is above the active MTU of mlx4_0 port 1 (2048)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_claim_is_refused_alone_and_leaves_nothing(node: Node, case: str) -> None:
    """A claim that cannot be prepared names its cause; the other claim of the call succeeds."""
    make, expected = BAD[case]
    bad, good = make(node), node.claim(OTHER_VF)
    before = node.snapshot()

    answers = node.prepare(bad, good)

    assert expected in "\n".join(refusals(answers))
    assert isinstance(answers[1], tuple)
    assert [None] == node.unprepare(good)
    assert [] == node.files()
    assert before == node.snapshot()


def test_a_claim_that_is_gone_or_made_anew_is_refused(node: Node) -> None:
    """A deleted claim, and one with another UID, are not prepared for the old pod."""
    gone, anew = node.claim(VF), node.claim(OTHER_VF)
    node.api.delete("ResourceClaim", gone.namespace, gone.name)
    stale = ClaimRef(namespace=anew.namespace, name=anew.name, uid="old-uid")

    texts = refusals(node.prepare(gone, stale))

    assert "is gone from the API server" in texts[0]
    assert "the kubelet asks for old-uid" in texts[1]
    assert [] == node.files()


@pytest.mark.parametrize(
    ("holder", "other"),
    [(VF, VF), (PF, VF), (VF, PF), (PORT_1, PORT_2)],
    ids=["same VF", "VF of a held PF", "PF of a held VF", "sibling port"],
)
def test_one_hca_has_one_holder(node: Node, holder: str, other: str) -> None:
    """Whatever the scheduler thought, hardware that a claim holds is refused by its name."""
    held = node.prepared(holder)
    second = node.claim(other)

    (text,) = refusals(node.prepare(second))

    assert f"is held by claim jobs/{held.name}" in text
    assert [None] == node.unprepare(held)
    assert [] == refusals(node.prepare(second))


def test_admin_access_goes_beside_a_holder_and_gets_management_nodes(node: Node) -> None:
    """Admin access to a held PF is prepared, with umad and issm, and without a hook."""
    node.prepared(PF)

    admin = node.prepared(PF, admin=True)

    spec = node.spec(admin)
    paths = [n["path"] for n in spec["devices"][0]["containerEdits"]["deviceNodes"]]
    assert ["uverbs0", "umad0", "issm0"] == [path.rsplit("/", 1)[1] for path in paths]
    assert "hooks" not in spec["containerEdits"]


def test_without_the_api_server_old_claims_answer_and_new_ones_say_why(node: Node) -> None:
    """An API server that does not answer costs only claims that are not prepared yet."""
    old, new = node.prepared(VF), node.claim(OTHER_VF)
    node.api.fail_next = 1

    answers = node.prepare(old, new)

    assert isinstance(answers[0], tuple)
    assert isinstance(answers[1], KubeUnavailable)
    assert isinstance(node.prepare(new)[0], tuple)


@pytest.mark.parametrize("folder", ["cdi", "state"])
def test_a_folder_that_cannot_be_written_fails_the_claim_without_a_trace(
    node: Node, folder: str
) -> None:
    """When a file cannot be written the claim is refused and what was written is taken back."""
    claim = node.claim(VF)
    blocked = node.folder / folder
    if blocked.exists():
        blocked.rmdir()
    blocked.write_text("a file where a folder should be")

    (text,) = refusals(node.prepare(claim))

    assert str(blocked) in text
    blocked.unlink()
    assert [] == node.files()
    assert isinstance(node.prepare(claim)[0], tuple)


def test_a_lost_spec_is_written_again(node: Node) -> None:
    """A prepared claim whose spec file is gone (tmpfs) gets it back at the next prepare."""
    claim = node.prepared(VF)
    spec = node.spec(claim)
    (node.folder / "cdi" / f"ib.sigs.k8s.io_{claim.uid}.json").unlink()

    node.prepare(claim)

    assert spec == node.spec(claim)


def test_a_try_that_comes_late_does_not_undo_the_faster_one(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    """While one call waits for the API server another prepares and attaches: that one stands."""
    with running_node(tmp_path, profile="azure-nd-h100-v5") as node:
        claim = node.claim("pci-0101-00-00-0-port1")
        claims: Claims = node.container.kube().claims
        get = claims.get

        def slowly(namespace: str, name: str) -> ResourceClaim:
            mocker.stopall()
            node.prepare(claim)
            node.attach(claim, node.kernel.start_process())
            return get(namespace, name)

        mocker.patch.object(claims, "get", side_effect=slowly)

        (answer,) = node.prepare(claim)

        record = node.container.ledger().get(claim.uid)
        assert isinstance(answer, tuple)
        assert record is not None
        assert record.attachment is not None


class SlowServer:
    """An API server whose answer to the first question is held back."""

    def __init__(self, node: Node, mocker: MockerFixture) -> None:
        self.asked, self.go_on = Event(), Event()
        self.questions = 0
        claims: Claims = node.container.kube().claims
        self._get = claims.get
        mocker.patch.object(claims, "get", side_effect=self.get)

    def get(self, namespace: str, name: str) -> ResourceClaim:
        self.questions += 1
        body = self._get(namespace, name)
        if self.questions == 1:
            self.asked.set()
            assert self.go_on.wait(60)
        return body


def test_a_claim_that_was_unprepared_meanwhile_is_not_prepared(
    node: Node, mocker: MockerFixture
) -> None:
    """The call that the kubelet gave up writes nothing, and the device is free."""
    claim, server = node.claim(VF), SlowServer(node, mocker)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(node.prepare, claim)
        assert server.asked.wait(60)
        assert [None] == node.unprepare(claim)
        server.go_on.set()
        (answer,) = late.result(60)

    assert isinstance(answer, ClaimRefused)
    assert f"claim {claim} was unprepared while it was being prepared: wait" in str(answer)
    assert [] == node.files()
    assert isinstance(node.prepare(node.claim(VF))[0], tuple)


def test_a_calls_last_claim_is_unprepared_before_its_turn(
    node: Node, mocker: MockerFixture
) -> None:
    """It waited for the claims before it, and is not even asked about; the first one stands."""
    first, last, server = node.claim(VF), node.claim(OTHER_VF), SlowServer(node, mocker)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(node.prepare, first, last)
        assert server.asked.wait(60)
        node.unprepare(last)
        server.go_on.set()
        answers = late.result(60)

    assert isinstance(answers[0], tuple)
    assert "was unprepared while it was being prepared" in str(answers[1])
    assert 1 == server.questions
    assert {first.uid} == set(node.container.ledger().all())


def test_a_newer_prepare_is_not_taken_for_the_one_that_was_unprepared(
    node: Node, mocker: MockerFixture
) -> None:
    """The kubelet asks anew: that call prepares, and the old one ends with the same answer."""
    claim, server = node.claim(VF), SlowServer(node, mocker)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(node.prepare, claim)
        assert server.asked.wait(60)
        node.unprepare(claim)
        (newer,) = node.prepare(claim)
        server.go_on.set()
        assert [newer] == late.result(60)

    assert isinstance(newer, tuple)
    assert [f"cdi/ib.sigs.k8s.io_{claim.uid}.json", f"state/{claim.uid}.json"] == node.files()


def test_an_unprepare_that_fails_ends_the_older_prepare_too(
    node: Node, mocker: MockerFixture
) -> None:
    """The kubelet will repeat it; nothing may be prepared in between."""
    claim, server = node.claim(VF), SlowServer(node, mocker)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(node.prepare, claim)
        assert server.asked.wait(60)
        broken = CdiFailed("no", remedy="mend it")
        mocker.patch.object(node.container.cdi(), "remove", side_effect=broken)
        assert ["no: mend it"] == refusals(node.unprepare(claim))
        server.go_on.set()
        assert 1 == len(refusals(late.result(60)))

    assert [] == node.files()


def test_calls_that_have_ended_are_not_kept() -> None:
    """Whatever they ended in; each call knows only what was unprepared while it lasted."""
    under_way = UnderWay()
    with under_way.call(["a", "b"]) as older:
        under_way.revoke("a")
        with under_way.call(["a"]) as newer:
            under_way.revoke("c")
        assert [True, False, False, False] == [
            older.is_revoked("a"),
            older.is_revoked("b"),
            older.is_revoked("c"),
            newer.is_revoked("a"),
        ]
        assert 1 == len(under_way)
        with contextlib.suppress(KeyError), under_way.call(["b"]):
            raise KeyError
        assert 1 == len(under_way)
    assert 0 == len(under_way)
