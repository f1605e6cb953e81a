"""VFs made on a simulated machine: whatever goes wrong, and whenever the run is killed."""

from __future__ import annotations

import errno
import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from contract.sriov.sriov_machines import PFS, SimulationUnderTest, profile
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_app.agent_sources import make_ledger, provisioning_turn
from ibdra_app.ledger import Ledger
from ibdra_app.provisioning import Provisioning
from ibdra_app.settings import Settings
from ibdra_domain.errors import KernelRefused, ProvisioningFailed, ProvisioningRefused, StateFailed
from ibdra_domain.hardware import SysfsReading
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.inventory import take_inventory
from ibdra_domain.pf_views import PfView, VfPlace, pf_views
from ibdra_domain.provisioning import Verdict
from ibdra_domain.vf_guids import GuidFile, derived_guid
from ibdra_domain.vf_steps import SetNumVfs
from ibdra_domain.vf_wishes import PfOverride, WantedVfs
from unit.app.app_node import running_node
from unit.domain.domain_facts import a_port, a_prepared_claim

PF, OTHER = PFS
WANTED = WantedVfs(count=3)
FEWER = WantedVfs(count=2)


class Killed(BaseException):
    """The process is gone: nothing in it can catch this."""


class Watched:
    """A port whose calls are counted; at one of them something happens instead, or after."""

    def __init__(self, inner: Any, seen: Callable[[str], None], after: Callable[[], None]) -> None:
        self._inner = inner
        self._seen = seen
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._seen(name)
            result = method(*args, **kwargs)
            self._after()
            return result

        return call


class Fuse:
    """Counts calls; blows at one of them, before it takes effect or after."""

    def __init__(self, at: int | None, *, late: bool = False) -> None:
        self._at = at
        self._late = late
        self.calls = 0

    def seen(self, _name: str) -> None:
        self.calls += 1
        if self.calls == self._at and not self._late:
            raise Killed

    def after(self) -> None:
        if self.calls == self._at and self._late:
            raise Killed


