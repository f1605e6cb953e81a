"""The planner against the fake kernel: whatever happens in whatever order, devices arrive.

Why: each rule of the planner is easy, and each of the kernel's is measured; what a node
sees is their interplay over weeks of pods that start, die and crash half-way.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contract.netlink.moves_driver import HCAS, STRANGER, Claim, Driver
from ibdra_domain.container_edits import child_name
from ibdra_domain.errors import AttachRefused, KernelRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.inventory import IbDevice
from ibdra_domain.ports.netlink import Link, NetnsId
from ibdra_domain.preparation import PreparedPort

MOST_PODS = 3
EXCLUSIVE, SHARED = RdmaIsolation.EXCLUSIVE, RdmaIsolation.SHARED

NAMES = ("ib0", "ib1", "ib2", "ib3", "ibp134s0", "ib0.8001", "ib1.8001")

configs = st.builds(
    IbConfig,
    mtu=st.sampled_from([None, 256, 1024, 2048]),
    pkey=st.sampled_from([None, 0x8001, 0x0001, 0x7FFF]),
    traffic_class=st.sampled_from([None, 0, 106]),
)


class Moves(RuleBasedStateMachine):
    """Pods come and go, claims are attached, interrupted, completed and detached."""

    isolation = EXCLUSIVE
    interface_follows = False

    def __init__(self) -> None:
        super().__init__()
        self.driver = Driver(isolation=self.isolation, interface_follows=self.interface_follows)
        self.pods: dict[int, NetnsId] = {}
        self.strangers_pod: int | None = None
        self.at_home = {d.name: self.home_of(d) for hca in HCAS for d in hca.devices}

    # -- what happens ------------------------------------------------------------------

    @initialize()
    def a_pod_is_there(self) -> None:
        """Start with one pod, so that attaching is possible at once."""
        self.a_pod_starts()

    @precondition(lambda self: len(self.pods) < MOST_PODS)
    @rule()
    def a_pod_starts(self) -> None:
        """Start a pod."""
        pid = self.driver.kernel.start_process()
        self.pods[pid] = self.driver.kernel.processes[pid]

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_pod_dies(self, data: st.DataObject) -> None:
        """End a pod; its namespace dies with it."""
        pid = data.draw(st.sampled_from(sorted(self.pods)), label="pid")
        if pid == self.strangers_pod:
            self.a_stranger_leaves()
        del self.pods[pid]
        self.driver.kernel.end_process(pid)

    @precondition(lambda self: self.pods and self.strangers_pod is None)
    @rule(data=st.data())
    def a_stranger_comes(self, data: st.DataObject) -> None:
        """Let an interface of another's HCA have a name in a pod that is free there."""
        pid = data.draw(st.sampled_from(sorted(self.pods)), label="pid")
        taken = {x.link.name for x in self.driver.kernel.links_of(self.pods[pid])}
        name = data.draw(st.sampled_from([n for n in NAMES if n not in taken]), label="name")
        self.driver.bring_stranger(self.pods[pid], name)
        self.strangers_pod = pid

    @precondition(lambda self: self.strangers_pod is not None)
    @rule()
    def a_stranger_leaves(self) -> None:
        """Let it go home under the name it had there."""
        self.driver.bring_stranger(self.driver.kernel.init_netns, "storage")
        self.strangers_pod = None

    @precondition(lambda self: self.pods and len(self.driver.claims) < len(HCAS))
    @rule(
        data=st.data(),
        config=configs,
        pkey_index=st.sampled_from([0, 1]),
        alone=st.booleans(),
        crash=st.none() | st.integers(1, 6),
    )
    def attach(
        self,
        data: st.DataObject,
        *,
        config: IbConfig,
        pkey_index: int,
        alone: bool,
        crash: int | None,
    ) -> None:
        """Attach a free HCA to a pod, maybe with a crash after some steps."""
        free = [hca for hca in HCAS if hca.name not in self.driver.claims]
        hca = data.draw(st.sampled_from(free), label="hca")
        netns = data.draw(st.sampled_from(sorted(self.pods.values(), key=str)), label="netns")
        claim = self.driver.attach(hca, netns, config=config, pkey_index=pkey_index, alone=alone)
        self.complete(claim, crash)

    @precondition(lambda self: self.living())
    @rule(data=st.data())
    def attach_again(self, data: st.DataObject) -> None:
        """Attach what is attached already, or complete what a crash left half-way."""
        claim = data.draw(st.sampled_from(self.living()), label="claim")
        self.complete(claim, None)

    @precondition(lambda self: self.driver.claims)
    @rule(data=st.data(), crash=st.none() | st.integers(1, 6))
    def detach(self, data: st.DataObject, crash: int | None) -> None:
        """Detach an HCA, its pod alive or dead, maybe with a crash after some steps."""
        name = data.draw(st.sampled_from(sorted(self.driver.claims)), label="hca")
        self.driver.detach(self.driver.claims[name], most_steps=crash)

    # -- what holds --------------------------------------------------------------------

    @invariant()
    def every_device_is_in_one_place(self) -> None:
        """One namespace has it, and each port has one interface, in one namespace."""
        if self.isolation is EXCLUSIVE:
            places = [self.driver.kernel.init_netns, *self.pods.values()]
            seen = sorted(n for netns in places for n in self.driver.kernel.visible(netns))
            assert sorted(hca.name for hca in (*HCAS, STRANGER)) == seen
        parents = sorted(
            str(x.link.port_guid)
            for x in self.driver.kernel.links.values()
            if x.link.parent is None
        )
        expected = sorted(
            str(d.netdev_guid) for h in (*HCAS, STRANGER) for d in h.devices if d.netdev
        )
        assert expected == parents

    @invariant()
    def attached_ports_are_as_asked_for(self) -> None:
        """Find a completed claim's ports in the pod, whatever else has happened since."""
        for claim in self.living():
            if not claim.complete:
                continue
            if self.isolation is EXCLUSIVE:
                assert claim.hca.name in self.driver.kernel.visible(claim.netns)
            for port in claim.ports:
                self.check_attached(claim, port)

    @invariant()
    def free_hcas_are_as_they_were(self) -> None:
        """Find an HCA nobody uses at home: name, MTU, state, traffic class, no child."""
        for hca in HCAS:
            if hca.name not in self.driver.claims:
                for device in hca.devices:
                    assert self.at_home[device.name] == self.home_of(device)

    @invariant()
    def nothing_is_held_open(self) -> None:
        """Every namespace that was opened was closed."""
        assert {} == self.driver.kernel.handles

    def teardown(self) -> None:
        """End all pods and detach all claims: then everything is as it was."""
        if self.strangers_pod is not None:
            self.a_stranger_leaves()
        for pid in self.pods:
            self.driver.kernel.end_process(pid)
        self.pods.clear()
        for claim in list(self.driver.claims.values()):
            self.driver.detach(claim)
        self.free_hcas_are_as_they_were()

    # -- helpers -----------------------------------------------------------------------

    def complete(self, claim: Claim, crash: int | None) -> None:
        """Attach; only a stranger's name may prevent that, and then all goes home again."""
        try:
            self.driver.complete(claim, most_steps=crash)
        except (AttachRefused, KernelRefused):
            if self.strangers_pod is None or self.pods[self.strangers_pod] != claim.netns:
                raise
            self.driver.detach(claim)

    def living(self) -> list[Claim]:
        """Give the claims whose pods live."""
        alive = set(self.pods.values())
        return [c for _, c in sorted(self.driver.claims.items()) if c.netns in alive]

    def links_of(self, device: IbDevice, netns: NetnsId) -> list[Link]:
        """Give a port's interfaces in a namespace, its own before its children."""
        found = [
            x.link
            for x in self.driver.kernel.links_of(netns)
            if x.rdma == device.rdma_device and x.port == device.port
        ]
        return sorted(found, key=lambda x: (x.parent is not None, x.index))

    def home_of(self, device: IbDevice) -> tuple[list[tuple[object, ...]], int]:
        """Give what must be as before: interfaces without their indexes, traffic class."""
        links = self.links_of(device, self.driver.kernel.init_netns)
        return (
            [(x.name, x.mtu, x.up, x.pkey) for x in links],
            self.driver.traffic_classes[device.rdma_device, device.port],
        )

    def check_attached(self, claim: Claim, port: PreparedPort) -> None:
        """Compare a port's interfaces in its pod with its config."""
        device, config = port.device, port.config
        if config.traffic_class is not None:
            key = device.rdma_device, device.port
            assert config.traffic_class == self.driver.traffic_classes[key]
        if device.netdev is None:
            return
        mtu = (config.mtu or claim.hca.mtu) - 4
        own, *children = self.links_of(device, claim.netns)
        assert (device.netdev, mtu, True) == (own.name, own.mtu, own.up)
        wanted = []
        if port.child_pkey is not None:
            name = child_name(device.netdev, port.child_pkey)
            wanted.append((name, mtu, True, port.child_pkey | 0x8000, own.index))
        assert wanted == [(x.name, x.mtu, x.up, x.pkey, x.parent) for x in children]


@pytest.mark.parametrize(
    ("mode", "follows"),
    [(EXCLUSIVE, False), (EXCLUSIVE, True), (SHARED, False)],
    ids=["exclusive-interface-at-home", "exclusive-interface-follows", "shared"],
)
def test_devices_arrive_and_come_home(mode: RdmaIsolation, *, follows: bool) -> None:
    """In any order of events every attach and every detach comes to its end."""

    class OfThisKernel(Moves):
        isolation = mode
        interface_follows = follows

    run_state_machine_as_test(
        OfThisKernel,
        settings=settings(max_examples=60, stateful_step_count=30, deadline=None),
    )
