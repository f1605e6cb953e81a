"""Whatever a node looks like: no plan takes a VF away, and a plan carried out is the last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress, guid_from_int
from ibdra_domain.pf_views import PfView, VfPlace, VfView
from ibdra_domain.ports.sriov import VfLinkState, VfSettings
from ibdra_domain.provisioning import Verdict, plan_provisioning
from ibdra_domain.vf_steps import (
    BindVf,
    SetAutoprobe,
    SetNumVfs,
    SetVfLinkState,
    SetVfNodeGuid,
    SetVfPortGuid,
    UnbindVf,
)
from ibdra_domain.vf_wishes import PfOverride, WantedVfs
from unit.domain.provisioning_facts import Simulated, a_pf, a_vf, unbound

guids = st.sampled_from([ZERO_GUID, *(guid_from_int(0x02BB << 48 | n) for n in range(1, 99))])
layers = st.sampled_from(["InfiniBand"] * 4 + ["Ethernet", None])
patterns = st.sampled_from(["mlx5_*", "mlx5_0", "0000:3b:00.0", "*", "mlx5_[1-3]", "nothing"])
counts = st.sampled_from([0, 1, 2, 3, 9])
wanted_vfs = st.builds(
    WantedVfs,
    count=counts,
    overrides=st.lists(st.builds(PfOverride, patterns, counts), max_size=3).map(tuple),
)


@st.composite
def vfs(draw: st.DrawFn, index: int) -> VfView:
    """Give a VF in any state."""
    told = draw(
        st.none()
        | st.builds(
            VfSettings,
            index=st.just(index),
            node_guid=st.none() | guids,
            port_guid=st.none() | guids,
            link_state=st.none() | st.sampled_from(VfLinkState),
        )
    )
    place = draw(st.sampled_from([VfPlace.HERE] * 3 + [VfPlace.UNBOUND] * 2 + list(VfPlace)))
    if place is not VfPlace.HERE:
        return unbound(index, place=place, settings=told, holder=draw(st.none() | st.just("x")))
    return a_vf(
        index,
        node_guid=draw(guids),
        port_guid=draw(guids),
        settings=told,
        holder=draw(st.sampled_from([None] * 5 + ["team/job"])),
    )


@st.composite
def pfs(draw: st.DrawFn, number: int) -> PfView:
    """Give a PF in any state."""
    present = draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    pf = a_pf(
        address=PciAddress(f"0000:{0x3B + number:02x}:00.0"),
        rdma_device=draw(st.sampled_from([f"mlx5_{number}"] * 9 + [None])),
        driver=draw(st.sampled_from(["mlx5_core"] * 9 + [None])),
        node_guid=(guid := guid_from_int(0x0C42A10300215B80 + number)),
        port_guid=draw(st.sampled_from([guid] * 9 + [None, ZERO_GUID])),
        interface=draw(st.sampled_from(["ib0"] * 9 + [None])),
        present=present,
        autoprobe=draw(st.sampled_from([True, True, False, None])),
        holder=draw(st.sampled_from([None] * 9 + ["team/job"])),
        vfs=tuple(draw(vfs(index)) for index in range(present)),
    )
    if pf.rdma_device is not None:
        several = draw(st.sampled_from([1] * 9 + [2]))
        pf = replace(pf, link_layers=tuple(draw(layers) for _ in range(several)))
    else:
        pf = replace(pf, link_layers=())
    return pf


nodes = st.integers(1, 3).flatmap(lambda n: st.tuples(*(pfs(number) for number in range(n))))


@given(nodes, wanted_vfs)
def test_no_step_destroys(node: tuple[PfView, ...], wanted: WantedVfs) -> None:
    """VFs are made from none only, on InfiniBand only, and none in use is unbound."""
    plan = plan_provisioning(node, wanted)
    assert [pf.address for pf in node] == [each.address for each in plan.pfs]
    for pf, each in zip(node, plan.pfs, strict=True):
        assert bool(each.steps) == (each.verdict is Verdict.CHANGE)
        assert (each.reason is None) == (each.verdict is Verdict.CHANGE)
        if not each.steps:
            continue
        assert ("InfiniBand",) == pf.link_layers
        assert pf.holder is None
        assert not [vf for vf in pf.vfs if vf.holder or vf.place is VfPlace.AWAY]
        for step in each.steps:
            match step:
                case SetNumVfs(count=count):
                    assert 0 == pf.present
                    assert 0 < count <= pf.possible
                    assert count == each.wanted
                case UnbindVf(vf=vf):
                    assert not pf.vfs or pf.vfs[vf].lacks_guid
                case BindVf(vf=vf) if pf.vfs:
                    assert pf.vfs[vf].lacks_guid or pf.vfs[vf].place is VfPlace.UNBOUND
                case SetVfNodeGuid(guid=guid) | SetVfPortGuid(guid=guid):
                    assert guid != ZERO_GUID
                case SetVfLinkState(state=state):
                    assert VfLinkState.AUTO is state
                case _:
                    pass
        if pf.present:
            assert each.wanted == pf.present


@given(nodes, wanted_vfs)
def test_new_guids_are_nobody_elses(node: tuple[PfView, ...], wanted: WantedVfs) -> None:
    """Over all PFs of a node, and never a PF's own."""
    own = {guid for pf in node for guid in pf.own_guids}
    given: dict[Guid, tuple[PciAddress, int]] = {}
    for each in plan_provisioning(node, wanted).pfs:
        for step in each.steps:
            if isinstance(step, SetVfNodeGuid) and not node[0].vfs:
                assert step.guid not in own
        made = any(isinstance(step, SetNumVfs) for step in each.steps)
        for step in each.steps if made else ():
            if isinstance(step, SetVfNodeGuid | SetVfPortGuid):
                me = (each.address, step.vf)
                assert me == given.setdefault(step.guid, me)


