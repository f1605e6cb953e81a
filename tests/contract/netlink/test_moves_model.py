"""Any history of attaches, deaths and crashes: devices are where they belong, as they belong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from contract.netlink.moves_model import CONFIGS, KINDS, Crash, Kind, ModelNode, all_ports
from ibdra_domain.errors import AttachRefused
from ibdra_domain.ib_config import IbConfig

NETDEVS = ("ib0", "ib1", "ib2", "ib3", "ib7", "ibp59s0f0")
wishes = st.lists(
    st.tuples(st.sampled_from(all_ports()), st.sampled_from(CONFIGS)),
    min_size=1,
    max_size=4,
    unique_by=lambda wish: wish[0],
)


class Moves(RuleBasedStateMachine):
    """Pods come and go, claims are attached to them, and the driver dies now and then."""

    claims = Bundle("claims")
    pods = Bundle("pods")

    @initialize(target=pods, kind=st.sampled_from(KINDS), netdevs=st.permutations(NETDEVS))
    def boot(self, kind: Kind, netdevs: list[str]) -> int:
        """Start a node whose interfaces have names of any order, and its first pod."""
        self.node = ModelNode(kind, netdevs)
        return self.node.kernel.start_process()

    @rule(target=pods)
    def start_pod(self) -> int:
        """Start a pod's first process."""
        return self.node.kernel.start_process()

    @rule(target=pods, pod=pods)
    def start_container(self, pod: int) -> int:
        """Start another process in a pod's namespace, or a new pod if that one has ended."""
        return self.node.kernel.start_process(self.node.kernel.processes.get(pod))

    @rule(pod=consumes(pods))
    def end_process(self, pod: int) -> None:
        """End a process; the namespace dies with the last one."""
        self.node.kernel.end_process(pod)

    @rule(target=claims, wanted=wishes)
    def prepare(self, wanted: list[tuple[tuple[str, int], IbConfig]]) -> object:
        """Prepare a claim of what is free."""
        uid = self.node.prepare(wanted)
        return multiple() if uid is None else uid

    @rule(claim=claims, pod=pods)
    def attach(self, claim: str, pod: int) -> None:
        """Attach: it succeeds unless another living pod has the claim's devices."""
        kernel, place = self.node.kernel, self.node.place_of(claim)
        netns = kernel.processes[pod]
        if place is not None and place != netns and kernel.alive(place):
            with pytest.raises(AttachRefused, match="is attached to"):
                self.node.attach(claim, pod)
            assert place == self.node.place_of(claim)
            return
        self.node.attach(claim, pod)
        assert netns == self.node.place_of(claim)

    @rule(claim=claims)
    def make_child(self, claim: str) -> None:
        """Let a pod make a partition's interface of its own; the claim's end is its end."""
        self.node.make_child(claim)

    @rule(claim=claims, pod=pods)
    def attach_again(self, claim: str, pod: int) -> None:
        """Start a second container of the pod: that changes nothing at all."""
        kernel = self.node.kernel
        if self.node.place_of(claim) == kernel.processes[pod]:
            before = {i: x.link for i, x in kernel.links.items()}
            self.node.attach(claim, kernel.start_process(kernel.processes[pod]))
            assert before == {i: x.link for i, x in kernel.links.items()}

    @rule(claim=claims, pod=pods, calls=st.integers(0, 12))
    def crash_while_attaching(self, claim: str, pod: int, calls: int) -> None:
        """Kill the driver between two calls of the kernel; its next start puts all right."""
        kernel, place = self.node.kernel, self.node.place_of(claim)
        if place is None or not kernel.alive(place):
            self._crash(calls, lambda: self.node.attach(claim, pod))

    @rule(claim=claims, calls=st.integers(0, 12))
    def crash_while_detaching(self, claim: str, calls: int) -> None:
        """Kill the driver on the way home; the kubelet asks again."""
        self._crash(calls, lambda: self.node.detaching.detach(claim))
        self.node.detaching.detach(claim)

    @rule(claim=claims)
    def detach(self, claim: str) -> None:
        """Bring a claim's devices home; it stays prepared."""
        self.node.detaching.detach(claim)
        assert self.node.place_of(claim) is None

    @rule(claim=consumes(claims))
    def unprepare(self, claim: str) -> None:
        """Bring a claim's devices home for good."""
        self.node.unprepare(claim)

    @invariant()
    def everything_is_where_it_belongs(self) -> None:
        """See that the node is as it has to be."""
        if hasattr(self, "node"):
            self.node.check()

    def _crash(self, calls: int, action: Callable[[], None]) -> None:
        self.node.fuse.left = calls
        try:
            action()
        except Crash:
            notes = self.node.start_driver()
            assert not [note for note in notes if "not recovered" in note]
        finally:
            self.node.fuse.left = None


TestMoves = Moves.TestCase
TestMoves.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
