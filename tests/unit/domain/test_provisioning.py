"""Which VFs are made, which GUIDs are given, and what is never touched."""

from __future__ import annotations

import pytest

from ibdra_domain.identifiers import ZERO_GUID, Guid, PciAddress
from ibdra_domain.pf_views import PfView, VfPlace, VfView
from ibdra_domain.ports.sriov import VfLinkState, VfSettings
from ibdra_domain.provisioning import PfPlan, Verdict, plan_provisioning
from ibdra_domain.vf_guids import GuidFile
from ibdra_domain.vf_steps import (
    AwaitVfs,
    BindVf,
    SetAutoprobe,
    SetNumVfs,
    SetVfLinkState,
    SetVfNodeGuid,
    SetVfPortGuid,
    UnbindVf,
    VfIdentity,
)
from ibdra_domain.vf_wishes import PfOverride, WantedVfs
from unit.domain.provisioning_facts import (
    PF,
    PF_GUID,
    VF_GUIDS,
    a_pf,
    a_vf,
    settings,
    unbound,
    with_vfs,
)

OTHER = PciAddress("0000:5e:00.0")
GIVEN = Guid("02aa:0000:0000:0001")
AUTO = VfLinkState.AUTO


def planned(pf: PfView, count: int = 2, **wanted: object) -> PfPlan:
    """Plan one PF."""
    asked = {"count": count} | wanted
    (plan,) = plan_provisioning([pf], WantedVfs(**asked)).pfs  # type: ignore[arg-type]  # a test's shorthand
    return plan


def test_vfs_are_made_unbound_told_who_they_are_and_bound() -> None:
    """In this order: a VF never shows a GUID that is not to be its own."""
    one, two = VF_GUIDS[:2]
    plan = planned(a_pf())
    assert (Verdict.CHANGE, 2, "--num-vfs", None) == (
        plan.verdict,
        plan.wanted,
        plan.chosen_by,
        plan.reason,
    )
    assert (
        SetAutoprobe(enabled=False),
        SetNumVfs(count=2),
        SetVfLinkState(vf=0, state=AUTO),
        SetVfNodeGuid(vf=0, guid=one),
        SetVfPortGuid(vf=0, guid=one),
        SetVfLinkState(vf=1, state=AUTO),
        SetVfNodeGuid(vf=1, guid=two),
        SetVfPortGuid(vf=1, guid=two),
        SetAutoprobe(enabled=True),
        BindVf(vf=0, driver="mlx5_core"),
        BindVf(vf=1, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(0, one, one), VfIdentity(1, two, two))),
    ) == plan.steps


def test_a_kernel_without_the_switch_binds_them_and_they_are_bound_again() -> None:
    """Before 4.12 there is no sriov_drivers_autoprobe."""
    one = VF_GUIDS[0]
    assert (
        SetNumVfs(count=1),
        SetVfLinkState(vf=0, state=AUTO),
        SetVfNodeGuid(vf=0, guid=one),
        SetVfPortGuid(vf=0, guid=one),
        UnbindVf(vf=0),
        BindVf(vf=0, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(0, one, one),)),
    ) == planned(a_pf(autoprobe=None), 1).steps


def test_no_more_are_made_than_are_possible() -> None:
    """The plan says what was asked for and what the card can."""
    plan = planned(a_pf(possible=3), 16)
    assert (3, SetNumVfs(count=3)) == (plan.wanted, plan.steps[1])
    assert ("16 VFs are wanted, 3 are possible (sriov_totalvfs)",) == plan.notes


@pytest.mark.parametrize("present", [0, 2])
def test_zero_touches_nothing(present: int) -> None:
    """It does not mean "remove them", whatever state they are in."""
    plan = planned(with_vfs(*(unbound(i) for i in range(present))), 0)
    assert (Verdict.LEFT, ()) == (plan.verdict, plan.steps)


@pytest.mark.parametrize("present", [1, 3])
def test_another_number_is_left_and_reported(present: int) -> None:
    """Also if more are wanted: the kernel would remove those there are first."""
    plan = planned(with_vfs(*(a_vf(i) for i in range(present))))
    assert (Verdict.REFUSED, ()) == (plan.verdict, plan.steps)
    assert f"it has {present} VFs, 2 are wanted" in str(plan.reason)


