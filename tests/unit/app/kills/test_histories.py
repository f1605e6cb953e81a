"""Any history of a node: whatever goes wrong, nothing is lost, and in the end all is as before."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ibdra_domain.errors import IbdraError
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import NetnsId
from ibdra_domain.records import Phase
from unit.app.app_node import ib_config
from unit.app.kills.blade import Moment, Refusal, Step
from unit.app.kills.history import Harm, History, void
from unit.app.kills.kinds import FULL, OTHER_VF, PORT_1, PORT_2, VF
from unit.app.kills.site import Kind

DEVICES = {
    VF: "mlx5_0v0",
    OTHER_VF: "mlx5_0v1",
    "pci-0000-19-00-0-port1": "mlx5_9",
    PORT_1: "mlx4_0",
    PORT_2: "mlx4_0",
    "pci-0000-3b-00-0-port1": "mlx5_0",
}
KINDS = {
    "newer": Kind("exclusive", follows=True, devices=(), config=None),
    "older": Kind("exclusive", follows=False, devices=(), config=None),
    "shared": Kind("shared", follows=False, devices=(), config=None),
}
RDMA = sorted(set(DEVICES.values()))
moments = st.sampled_from(list(Moment))
kills = st.builds(Step, st.integers(0, 12) | st.integers(0, 90), st.just(""), moments)
codes = st.sampled_from([errno.EBUSY, errno.EPERM, errno.EINVAL, errno.ENODEV])
times = st.sampled_from([1, 2, 40])
refusals = st.builds(Refusal, st.integers(0, 5) | st.integers(0, 40), codes, times)
harms = st.none() | kills | refusals
picks = st.integers(0, 9)
devices = st.lists(st.sampled_from(list(DEVICES)), min_size=1, max_size=3, unique=True)
configs = st.sampled_from([None, FULL, ib_config(mtu=2048), ib_config(trafficClass=7)])


class Histories(RuleBasedStateMachine):
    """The kubelet, the runtime, the kernel, people and the driver's death, in any order."""

    kind: Kind

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        base = memory if memory.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="ibdra-history-", dir=base))
        self.site = History(self.folder, self.kind)
        self.site.next_driver()
        self.claims: list[ClaimRef] = []
        self.deleted: list[ClaimRef] = []

    def _some(self) -> bool:
        """Tell whether there is a claim."""
        return self._count() > 0

    def _several(self) -> bool:
        """Tell whether there are claims enough to end one."""
        return self._count() > 2

    def _few(self) -> bool:
        """Tell whether there is room for another claim."""
        return self._count() < 5

    def _count(self) -> int:
        return len(self.site.node.container.ledger().all())

    def _attached(self) -> bool:
        """Tell whether one is attached."""
        return any(self.site.place_of(c) for c in self.claims)

    def _pick(self, number: int, *, attached: bool = False) -> ClaimRef | None:
        """Choose among the claims that the driver knows, or those that are attached."""
        known = [c for c in self.claims if self.site.record(c)]
        if attached:
            known = [c for c in known if self.site.place_of(c)]
        return known[number % len(known)] if known else None

    def _netns(self, number: int) -> NetnsId:
        """Choose among the pods that run, or start one more."""
        kernel = self.site.kernel
        alive = sorted({n for n in kernel.processes.values() if n != kernel.init_netns}, key=str)
        if number < len(alive):
            return alive[number]
        return kernel.processes[kernel.start_process()]

    @precondition(_few)
    @rule(
        wanted=devices,
        config=configs,
        harm=harms,
        away=st.sampled_from([False, False, True]),
        any_=st.sampled_from([False, False, False, True]),
    )
    def prepare(
        self, wanted: list[str], config: object, harm: Harm, *, away: bool, any_: bool
    ) -> None:
        """Have a claim allocated and prepared; after a kill or a failure it is asked again."""
        site = self.site
        if not any_:  # a scheduler that knows what is free and there
            wanted = [w for w in wanted if not site.is_taken(DEVICES[w])]
        if not wanted:
            return
        claim = site.node.claim(*wanted, config=config)
        self.claims.append(claim)
        site.api.fail_next = int(away)
        site.do(lambda: self._prepare(claim), harm)
        site.api.fail_next = 0
        first = site.do(lambda: self._prepare(claim), None)
        assert any_ or first is None or "is allocated" in str(first) or "pkey" in str(first)
        assert str(first) == str(site.do(lambda: self._prepare(claim), None))

    def _prepare(self, claim: ClaimRef) -> None:
        (answer,) = self.site.node.prepare(claim)
        if isinstance(answer, IbdraError):
            raise answer

    @precondition(_some)
    @rule(claim=picks, pod=picks, harm=harms)
    def start_container(self, claim: int, pod: int, harm: Harm) -> None:
        """Start a container; unharmed, and with its devices there, it gets all it asked for."""
        picked = self._pick(claim)
        if picked is not None:
            self._start(picked, self._netns(pod), harm)

    @precondition(_attached)
    @rule(claim=picks, harm=harms)
    def start_another_container(self, claim: int, harm: Harm) -> None:
        """Start one more container of a pod, after whatever happened to its devices."""
        picked = self._pick(claim, attached=True)
        place = self.site.place_of(picked) if picked else None
        if picked is not None and place in self.site.kernel.processes.values():
            assert place is not None
            self._start(picked, place, harm)

    def _start(self, claim: ClaimRef, netns: NetnsId, harm: Harm) -> None:
        site = self.site
        held = site.is_held_elsewhere(claim, netns)
        record = site.record(claim)
        on_host = record is not None and record.on_host_network
        outcome = site.do(lambda: site.start_container(claim, netns), harm)
        if outcome is None:
            site.unseen.discard(claim.uid)
        if held:
            assert outcome is not None
            assert harm is not None or "is attached to" in str(outcome)
        elif on_host:
            assert outcome is not None
            assert harm is not None or "by a pod on the host's network" in str(outcome)
        elif harm is None and not site.rdma_of(claim) & site.gone:
            assert outcome is None
            assert claim.uid in site.fake_marks.marks
            assert netns == site.place_of(claim)

    @precondition(_attached)
    @rule(claim=picks, delay=st.sampled_from([0.0, 0.1]))
    def end_pod(self, claim: int, delay: float) -> None:
        """End a sandbox and all in it; the kernel may take its time to clean up."""
        picked = self._pick(claim, attached=True)
        if picked is not None:
            self.site.kernel.return_delay = delay
            self.site.end_namespace(self.site.place_of(picked))

    @precondition(_attached)
    @rule(harm=harms, later=st.booleans())
    def bring_home(self, harm: Harm, *, later: bool) -> None:
        """Do what the daemon does when something has changed on the machine."""
        site = self.site
        if later:
            site.kernel.let_time_pass(1.0)
            site.kernel.let_time_pass(1.0)
        complete: list[bool] = []
        site.do(lambda: complete.append(site.node.container.detaching().bring_home()), harm)
        if later and harm is None and not site.gone:
            assert complete == [True]
            left = [r.attachment for r in site.node.container.ledger().all().values()]
            assert all(a is None or a.phase is Phase.DONE for a in left)
            assert all(a is None or site.kernel.alive(a.netns) for a in left)

    @precondition(_several)
    @rule(claim=picks, harm=harms)
    def unprepare(self, claim: int, harm: Harm) -> None:
        """Unprepare until it is done; unharmed, that is at once."""
        picked = self._pick(claim)
        if picked is not None:
            self.site.do(lambda: self._unprepare(picked), harm)
            assert self.site.do(lambda: self._unprepare(picked), None) is None
            assert self.site.record(picked) is None

    def _unprepare(self, claim: ClaimRef) -> None:
        (error,) = self.site.node.unprepare(claim)
        if error is not None:
            raise error

    @precondition(lambda self: not self.site.gone)
    @rule(name=st.sampled_from(RDMA), back=st.booleans())
    def lose_a_device(self, name: str, *, back: bool) -> None:
        """Pull a device out, wherever it is; or reset it: it is back at once."""
        self.site.pull(name)
        if back:
            self.site.plug(name)

    @precondition(lambda self: self.site.gone)
    @rule()
    def find_it_again(self) -> None:
        """Plug in what was pulled out."""
        for name in list(self.site.gone):
            self.site.plug(name)

    @precondition(_some)
    @rule(
        what=st.sampled_from(["host", "restart", "forget", "corrupt", "reboot"]),
        claim=picks,
        harm=harms,
        away=st.booleans(),
    )
    def misfortune(self, what: str, claim: int, harm: Harm, *, away: bool) -> None:
        """Have happen what happens less often."""
        picked = self._pick(claim)
        if what == "restart":
            self._restart(harm)
        elif what == "reboot":
            self.site.reboot()
        elif picked is None:
            return
        elif what == "host":
            home = self.site.kernel.init_netns
            if self.site.do(lambda: self.site.start_container(picked, home), harm) is None:
                assert self.site.place_of(picked) is None
        elif what == "forget":
            self._forget(picked, away=away)
        else:
            self._corrupt(picked)

    def _restart(self, harm: Harm) -> None:
        """Start the driver again; it may die at that too, and is started once more."""
        self.site.start_driver()
        self.site.do(lambda: void(self.site.node.container.recovery().run()), harm)
        self.site.next_driver()
        self.site.unseen.clear()

    def _forget(self, claim: ClaimRef, *, away: bool) -> None:
        """Delete a claim behind the driver's back: what may be in use stays."""
        site = self.site
        before = site.record(claim)
        if claim not in self.deleted:
            self.deleted.append(claim)
            site.api.delete("ResourceClaim", claim.namespace, claim.name)
        site.api.fail_next = int(away)
        site.node.container.recovery().forget_orphans()
        site.api.fail_next = 0
        assert before is not None
        if before.attachment is not None or before.on_host_network:
            assert before == site.record(claim)
        elif not away:
            assert site.record(claim) is None

    def _corrupt(self, claim: ClaimRef) -> None:
        """Spoil a record: a person has to put that device right, the others live on."""
        site = self.site
        record = site.record(claim)
        path = site.folder / "state" / f"{claim.uid}.json"
        path.write_bytes(path.read_bytes()[:-9])
        others = set(site.node.container.ledger().all()) - {claim.uid}
        assert any("set aside" in note for note in site.next_driver())
        assert others == set(site.node.container.ledger().all())
        assert record is not None
        if record.attachment is not None:
            site.end_namespace(record.attachment.netns)
            site.repair({p.device.rdma_device for p in record.prepared.moving})
        self._unprepare(claim)

    @invariant()
    def nothing_is_lost(self) -> None:
        """See that all is where it has to be."""
        self.site.check()

    def teardown(self) -> None:
        """End everything: then all must be as at the beginning."""
        site = self.site
        site.kernel.return_delay = 0.1
        for pid in list(site.kernel.processes):
            site.kernel.end_process(pid)
        for uid, record in site.node.container.ledger().all().items():
            assert site.do(lambda c=record.prepared.claim: self._unprepare(c), None) is None, uid  # type: ignore[misc]  # a default binds the loop's value
        site.kernel.let_time_pass(1.0)
        for name in list(site.gone):
            site.plug(name)
        assert not site.gone
        assert site.original == site.snapshot()
        assert [] == site.node.files()
        assert {} == site.marks()
        shutil.rmtree(self.folder)


LENGTH = settings(max_examples=100, stateful_step_count=50, deadline=None)
"""100 histories of up to 50 steps on each of three kernels: more than 10,000 steps."""


class Newer(Histories):
    """On a kernel that makes interfaces in their device's namespace."""

    kind = KINDS["newer"]


class Older(Histories):
    """On a kernel that makes interfaces on the host."""

    kind = KINDS["older"]


class Shared(Histories):
    """In shared mode."""

    kind = KINDS["shared"]


TestNewer, TestOlder, TestShared = Newer.TestCase, Older.TestCase, Shared.TestCase
TestNewer.settings = TestOlder.settings = TestShared.settings = LENGTH