class Node:
    """A simulated machine, with provisioning on it."""

    def __init__(self, folder: Path, *, zero_vf_guids: bool = True) -> None:
        self.machine = SimulatedMachine(profile(zero_vf_guids=zero_vf_guids), folder)
        self.held: tuple[Any, ...] = ()

    def provisioning(self, **ports: Any) -> Provisioning:
        """Start anew, with other ports where some are given."""
        m = self.machine
        wired: dict[str, Any] = {
            "sysfs": m.sysfs,
            "sriov": m.sriov,
            "vf_attributes": m.vf_attributes,
            "namespaces": m.namespaces,
            "links": m.links,
            "watch": m.watch,
            "held": lambda: self.held,
            "clock": m.kernel.clock,
        }
        return Provisioning(**(wired | ports))

    def killed(self, fuse: Fuse) -> Provisioning:
        """Start anew with a fuse in each port."""
        m = self.machine
        names = ("sysfs", "sriov", "vf_attributes", "namespaces", "links")
        ports = {name: Watched(getattr(m, name), fuse.seen, fuse.after) for name in names}
        return self.provisioning(**ports)

    def view(self, pf: str = PF) -> PfView:
        """Look at a PF."""
        host = self.machine.namespaces.host()
        links = {x.name: x.index for x in self.machine.links.list(host)}
        settings = {
            address: self.machine.vf_attributes.read(links[f"ib{index}"], netns=host)
            for index, address in enumerate(PFS)
            if f"ib{index}" in links
        }
        host.close()
        reading, nodes = self.machine.sysfs.read(), self.machine.sysfs.char_devices()
        views = pf_views(reading, nodes=nodes, settings=settings)
        return next(view for view in views if view.address == pf)

    def leftovers(self) -> tuple[int, int]:
        """Count what a run must not leave: open namespaces, and listeners beside the tree's."""
        kernel = self.machine.kernel
        return sum(kernel.handles.values()), len(kernel.watchers) - 1


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Give a machine whose VFs would have all-zero GUIDs."""
    made = Node(tmp_path)
    yield made
    assert (0, 0) == made.leftovers()


def test_vfs_come_with_their_guids_and_all_that_a_pod_needs(node: Node) -> None:
    """On each PF, in the inventory, with ports that are up."""
    report = node.provisioning().provision(WANTED)
    assert report.complete
    for pf in PFS:
        view = node.view(pf)
        assert (3, True) == (view.present, view.autoprobe)
        assert view.port_guid is not None
        for vf in view.vfs:
            guid = derived_guid(view.port_guid, vf.index)
            assert (VfPlace.HERE, guid, guid) == (vf.place, vf.node_guid, vf.port_guid)
    states = {p.state for h in node.machine.sysfs.read().hcas for p in h.ports}
    assert {"Active"} == states


def test_no_vf_ever_shows_a_zero_guid(node: Node) -> None:
    """Whoever looks in between sees complete VFs, or none."""
    seen: list[tuple[Guid | None, ...]] = []
    node.machine.kernel.watchers.append(
        lambda _: seen.append(tuple(h.node_guid for h in node.machine.sysfs.read().hcas))
    )
    node.provisioning().provision(WANTED)
    node.machine.kernel.watchers.pop()
    assert len(seen) >= 6
    assert not [guid for guids in seen for guid in guids if guid == "0000:0000:0000:0000"]


def test_a_second_run_touches_nothing(node: Node) -> None:
    """Not one call that changes anything, and the same machine afterwards."""
    node.provisioning().provision(WANTED)
    before = node.machine.sysfs.read()
    fuse = Fuse(None)
    calls: list[str] = []
    quiet = Watched(node.machine.sriov, calls.append, fuse.after)
    told = Watched(node.machine.vf_attributes, calls.append, fuse.after)
    report = node.provisioning(sriov=quiet, vf_attributes=told).provision(WANTED)
    assert {Verdict.READY} == {pf.plan.verdict for pf in report.pfs}
    assert {"read"} == set(calls)
    assert before == node.machine.sysfs.read()


def test_planning_changes_nothing(node: Node) -> None:
    """Neither the machine nor what is set for VFs."""
    before = node.machine.sysfs.read(), node.view()
    plan = node.provisioning().plan(WANTED)
    assert [Verdict.CHANGE, Verdict.CHANGE] == [pf.verdict for pf in plan.pfs]
    assert before == (node.machine.sysfs.read(), node.view())


def _after_kill(folder: Path, at: int, *, late: bool, zero: bool) -> tuple[Node, bool]:
    """Kill a run at its n-th call of a port, then run again; tell whether it was killed."""
    node = Node(folder, zero_vf_guids=zero)
    fuse = Fuse(at, late=late)
    killed = False
    try:
        node.killed(fuse).provision(FEWER)
    except Killed:
        killed = True
    assert node.provisioning().provision(FEWER).complete
    return node, killed


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_run_killed_at_any_call_is_finished_by_the_next(tmp_path: Path, *, late: bool) -> None:
    """The second run ends exactly where an undisturbed one does."""
    undisturbed = Node(tmp_path / "whole")
    fuse = Fuse(None)
    undisturbed.killed(fuse).provision(FEWER)
    expected = [undisturbed.view(pf) for pf in PFS]
    assert fuse.calls > 40
    for at in range(1, fuse.calls + 1):
        node, killed = _after_kill(tmp_path / str(at), at, late=late, zero=True)
        assert killed
        assert expected == [node.view(pf) for pf in PFS], f"killed at call {at}"


def test_vfs_with_guids_of_their_own_survive_a_kill_too(tmp_path: Path) -> None:
    """Where firmware gives VFs GUIDs, a run that goes on keeps those that were not set yet."""
    calls = Fuse(None)
    Node(tmp_path / "whole", zero_vf_guids=False).killed(calls).provision(FEWER)
    for at in range(1, calls.calls + 1, 3):
        node, _ = _after_kill(tmp_path / str(at), at, late=True, zero=False)
        for pf in PFS:
            view = node.view(pf)
            assert (2, True) == (view.present, view.autoprobe)
            assert {VfPlace.HERE} == {vf.place for vf in view.vfs}
            assert 3 == len({view.node_guid, *(vf.node_guid for vf in view.vfs)})


def refusing(port: Any, method: str, code: int) -> Any:
    """Give a port of which one method refuses."""

    def seen(name: str) -> None:
        if name == method:
            raise KernelRefused(f"{name} is refused", remedy="none", errno=code)

    return Watched(port, seen, lambda: None)


def test_what_the_kernel_refuses_at_once_changes_nothing(node: Node) -> None:
    """ProvisioningRefused: no VF, autoprobe as it was; the report has the kernel's reason."""
    before = node.view()
    sriov = refusing(node.machine.sriov, "set_num_vfs", errno.ENOMEM)
    provisioning = node.provisioning(sriov=sriov)
    with pytest.raises(ProvisioningRefused, match=r"nothing was changed at .* \(ENOMEM\)"):
        provisioning.provision_pf(PF, WANTED)
    assert before == node.view()
    report = provisioning.provision(WANTED)
    assert not report.complete
    assert "ENOMEM" in str(report.pfs[0].error)