def test_what_is_as_wanted_is_ready() -> None:
    """Nothing is done, also where a pod has a VF or the PF itself."""
    away = a_vf(1, place=VfPlace.AWAY, node_guid=None, port_guid=None, holder="team/job")
    for pf in (
        with_vfs(a_vf(0), a_vf(1)),
        with_vfs(a_vf(0), away),
        with_vfs(a_vf(0), away, holder="x"),
    ):
        plan = planned(pf)
        assert (Verdict.READY, ()) == (plan.verdict, plan.steps)


def test_a_pf_in_a_pod_with_its_vfs_is_ready() -> None:
    """It is not seen, and known by the name that it has in the pod."""
    away = a_pf(
        rdma_device=None, link_layers=(), node_guid=None, port_guid=None, interface=None,
        present=2, holder="jobs/train (uid)", held_device="mlx5_0",
    )  # fmt: skip
    named = WantedVfs(overrides=(PfOverride("mlx5_0", 2),))
    plan = plan_provisioning([away], named)
    assert () == plan.unmatched
    assert [Verdict.READY] == [pf.verdict for pf in plan.pfs]
    assert "jobs/train" in str(plan.pfs[0].reason)
    assert Verdict.REFUSED is planned(away, 3).verdict


@pytest.mark.parametrize(
    ("lacking", "what"),
    [
        (unbound(1, settings=None), "VF 1 lacks a GUID or a driver"),
        (a_vf(1, node_guid=ZERO_GUID, settings=None), "VF 1 lacks a GUID or a driver"),
    ],
    ids=["without driver", "without GUID"],
)
def test_a_pf_in_a_pod_whose_vfs_cannot_be_used_is_refused(lacking: VfView, what: str) -> None:
    """A run that was cut short is no success; only the PF itself can tell VFs who they are."""
    away = with_vfs(
        a_vf(0), lacking,
        rdma_device=None, link_layers=(), interface=None, holder="jobs/train (uid)",
    )  # fmt: skip
    plan = planned(away)
    assert (Verdict.REFUSED, ()) == (plan.verdict, plan.steps)
    assert f"{what}, but claim jobs/train (uid) has the PF" in str(plan.reason)


def test_a_vf_without_guids_is_given_them_and_bound_again() -> None:
    """The other one is not touched."""
    lacking = a_vf(1, node_guid=ZERO_GUID, port_guid=ZERO_GUID)
    two = VF_GUIDS[1]
    assert (
        SetVfLinkState(vf=1, state=AUTO),
        SetVfNodeGuid(vf=1, guid=two),
        SetVfPortGuid(vf=1, guid=two),
        UnbindVf(vf=1),
        BindVf(vf=1, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(1, two, two),)),
    ) == planned(with_vfs(a_vf(0), lacking)).steps


def test_only_the_guid_that_is_missing_is_given() -> None:
    """A node GUID that somebody chose stays; so does a link state that is right."""
    lacking = a_vf(
        0,
        node_guid=GIVEN,
        port_guid=ZERO_GUID,
        settings=VfSettings(index=0, node_guid=GIVEN, port_guid=ZERO_GUID, link_state=AUTO),
    )
    one = VF_GUIDS[0]
    assert (
        SetVfPortGuid(vf=0, guid=one),
        UnbindVf(vf=0),
        BindVf(vf=0, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(0, GIVEN, one),)),
    ) == planned(with_vfs(lacking), 1).steps


def test_a_guid_that_is_set_but_not_yet_taken_is_kept() -> None:
    """Somebody, or a run that was killed, set it: it only has to be bound again."""
    lacking = a_vf(0, node_guid=ZERO_GUID, port_guid=ZERO_GUID, settings=settings(0, GIVEN, AUTO))
    assert (
        UnbindVf(vf=0),
        BindVf(vf=0, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(0, GIVEN, GIVEN),)),
    ) == planned(with_vfs(lacking), 1).steps


def test_vfs_without_driver_are_completed() -> None:
    """What a killed run left: autoprobe off, one VF told who it is, the other not."""
    pf = with_vfs(unbound(0, settings=settings(0, VF_GUIDS[0], AUTO)), unbound(1), autoprobe=False)
    one, two = VF_GUIDS[:2]
    plan = planned(pf)
    assert (
        SetVfLinkState(vf=1, state=AUTO),
        SetVfNodeGuid(vf=1, guid=two),
        SetVfPortGuid(vf=1, guid=two),
        SetAutoprobe(enabled=True),
        BindVf(vf=0, driver="mlx5_core"),
        BindVf(vf=1, driver="mlx5_core"),
        AwaitVfs(vfs=(VfIdentity(0, one, one), VfIdentity(1, two, two))),
    ) == plan.steps
    assert ("driver autoprobe was off and will be on",) == plan.notes


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"holder": "team/job (uid)"}, "VF 1 is held by claim team/job (uid)"),
        ({"place": VfPlace.AWAY, "node_guid": None}, "VF 1 is in another network namespace"),
    ],
)
def test_nothing_is_done_while_a_pod_has_one_of_them(fields: dict[str, object], why: str) -> None:
    """Binding gives device numbers out anew, and the pod's were resolved before."""
    for lacking in (unbound(0), a_vf(0, node_guid=ZERO_GUID)):
        plan = planned(with_vfs(lacking, a_vf(1, **fields)))
        assert (Verdict.REFUSED, ()) == (plan.verdict, plan.steps)
        assert why in str(plan.reason)