@given(nodes, wanted_vfs, st.booleans())
def test_a_plan_carried_out_is_the_last(
    node: tuple[PfView, ...],
    wanted: WantedVfs,
    zero: bool,  # noqa: FBT001 -- hypothesis gives it so
) -> None:
    """On a machine that does what it is told, the next plan has nothing to do."""
    simulated = [Simulated(_told(pf), zero=zero) for pf in node]
    plan = plan_provisioning([s.pf for s in simulated], wanted)
    for machine, each in zip(simulated, plan.pfs, strict=True):
        for step in each.steps:
            machine.do(step)
    again = plan_provisioning([s.pf for s in simulated], wanted)
    for before, after in zip(plan.pfs, again.pfs, strict=True):
        assert () == after.steps
        expected = Verdict.READY if before.verdict is Verdict.CHANGE else before.verdict
        assert expected is after.verdict


@given(nodes, wanted_vfs, st.booleans(), st.data())
def test_a_run_that_was_killed_is_finished_by_the_next(
    node: tuple[PfView, ...],
    wanted: WantedVfs,
    zero: bool,  # noqa: FBT001 -- hypothesis gives it so
    data: st.DataObject,
) -> None:
    """After any step of any PF: the second run ends where the first would have ended."""
    simulated = [Simulated(_told(pf), zero=zero) for pf in node]
    whole = [Simulated(s.pf, zero=zero) for s in simulated]
    plan = plan_provisioning([s.pf for s in simulated], wanted)
    for machine, each in zip(whole, plan.pfs, strict=True):
        for step in each.steps:
            machine.do(step)
    steps = [(m, step) for m, each in zip(simulated, plan.pfs, strict=True) for step in each.steps]
    for machine, step in steps[: data.draw(st.integers(0, len(steps)))]:
        machine.do(step)
    second = plan_provisioning([s.pf for s in simulated], wanted)
    for machine, each in zip(simulated, second.pfs, strict=True):
        for step in each.steps:
            machine.do(step)
    for one, other in zip(simulated, whole, strict=True):
        if zero:
            assert _essence(other.pf) == _essence(one.pf)
        assert [vf.place for vf in other.pf.vfs] == [vf.place for vf in one.pf.vfs]


def _told(pf: PfView) -> PfView:
    """Give a PF of which everything is told that a machine has."""
    return replace(
        pf,
        vfs=tuple(replace(vf, settings=vf.settings or VfSettings(index=vf.index)) for vf in pf.vfs),
    )


def _essence(pf: PfView) -> list[object]:
    return [(vf.place, vf.node_guid, vf.port_guid, vf.settings) for vf in pf.vfs]


def test_autoprobe_is_on_when_vfs_are_bound() -> None:
    """The kernel binds no VF while it is off."""
    steps = plan_provisioning([a_pf(autoprobe=False)], WantedVfs(count=2)).pfs[0].steps
    switches = [i for i, step in enumerate(steps) if step == SetAutoprobe(enabled=True)]
    binds = [i for i, step in enumerate(steps) if isinstance(step, BindVf)]
    assert switches
    assert max(switches) < min(binds)