@pytest.mark.parametrize("autoprobe", [True, False])
def test_a_pf_that_got_no_vf_has_its_autoprobe_as_before(node: Node, *, autoprobe: bool) -> None:
    """Somebody's choice is not ours to change for nothing."""
    node.machine.sriov.set_autoprobe(PF, enabled=autoprobe)
    sriov = refusing(node.machine.sriov, "set_num_vfs", errno.ENOMEM)
    with suppress(ProvisioningRefused):
        node.provisioning(sriov=sriov).provision_pf(PF, WANTED)
    assert autoprobe is node.view().autoprobe


def test_guids_that_cannot_be_set_leave_vfs_that_nobody_can_use(node: Node) -> None:
    """They have no driver, so no RDMA device; the next run goes on; the other PF is not hurt."""
    attributes = refusing(node.machine.vf_attributes, "set_node_guid", errno.EOPNOTSUPP)
    report = node.provisioning(vf_attributes=attributes).provision(
        WantedVfs(overrides=(PfOverride(PF, 3),))
    )
    assert "set_node_guid is refused" in str(report.pfs[0].error)
    view = node.view()
    assert (3, True) == (view.present, view.autoprobe)
    assert {VfPlace.UNBOUND} == {vf.place for vf in view.vfs}
    assert node.provisioning().provision(WANTED).complete


def test_one_pfs_trouble_is_not_anothers(node: Node) -> None:
    """The second PF gets its VFs."""
    node.machine.sriov.unbind(PF)
    report = node.provisioning().provision(WANTED)
    assert [Verdict.REFUSED, Verdict.CHANGE] == [pf.plan.verdict for pf in report.pfs]
    assert not report.complete
    assert (0, 3) == (node.view(PF).present, node.view(OTHER).present)


def test_fewer_vfs_than_asked_for_are_noticed(node: Node) -> None:
    """The kernel may make fewer and say nothing."""

    class Stingy:
        """Make one VF less."""

        def set_num_vfs(self, pf: Any, count: int) -> None:
            node.machine.sriov.set_num_vfs(pf, count - 1)

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sriov, name)

    with pytest.raises(ProvisioningFailed, match="got 2 of 3 VFs"):
        node.provisioning(sriov=Stingy()).provision_pf(PF, WANTED)
    assert node.view().autoprobe