def test_vfs_of_another_driver_are_left() -> None:
    """Somebody has given it to vfio-pci; the plan says so."""
    plan = planned(with_vfs(a_vf(0), unbound(1, place=VfPlace.OTHER_DRIVER)))
    assert (Verdict.READY, ("VF 1 is with another driver, and is left",)) == (
        plan.verdict,
        plan.notes,
    )


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rdma_device": None, "link_layers": (), "driver": None}, "no driver is bound"),
        ({"rdma_device": None, "link_layers": ()}, "shows no RDMA device here"),
        ({"link_layers": ("InfiniBand", "InfiniBand")}, "2 ports on one function"),
        ({"link_layers": ("Ethernet", "InfiniBand")}, "2 ports on one function"),
        ({"present": None}, "cannot be read"),
        ({"holder": "team/job (uid)"}, "the PF is held by claim team/job"),
        ({"interface": None}, "no IPoIB interface"),
        ({"port_guid": None}, "is unknown"),
        ({"port_guid": ZERO_GUID}, "it is zero"),
    ],
)
def test_a_pf_that_cannot_be_provisioned_is_refused(fields: dict[str, object], why: str) -> None:
    """With the reason, and nothing is done."""
    plan = planned(a_pf(**fields))
    assert (Verdict.REFUSED, ()) == (plan.verdict, plan.steps)
    assert why in str(plan.reason)


@pytest.mark.parametrize("layer", ["Ethernet", None, "Unspecified"])
def test_only_infiniband_gets_vfs(layer: str | None) -> None:
    """A PF of another link layer is passed over; asked for by name it is refused."""
    pf = a_pf(link_layers=(layer,))
    assert (Verdict.LEFT, ()) == (planned(pf).verdict, planned(pf).steps)
    wild = planned(pf, overrides=(PfOverride("mlx5_*", 2),))
    assert (Verdict.LEFT, ()) == (wild.verdict, wild.steps)
    named = planned(pf, overrides=(PfOverride("mlx5_0", 2),))
    assert (Verdict.REFUSED, ()) == (named.verdict, named.steps)
    assert "only InfiniBand" in str(named.reason)


@pytest.mark.parametrize(
    ("overrides", "count", "by"),
    [
        ([("mlx5_*", 3)], 3, "--pf mlx5_*=3"),
        ([("0000:3b:00.0", 4), ("mlx5_*", 3)], 4, "--pf 0000:3b:00.0=4"),
        ([("mlx5_0", 4), ("0000:3b:*", 3)], 4, "--pf mlx5_0=4"),
        ([("0000:3b:*", 3), ("mlx5_*", 4)], 3, "--pf 0000:3b:*=3"),
        ([("*", 5), ("mlx5_?", 4)], 4, "--pf mlx5_?=4"),
        ([("mlx5_?", 4), ("mlx5_*", 5)], 5, "--pf mlx5_*=5"),
        ([("mlx5_0", 4), ("mlx5_0", 5)], 5, "--pf mlx5_0=5"),
        ([("mlx5_1", 4), ("0000:5e:*", 5)], 2, "--num-vfs"),
        ([("mlx5_0", 0)], 0, "--pf mlx5_0=0"),
        ([("0000:3B:00.0", 4)], 4, "--pf 0000:3B:00.0=4"),
    ],
)
def test_the_most_specific_override_counts(
    overrides: list[tuple[str, int]], count: int, by: str
) -> None:
    """A name before a pattern, more letters before fewer, the later before the former."""
    plan = planned(a_pf(), overrides=tuple(PfOverride(*each) for each in overrides))
    assert (count, by) == (plan.wanted, plan.chosen_by)