def test_a_vf_whose_guid_is_not_taken_is_noticed(node: Node) -> None:
    """The kernel said yes, sysfs says no."""

    class Deaf:
        """Take no node GUID of VF 1 over."""

        def set_node_guid(self, interface: int, vf: int, guid: Guid, **where: Any) -> None:
            wrong = Guid("02ff:0000:0000:0001") if vf == 1 else guid
            node.machine.vf_attributes.set_node_guid(interface, vf, wrong, **where)

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.vf_attributes, name)

    with pytest.raises(ProvisioningFailed, match=r"VF 1 of .* has GUIDs 02ff:0000:0000:0001"):
        node.provisioning(vf_attributes=Deaf()).provision_pf(PF, WANTED)


def test_a_vf_that_does_not_come_is_waited_for_and_then_named(node: Node) -> None:
    """The deadline is the clock's, not the machine's."""

    class Slow:
        """Never show an interface on a VF."""

        def read(self) -> SysfsReading:
            reading = node.machine.sysfs.read()
            return replace(reading, netdevs=tuple(n for n in reading.netdevs if n.pci in PFS))

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sysfs, name)

    with pytest.raises(ProvisioningFailed, match=r"VF 0 of .* is not complete after 60 s"):
        node.provisioning(sysfs=Slow()).provision_pf(PF, WANTED)


def test_a_vf_that_comes_late_is_waited_for(node: Node) -> None:
    """As long as something still happens."""
    looks = 0

    class Late:
        """Show VFs' interfaces after some looks only."""

        def read(self) -> SysfsReading:
            nonlocal looks
            reading = node.machine.sysfs.read()
            if any(n.pci not in PFS for n in reading.netdevs):
                looks += 1
            if looks > 5:
                return reading
            return replace(reading, netdevs=tuple(n for n in reading.netdevs if n.pci in PFS))

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sysfs, name)

    node.provisioning(sysfs=Late()).provision_pf(PF, WANTED)
    assert looks > 5


def test_the_machine_is_looked_at_again_before_each_pf(node: Node) -> None:
    """Somebody else made VFs on the second one meanwhile: it is left."""

    class Meddler:
        """Make other VFs on the other PF while the first is worked on."""

        def set_num_vfs(self, pf: Any, count: int) -> None:
            node.machine.sriov.set_num_vfs(pf, count)
            node.machine.sriov.set_num_vfs(OTHER, 1)

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sriov, name)

    report = node.provisioning(sriov=Meddler()).provision(WANTED)
    assert report.pfs[0].error is None
    assert "it has 1 VFs, 3 are wanted" in str(report.pfs[1].error)
    assert 1 == node.view(OTHER).present


def test_what_is_refused_is_refused_with_the_reason(node: Node) -> None:
    """Asked for one PF alone, too; one that is not there is said to be none."""
    node.provisioning().provision(WANTED)
    with pytest.raises(ProvisioningRefused, match="never removes VFs"):
        node.provisioning().provision_pf(PF, WantedVfs(count=4))
    with pytest.raises(ProvisioningRefused, match="is no PF with SR-IOV"):
        node.provisioning().provision_pf(node.view().vfs[0].address or PF, WANTED)


def test_another_number_is_left_also_while_a_vf_is_in_a_pod(node: Node) -> None:
    """Reported, untouched."""
    node.provisioning().provision(WANTED)
    pid = node.machine.kernel.start_process()
    host, pod = node.machine.namespaces.host(), node.machine.namespaces.of_process(pid)
    node.machine.rdma.move("mlx5_0v1", source=host, target=pod)
    before = node.machine.sysfs.read(), node.view()
    assert VfPlace.AWAY is before[1].vfs[1].place
    for count in (1, 2, 4, 8):
        report = node.provisioning().provision(WantedVfs(count=count))
        assert {Verdict.REFUSED} == {pf.plan.verdict for pf in report.pfs}
    assert node.provisioning().provision(WANTED).complete
    assert node.provisioning().provision(WantedVfs()).complete
    assert before == (node.machine.sysfs.read(), node.view())
    assert ("mlx5_0v1",) == node.machine.rdma.names(pod)
    pod.close()
    host.close()