def test_an_override_that_fits_nothing_is_said() -> None:
    """Somebody meant a PF that is not there: that is no success."""
    plan = plan_provisioning([a_pf()], WantedVfs(overrides=(PfOverride("mlx5_9", 2),)))
    assert (("--pf mlx5_9=2",), True) == (plan.unmatched, plan.refused)
    assert not plan_provisioning([a_pf()], WantedVfs(count=2)).refused


def test_guids_come_from_the_file_where_it_has_them() -> None:
    """The others are derived."""
    file = GuidFile({(PF, 1): GIVEN, (OTHER, 0): Guid("02aa:0000:0000:0002")})
    steps = planned(a_pf(), 3, guids=file).steps
    assert [VF_GUIDS[0], GIVEN, VF_GUIDS[2]] == [
        step.guid for step in steps if isinstance(step, SetVfNodeGuid)
    ]


def test_a_present_vf_keeps_its_guid_whatever_the_file_says() -> None:
    """It may be in use: the difference is said."""
    plan = planned(with_vfs(a_vf(0)), 1, guids=GuidFile({(PF, 0): GIVEN}))
    assert Verdict.READY is plan.verdict
    assert (f"VF 0 has GUID {VF_GUIDS[0]}, the GUID file says {GIVEN}: it is left",) == plan.notes


@pytest.mark.parametrize(
    ("guid", "owner"), [(PF_GUID, PF), (VF_GUIDS[2], "VF 1"), (GIVEN, f"VF 0 of {OTHER}")]
)
def test_no_two_on_a_node_get_one_guid(guid: Guid, owner: str) -> None:
    """Not a PF's own, not another VF's of this PF or of another."""
    neighbour = a_pf(
        address=OTHER,
        rdma_device="mlx5_1",
        node_guid=Guid("0c42:a103:0021:5c80"),
        port_guid=Guid("0c42:a103:0021:5c80"),
        present=1,
        vfs=(a_vf(0, node_guid=GIVEN, port_guid=GIVEN),),
    )
    file = GuidFile({(PF, 1): guid})
    wanted = WantedVfs(overrides=(PfOverride(PF, 3),), guids=file)
    plan = plan_provisioning([a_pf(), neighbour], wanted).pf(PF)
    assert plan is not None
    assert (Verdict.REFUSED, ()) == (plan.verdict, plan.steps)
    assert f"GUID {guid}, which {owner}" in str(plan.reason)


def test_nor_what_anything_else_on_the_node_has() -> None:
    """An HCA without SR-IOV, a VF in a pod."""
    plan = plan_provisioning([a_pf()], WantedVfs(count=2), others={VF_GUIDS[1]: "mlx4_0"})
    assert f"VF 1 would get GUID {VF_GUIDS[1]}, which mlx4_0 has too" in str(plan.pfs[0].reason)


def test_a_vf_that_is_seen_twice_is_one() -> None:
    """What sysfs shows of it is no other device."""
    lacking = a_vf(0, node_guid=ZERO_GUID, settings=settings(0, ZERO_GUID))
    others = {VF_GUIDS[0]: "mlx5_0v0", PF_GUID: "mlx5_0"}
    (plan,) = plan_provisioning([with_vfs(lacking)], WantedVfs(count=1), others=others).pfs
    assert SetVfNodeGuid(vf=0, guid=VF_GUIDS[0]) in plan.steps


def test_of_two_pfs_that_would_clash_the_second_is_refused() -> None:
    """PFs whose GUIDs differ in the two middle bytes only."""
    near = Guid("0c42:a103:0121:5b80")
    other = a_pf(address=OTHER, rdma_device="mlx5_1", node_guid=near, port_guid=near)
    first, second = plan_provisioning([a_pf(), other], WantedVfs(count=2)).pfs
    assert Verdict.CHANGE is first.verdict
    assert f"which VF 1 of {PF} has too" in str(second.reason)


def test_plans_are_for_people_too() -> None:
    """Every step says what it does; the PF is named by address and RDMA name."""
    plan = planned(a_pf(), 1)
    assert f"{PF} (mlx5_0)" == plan.name
    assert [
        "turn driver autoprobe off",
        "make 1 VFs",
        "VF 0: set link state auto",
        f"VF 0: set node GUID {VF_GUIDS[0]}",
        f"VF 0: set port GUID {VF_GUIDS[0]}",
        "turn driver autoprobe on",
        "VF 0: bind to mlx5_core",
        "wait for 1 VFs and compare their GUIDs",
    ] == [str(step) for step in plan.steps]
    assert "VF 0: unbind" == str(UnbindVf(vf=0))
    assert PF == planned(a_pf(rdma_device=None)).name