@pytest.mark.parametrize("vf", [0, 1])
def test_nothing_is_done_while_a_claim_holds_a_vf(node: Node, vf: int) -> None:
    """Prepared is enough: its device nodes are resolved, and binding would renumber them."""
    node.machine.sriov.set_num_vfs(PF, 2)
    wanted = WantedVfs(overrides=(PfOverride(PF, 2),))
    address = node.view().vfs[vf].address
    inventory = take_inventory(node.machine.sysfs.read(), node.machine.verbs.read())
    device = next(d for d in inventory.devices if d.pci == address)
    node.held = (a_prepared_claim(ports=(a_port(device=device),)),)
    before = node.view()
    report = node.provisioning().provision(wanted)
    assert Verdict.REFUSED is report.pfs[0].plan.verdict
    assert f"VF {vf} is held by claim team/" in str(report.pfs[0].plan.reason)
    assert before == node.view()
    node.held = ()
    assert node.provisioning().provision(wanted).complete


def test_no_vf_gets_the_guid_of_one_that_a_claim_holds(node: Node) -> None:
    """Also where the PF does not tell of it any more."""
    inventory = take_inventory(node.machine.sysfs.read(), node.machine.verbs.read())
    device = next(d for d in inventory.devices if d.pci == PF)
    given = Guid("02aa:0000:0000:0001")
    away = replace(device, pci=PciAddress("0000:c1:00.1"), node_guid=given)
    node.held = (a_prepared_claim(ports=(a_port(device=away),)),)
    wanted = WantedVfs(overrides=(PfOverride(PF, 1),), guids=GuidFile({(PF, 0): given}))
    reason = node.provisioning().provision(wanted).pfs[0].plan.reason
    assert f"VF 0 would get GUID {given}, which mlx5_0 (claim team/" in str(reason)


def test_a_pf_that_a_claim_holds_gets_no_vfs(node: Node) -> None:
    """It is a pod's; the other PF is not."""
    inventory = take_inventory(node.machine.sysfs.read(), node.machine.verbs.read())
    device = next(d for d in inventory.devices if d.pci == PF)
    node.held = (a_prepared_claim(ports=(a_port(device=device),)),)
    report = node.provisioning().provision(WANTED)
    assert "the PF is held by claim team/" in str(report.pfs[0].plan.reason)
    assert (0, 3) == (node.view(PF).present, node.view(OTHER).present)


def test_vfs_made_by_hand_without_guids_get_them(node: Node) -> None:
    """And are bound again, each once."""
    node.machine.sriov.set_num_vfs(PF, 2)
    assert {"0000:0000:0000:0000"} == {vf.node_guid for vf in node.view().vfs}
    report = node.provisioning().provision(WantedVfs(overrides=(PfOverride(PF, 2),)))
    assert report.complete
    view = node.view()
    assert not [vf for vf in view.vfs if vf.lacks_guid]
    assert not [s for s in report.pfs[0].plan.steps if isinstance(s, SetNumVfs)]


class Turn:
    """A node's turn: who has it, how often it was taken, and what happens when it is."""

    def __init__(self, taken: Callable[[], None] = lambda: None) -> None:
        self.ours = False
        self.count = 0
        self._taken = taken

    @contextmanager
    def __call__(self) -> Iterator[None]:
        assert not self.ours
        self._taken()
        self.ours, self.count = True, self.count + 1
        try:
            yield
        finally:
            self.ours = False


def test_a_pf_is_decided_and_changed_in_one_turn(node: Node) -> None:
    """Another agent moves no device meanwhile; between two PFs it can."""
    turn = Turn()
    seen: list[tuple[str, bool]] = []
    ports = {
        name: Watched(
            getattr(node.machine, name), lambda call: seen.append((call, turn.ours)), lambda: None
        )
        for name in ("sriov", "vf_attributes")
    }
    assert node.provisioning(turn=turn, **ports).provision(WANTED).complete
    assert {
        *(("set_autoprobe", True), ("set_num_vfs", True), ("set_link_state", True)),
        *(("set_node_guid", True), ("set_port_guid", True), ("bind", True)),
    } == {call for call in seen if call[0] != "read"}
    assert (2, False) == (turn.count, turn.ours)


def test_vfs_are_waited_for_without_a_turn(node: Node) -> None:
    """A deadline of ours keeps no pod from starting."""
    turn = Turn()
    waits: list[bool] = []

    class Slow:
        """Never show an interface on a VF."""

        def read(self) -> SysfsReading:
            reading = node.machine.sysfs.read()
            return replace(reading, netdevs=tuple(n for n in reading.netdevs if n.pci in PFS))

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sysfs, name)

    def watch() -> Any:
        waits.append(turn.ours)
        return node.machine.watch()

    with pytest.raises(ProvisioningFailed, match="is not complete"):
        node.provisioning(turn=turn, sysfs=Slow(), watch=watch).provision_pf(PF, WANTED)
    assert [False] == waits


def test_no_turn_is_taken_for_what_is_left(node: Node) -> None:
    """A look keeps nobody waiting."""
    turn = Turn()
    provisioning = node.provisioning(turn=turn)
    provisioning.plan(WANTED)
    provisioning.provision(WantedVfs())
    assert 0 == turn.count


def test_a_pf_that_was_claimed_before_our_turn_came_is_left(node: Node) -> None:
    """The older agent serves until we do: what it has prepared since the first look counts."""

    def claimed() -> None:
        inventory = take_inventory(node.machine.sysfs.read(), node.machine.verbs.read())
        device = next(d for d in inventory.devices if d.pci == PF)
        node.held = (a_prepared_claim(ports=(a_port(device=device),)),)

    before = node.view()
    report = node.provisioning(turn=Turn(claimed)).provision(WANTED)
    assert "the PF is held by claim team/" in str(report.pfs[0].error)
    assert before == node.view()
    assert 3 == node.view(OTHER).present


def test_without_a_turn_nothing_is_changed(node: Node) -> None:
    """And the report says why."""

    def refuse() -> None:
        raise StateFailed("turn could not be locked", remedy="look at its folder")

    before = node.view(), node.view(OTHER)
    report = node.provisioning(turn=Turn(refuse)).provision(WANTED)
    assert ["turn could not be locked: look at its folder"] * 2 == [pf.error for pf in report.pfs]
    assert before == (node.view(), node.view(OTHER))


def test_a_vf_that_a_pod_takes_while_others_are_awaited_was_complete(node: Node) -> None:
    """It has been seen; that it is with its pod now is no fault."""
    looks = 0

    class Busy:
        """Show VF 1 late, and VF 0 not any more by then."""

        def read(self) -> SysfsReading:
            nonlocal looks
            reading = node.machine.sysfs.read()
            vfs = next(f.vfs for f in reading.functions if f.address == PF)
            if not all(vf in {hca.pci for hca in reading.hcas} for vf in vfs) or not vfs:
                return reading
            looks += 1
            unseen = vfs[1] if looks <= 3 else vfs[0]
            return replace(reading, hcas=tuple(h for h in reading.hcas if h.pci != unseen))

        def __getattr__(self, name: str) -> Any:
            return getattr(node.machine.sysfs, name)

    plan = node.provisioning(sysfs=Busy()).provision_pf(PF, FEWER)
    assert Verdict.CHANGE is plan.verdict
    assert looks > 3


def test_a_run_that_was_cut_short_is_told_while_a_claim_has_the_pf(node: Node) -> None:
    """Its VFs are there, and nobody can use them."""
    attributes = refusing(node.machine.vf_attributes, "set_node_guid", errno.ENODEV)
    only = WantedVfs(overrides=(PfOverride(PF, 3),))
    node.provisioning(vf_attributes=attributes).provision(only)
    inventory = take_inventory(node.machine.sysfs.read(), node.machine.verbs.read())
    device = next(d for d in inventory.devices if d.pci == PF)
    node.held = (a_prepared_claim(ports=(a_port(device=device),)),)
    pid = node.machine.kernel.start_process()
    host, pod = node.machine.namespaces.host(), node.machine.namespaces.of_process(pid)
    node.machine.rdma.move(device.rdma_device, source=host, target=pod)
    pod.close()
    host.close()
    report = node.provisioning().provision(only)
    assert not report.complete
    assert "VF 0, 1, 2 lacks a GUID or a driver, but claim" in str(report.pfs[0].plan.reason)


def a_place(folder: Path, **changes: Any) -> tuple[Settings, Ledger]:
    """Give an agent's folders, and its ledger."""
    settings = Settings(run_folder=folder / "run", state_folder=folder / "state", **changes)
    return settings, make_ledger(settings)


def is_free(turn: Path) -> bool:
    """Tell whether nobody has a turn."""
    with turn.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_the_turn_is_the_agents_where_one_has_been(tmp_path: Path) -> None:
    """The command beside an agent waits for it, and keeps it waiting."""
    settings, ledger = a_place(tmp_path)
    settings.run_folder.mkdir()
    with provisioning_turn(settings, lambda: ledger):
        assert not is_free(settings.run_folder / "turn")
    assert is_free(settings.run_folder / "turn")


def test_an_agent_makes_no_vf_out_of_turn(tmp_path: Path) -> None:
    """As it is wired: where the turn cannot be had, its PFs are left."""
    with running_node(tmp_path) as running:
        settings = replace(running.container.settings(), real_processes=True)
        running.container.settings.override(settings)
        turn = settings.run_folder / "turn"
        turn.unlink()
        turn.mkdir()
        report = running.container.provisioning().provision(WantedVfs(count=4))
    assert [False, True] == ["turn could not be locked" in str(pf.error) for pf in report.pfs]
    assert not report.complete


def test_an_older_agent_attaches_the_pf_after_its_vfs_were_bound(
    node: Node, tmp_path: Path
) -> None:
    """It comes in the middle, and has to wait: no VF is left half-way."""
    settings, ours = a_place(tmp_path)
    _, older = a_place(tmp_path)
    settings.run_folder.mkdir()
    bound: list[bool] = []
    pid = node.machine.kernel.start_process()
    device = node.view().rdma_device or ""

    def attach() -> None:
        with (
            older.lock,
            closing(node.machine.namespaces.host()) as host,
            closing(node.machine.namespaces.of_process(pid)) as pod,
        ):
            bound.extend(vf.place is VfPlace.HERE for vf in node.view().vfs)
            node.machine.rdma.move(device, source=host, target=pod)

    agent = threading.Thread(target=attach)

    def start(name: str) -> None:
        if name == "set_node_guid" and agent.ident is None:
            agent.start()

    report = node.provisioning(
        vf_attributes=Watched(node.machine.vf_attributes, start, lambda: None),
        turn=lambda: provisioning_turn(settings, lambda: ours),
    ).provision(WantedVfs(overrides=(PfOverride(PF, 3),)))
    agent.join(30)
    assert report.complete
    assert [True] * 3 == bound
    assert device not in {hca.name for hca in node.machine.sysfs.read().hcas}


@pytest.mark.parametrize("simulate", [None, "hpc-hdr100-dual-port"])
def test_without_an_agent_there_is_no_turn_to_take(tmp_path: Path, simulate: str | None) -> None:
    """No file is made for it, and none is touched for a machine that is only simulated."""
    settings, ledger = a_place(tmp_path, simulate=simulate)
    if simulate is not None:
        settings.run_folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with provisioning_turn(settings, lambda: ledger):
        pass
    assert before == sorted(tmp_path.rglob("*"))


def test_the_simulation_passes_for_a_machine_of_the_contract(tmp_path: Path) -> None:
    """What these tests run on is what the contract suite runs on."""
    assert Node(tmp_path / "a").machine.profile == (
        SimulationUnderTest(tmp_path / "b", zero_vf_guids=True).machine.profile
    )
