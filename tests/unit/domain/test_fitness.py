"""What makes a node unfit, check by check: facts in, findings with remedies out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ibdra_domain import fitness_cluster, fitness_hardware, fitness_places, fitness_sriov
from ibdra_domain.errors import HardwareUnreadable
from ibdra_domain.fitness import (
    Finding,
    Fitness,
    Grade,
    check_isolation,
    check_kernel,
    check_memory_limits,
    check_rights,
    error,
    good,
    kernel_parts,
    not_looked_at,
    warning,
)
from ibdra_domain.hardware import (
    CharDeviceKind,
    IsolationDemand,
    RdmaIsolation,
    SysfsReading,
    VerbsReading,
)
from ibdra_domain.identifiers import ZERO_GUID, PciAddress
from ibdra_domain.inventory import Inventory, Presence, take_inventory
from ibdra_domain.link import LinkLayer, PortState
from ibdra_domain.pf_views import pf_views
from ibdra_domain.ports.host import MemoryLimit, PathFacts, PathKind, ProcessRights
from ibdra_domain.provisioning import plan_provisioning
from ibdra_domain.vf_wishes import PfOverride, WantedVfs
from unit.domain.domain_facts import (
    PF,
    VF,
    a_char_device,
    a_device,
    a_function,
    a_vf,
    a_vf_function,
    an_hca,
    an_hca_port,
)

OTHER_PF = PciAddress("0000:d8:00.0")
RUNNING = Path(__file__).parents[3] / "docs/user/running.md"
ALL = frozenset({"CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"})


def bad(findings: Iterable[Finding]) -> list[tuple[Grade, str]]:
    """Give what is wrong; each finding that is has a remedy, each other neither."""
    every = list(findings)
    for finding in every:
        assert finding.check
        assert finding.subject
        is_bad = finding.grade is not Grade.GOOD
        assert (is_bad, is_bad) == (bool(finding.problem), bool(finding.remedy))
    return [(f.grade, f.problem) for f in every if f.grade is not Grade.GOOD]


def texts(findings: Iterable[Finding]) -> list[str]:
    """Give the problems."""
    return [text for _, text in bad(findings)]


def there(path: str = "/x", kind: PathKind = PathKind.FOLDER, **facts: object) -> PathFacts:
    """Build what lies at a path, fit for use."""
    base = PathFacts(path=path, kind=kind, writable=True, executable=True, mode=0o755)
    return replace(base, **facts)


@given(st.lists(st.sampled_from(list(Grade))))
def test_only_an_error_makes_a_node_unfit(grades: list[Grade]) -> None:
    """Warnings are allowed, any number of them; the counts add up."""
    made = {Grade.GOOD: good("c", "s"), Grade.WARNING: warning("c", "s", "p", remedy="r"),
            Grade.ERROR: error("c", "s", "p", remedy="r")}  # fmt: skip
    fitness = Fitness(findings=tuple(made[grade] for grade in grades))
    assert (Grade.ERROR not in grades) == fitness.fit
    assert len(grades) == sum(map(fitness.count, Grade))


def test_a_check_that_fails_is_an_error_of_its_own() -> None:
    """Ours carries its own remedy; any other is told as what it is."""
    ours = not_looked_at("hca", HardwareUnreadable("/sys is gone", remedy="mount it"))
    assert ("/sys is gone", "mount it") == (ours.problem, ours.remedy)
    other = not_looked_at("hca", ValueError("odd"))
    assert [(Grade.ERROR, "it could not be looked at (ValueError: odd)")] == bad([other])


def test_a_missing_module_is_named_with_what_it_costs() -> None:
    """Those without which nothing works are errors; umad's only where it is wanted."""
    parts = kernel_parts(with_umad=True)
    assert [] == bad(check_kernel((part, True) for part in parts))
    found = dict(zip([p.module for p in parts], bad(check_kernel((p, False) for p in parts)),
                     strict=True))  # fmt: skip
    errors = {name for name, (grade, _) in found.items() if grade is Grade.ERROR}
    assert {"ib_core", "ib_uverbs", "ib_umad"} == errors
    assert {"rdma_cm", "rdma_ucm", "ib_ipoib"} == found.keys() - errors
    assert "ib_umad" not in {part.module for part in kernel_parts(with_umad=False)}


@pytest.mark.parametrize("demand", IsolationDemand)
@pytest.mark.parametrize("mode", [*RdmaIsolation, None])
@pytest.mark.parametrize("others", [0, 3, None])
def test_isolation_is_as_demanded_or_can_be(
    mode: RdmaIsolation | None, demand: IsolationDemand, others: int | None
) -> None:
    """An error exactly where the daemon would not become ready."""
    found = bad([check_isolation(mode, demand, other_namespaces=others)])
    wanted = demand.mode
    stuck = wanted is not None and mode is not wanted and (mode is None or others != 0)
    assert stuck == (Grade.ERROR in {grade for grade, _ in found})
    if stuck and mode is not None and others:
        assert "(EBUSY) while there are 3 other" in found[0][1]
    if wanted is None:
        assert (mode is RdmaIsolation.EXCLUSIVE) == (not found)


@given(st.sets(st.sampled_from(sorted(ALL))), st.booleans(), st.booleans())
def test_each_right_that_lacks_is_told(names: set[str], root: bool, read_only: bool) -> None:  # noqa: FBT001 -- hypothesis gives them so
    """Root, three capabilities and a /sys that is not mounted read-only.

    Its own mode is 0555: for a root without CAP_DAC_OVERRIDE it is never "writable".
    """
    found = check_rights(
        ProcessRights(root=root, capabilities=frozenset(names)),
        sys=there("/sys", writable=False, read_only=read_only),
    )
    assert len(ALL - names) + (not root) + read_only == len(bad(found))


def test_a_runtimes_limit_is_a_warning() -> None:
    """Unlimited is good, and so is no runtime in sight."""
    limits = [
        MemoryLimit(program="crio", pid=1),
        MemoryLimit(program="containerd", pid=2, locked=9),
    ]
    assert [(Grade.WARNING, "containerd lets containers lock 9 bytes: registering more memory for "
             "RDMA fails in them with ENOMEM")] == bad(check_memory_limits(limits))  # fmt: skip
    assert [] == bad(check_memory_limits([]))


def hcas(reading: SysfsReading, **known: object) -> list[str]:
    """Judge a reading with the inventory that it makes."""
    inventory = take_inventory(reading, VerbsReading())
    return texts(fitness_hardware.check_hcas(reading, inventory, **known))  # type: ignore[arg-type]  # the one keyword is given right


def test_a_node_without_a_port_is_told_why() -> None:
    """No HCA, all of them Ethernet, or none that shows a device."""
    ethernet = an_hca(ports=(an_hca_port(link_layer=LinkLayer.ETHERNET.value),))
    assert ["there is no HCA"] == hcas(SysfsReading())
    assert ["all HCA ports are in Ethernet mode, none in InfiniBand mode"] == hcas(
        SysfsReading(functions=(a_function(),), hcas=(ethernet,))
    )
    without = hcas(SysfsReading(functions=(a_function(),)))
    assert "there are HCAs, but no InfiniBand port of them is seen from here" == without[0]
    assert [] == hcas(SysfsReading(functions=(a_function(),), hcas=(an_hca(),)))


def test_a_function_that_shows_nothing_is_told_unless_a_claim_has_it() -> None:
    """No driver, or no RDMA device; a virtual machine's is nobody's business."""
    base = (a_function(),)
    hca = (an_hca(),)
    for vf, said in (
        (a_vf_function(driver=None), "no driver is bound"),
        (a_vf_function(), "shows no RDMA device"),
        (a_vf_function(driver="vfio-pci"), None),
    ):
        found = hcas(SysfsReading(functions=(*base, vf), hcas=hca))
        assert [] == found if said is None else said in found[0]
    away = SysfsReading(functions=(*base, a_vf_function()), hcas=hca)
    assert [] == hcas(away, held=frozenset({VF}))


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({"state": PortState.ACTIVE}, None),
        ({"state": PortState.INIT, "sm_lid": 0}, "waits for a subnet manager"),
        ({"state": PortState.INIT, "sm_lid": 7}, "at LID 7 has not made it Active"),
        ({"state": PortState.DOWN, "physical_state": "Disabled"}, "physical state Disabled"),
        ({"state": PortState.DOWN, "physical_state": "Polling"}, "physical state Polling"),
        ({"state": PortState.DOWN, "physical_state": "LinkUp"}, "physical state LinkUp"),
        ({"state": None}, "cannot be read"),
    ],
)
def test_a_ports_link_is_judged(link: dict[str, object], said: str | None) -> None:
    """Each state has its own remedy; one port that is not Active is a warning."""
    devices = [a_device(link=an_hca_port(**link)), a_vf()]
    found = bad(fitness_hardware.check_ports(devices))
    assert (
        [] == found if said is None else (Grade.WARNING, True) == (found[0][0], said in found[0][1])
    )


def test_no_active_port_at_all_is_an_error() -> None:
    """A port in a pod is not seen, and not counted."""
    down = a_device(link=an_hca_port(state=PortState.DOWN))
    assert Grade.ERROR in dict(bad(fitness_hardware.check_ports([down])))
    away = replace(down, presence=Presence.AWAY)
    assert [] == bad(fitness_hardware.check_ports([away]))
    # The port that is left may be a spare one, and those with a cable in pods.
    assert [Grade.WARNING] == [g for g, _ in bad(fitness_hardware.check_ports([away, down]))]


def test_a_zero_guid_is_an_error_with_the_right_remedy() -> None:
    """A VF of ours gets one from `ibdra provision`, any other from somebody else."""
    ours = a_vf(node_guid=ZERO_GUID)
    first, *_ = fitness_hardware.check_ports([ours])
    assert "ibdra provision" in first.remedy
    other, *_ = fitness_hardware.check_ports([replace(ours, parent_pci=None)])
    assert "ibdra provision" not in other.remedy
    assert [Grade.ERROR, Grade.ERROR] == [first.grade, other.grade]


def sriov(wanted: WantedVfs, **function: object) -> list[str]:
    """Judge the PF as the plan would have it."""
    reading = SysfsReading(functions=(a_function(**function),), hcas=(an_hca(),))
    views = pf_views(reading)
    plan = plan_provisioning(views, wanted)
    return texts(fitness_sriov.check_sriov(reading, views, plan, wanted))


def test_an_old_hca_beside_others_is_no_fault_unless_it_is_named() -> None:
    """One PF without SR-IOV, another with; an Ethernet one is never asked."""
    old = a_function(address=OTHER_PF, total_vfs=None)
    ethernet = an_hca_port(link_layer=LinkLayer.ETHERNET.value)
    other = an_hca(name="mlx4_0", pci=OTHER_PF)
    for wanted, hca, grades in (
        (WantedVfs(count=4), other, {Grade.WARNING}),
        (WantedVfs(overrides=(PfOverride("mlx4_0", 1),)), other, {Grade.ERROR}),
        (WantedVfs(count=4), an_hca(name="mlx4_0", pci=OTHER_PF, ports=(ethernet,)), set()),
    ):
        reading = SysfsReading(functions=(a_function(), old), hcas=(an_hca(), hca))
        views = pf_views(reading)
        plan = plan_provisioning(views, WantedVfs())
        found = fitness_sriov.check_sriov(reading, views, plan, wanted)
        assert grades == {grade for grade, _ in bad(found)}


def test_sriov_is_judged_by_what_is_wanted() -> None:
    """Nothing is wrong where no VFs are wanted; firmware, number and options else."""
    four = WantedVfs(count=4)
    assert [] == sriov(WantedVfs(), total_vfs=0)
    assert ["the firmware of 0000:3b:00.0 allows no VFs"] == sriov(four, total_vfs=0)
    assert ["the firmware of 0000:3b:00.0 allows no VFs"] == sriov(four, total_vfs=None)
    (other,) = sriov(four, num_vfs=2)
    assert "it has 2 VFs, 4 are wanted" in other
    assert "is off: its VFs get no driver" in sriov(WantedVfs(), autoprobe=False)[0]
    overridden = WantedVfs(overrides=(PfOverride("mlx5_9", 1),))
    assert ["--pf mlx5_9=1 fits no PF with SR-IOV of this node"] == sriov(overridden)


def test_what_the_daemon_will_do_is_no_fault() -> None:
    """VFs that are wanted and can be made; too many are clamped, with a warning."""
    reading = SysfsReading(functions=(a_function(),), hcas=(an_hca(),))
    (view,) = pf_views(reading)
    view = replace(view, interface="ib0")
    for count, notes in ((4, 0), (99, 1)):
        wanted = WantedVfs(count=count)
        plan = plan_provisioning([view], wanted)
        found = fitness_sriov.check_sriov(reading, [view], plan, wanted)
        assert notes == len(bad(found))
        assert any("`ibdra run` would take" in finding.subject for finding in found)


def test_an_iommu_in_the_way_is_a_hint() -> None:
    """Translation costs; passing through and having none do not."""
    check = fitness_sriov.check_iommu
    assert [Grade.WARNING] == [grade for grade, _ in bad(check({PF: "DMA-FQ"}))]
    assert [] == bad([*check({PF: "identity"}), *check({PF: None}), *check({})])


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, None),
        ({"kind": PathKind.MISSING}, "is missing, the kernel has 231:192"),
        ({"kind": PathKind.FILE}, "is a file, no device"),
        ({"numbers": (231, 1)}, "is 231:1, the kernel has 231:192"),
        ({"numbers": None}, "the kernel has 231:192"),
    ],
)
def test_a_node_is_what_the_kernel_has(facts: dict[str, object], said: str | None) -> None:
    """An error for what claims get, a warning for the rest."""
    for kind, umad, grade in (
        (CharDeviceKind.UVERBS, False, Grade.ERROR),
        (CharDeviceKind.UMAD, False, Grade.WARNING),
        (CharDeviceKind.UMAD, True, Grade.ERROR),
    ):
        node = a_char_device(kind=kind, major=231, minor=192)
        lies = replace(there(node.path, PathKind.CHAR_DEVICE, numbers=(231, 192)), **facts)
        found = bad(fitness_hardware.check_nodes([node], {node.path: lies}, with_umad=umad))
        assert [] == found if said is None else (grade, True) == (found[0][0], said in found[0][1])


def test_a_device_without_a_node_is_an_error() -> None:
    """Also where this machine's /dev is not meant; one in a pod is not asked for."""
    device = a_device()
    check = fitness_hardware.check_nodes
    assert [f"{device.rdma_device} has no uverbs node"] == texts(check([], None, devices=[device]))
    assert [] == bad(check([], None, devices=[replace(device, presence=Presence.AWAY)]))
    assert [] == bad(check([a_char_device(kind=CharDeviceKind.UVERBS, pci=device.pci)], None,
                           devices=[device]))  # fmt: skip


def test_a_folder_must_be_there_or_can_be_made() -> None:
    """And be writable, with room; what is no folder is in the way."""

    def judged(
        folder: PathFacts, nearest: PathFacts | None = None, *, made: bool = True
    ) -> list[str]:
        return texts([fitness_places.check_folder("c", folder, nearest or folder, purpose="why",
                                                  made=made)])  # fmt: skip

    missing = PathFacts(path="/x/y")
    assert [] == judged(there())
    assert [] == judged(missing, there())
    assert ["/x/y is missing: why"] == judged(missing, there(), made=False)
    assert ["/x cannot be written to: why"] == judged(missing, there(writable=False))
    assert ["the file system of /x is full: why"] == judged(there(full=True))
    assert ["/x is a file, no folder"] == judged(there(kind=PathKind.FILE))


def test_a_socket_is_served_stale_or_in_the_way() -> None:
    """Nothing there is good: the daemon makes its own."""

    def judged(kind: PathKind, *, answers: bool = False) -> list[tuple[Grade, str]]:
        return bad(
            [fitness_places.check_socket("c", there(kind=kind), answers=answers, whose="it")]
        )

    assert [] == judged(PathKind.MISSING) + judged(PathKind.SOCKET, answers=True)
    assert [Grade.WARNING] == [grade for grade, _ in judged(PathKind.SOCKET)]
    assert [(Grade.ERROR, "/x is a folder, no socket: it cannot be served")] == judged(
        PathKind.FOLDER
    )


def test_daemon_and_run_folder() -> None:
    """A daemon that does not run is a warning; a folder others may write to is an error."""
    assert [] == bad([fitness_places.check_daemon(answers=True, socket="/s")])
    silent = fitness_places.check_daemon(answers=False, socket="/s")
    assert [Grade.WARNING] == [grade for grade, _ in bad([silent])]
    assert [] == bad([fitness_places.check_run_folder(there())])
    assert [Grade.ERROR] == [
        g for g, _ in bad([fitness_places.check_run_folder(there(mode=0o775))])
    ]


@pytest.mark.parametrize(
    "content",
    [b'{"kind": "ib.sigs.k8s.io/claim"}', b'{"kind":"ib.sigs.k8s.io/x"}',
     b"cdiVersion: 0.6.0\nkind: ib.sigs.k8s.io/claim\n", b"'kind' : 'ib.sigs.k8s.io/claim'"],
)  # fmt: skip
def test_a_spec_of_our_kind_that_is_not_ours_is_an_error(content: bytes) -> None:
    """In JSON and YAML; ours by their names and other drivers' are not."""
    check = fitness_places.check_cdi_conflicts
    assert 1 == len(bad(check({"/etc/cdi/a": content})))
    others = {"/etc/cdi/b": b'{"kind": "gpu.example.com/claim"}', "/etc/cdi/c": None}
    assert [] == bad(check({"/cdi/a": content} | others, ours=["/cdi/a"]))


def test_the_hook_is_there_runs_and_is_the_shipped_one() -> None:
    """Each of these failing is told; one that cannot be compared is good."""

    def judged(installed: bytes | None, shipped: bytes | None, **facts: object) -> list[str]:
        hook = there(**{"path": "/h", "kind": PathKind.FILE} | facts)  # type: ignore[arg-type]  # as below
        return texts([fitness_places.check_hook(hook, installed, shipped, source="/s")])

    assert [] == judged(b"1", b"1") + judged(b"1", None)
    assert "is another version than the one shipped" in judged(b"1", b"2")[0]
    assert "cannot be run" in judged(b"1", b"1", executable=False)[0]
    assert "is not installed" in judged(None, b"1", kind=PathKind.MISSING)[0]


def test_records_that_cannot_be_read_are_told() -> None:
    """An error for one that is bad now, a warning for one that was set aside."""
    seen = fitness_places.RecordsSeen(good=2, bad=("x.json is bad",), set_aside=("uid",))
    grades = [grade for grade, _ in bad(fitness_places.check_records("/f", seen))]
    assert [Grade.ERROR, Grade.WARNING] == grades


@pytest.mark.parametrize(
    ("version", "is_good"),
    [("v1.34.0", True), ("v1.37.2+k3s1", True), ("1.40", True), ("v1.33.9", False), ("?", False)],
)
def test_the_servers_version(version: str, is_good: bool) -> None:  # noqa: FBT001 -- a case's
    """1.34 and newer."""
    assert is_good == (not bad([fitness_cluster.check_version(version)]))


def test_node_and_api_version() -> None:
    """A node by our name, and resource.k8s.io/v1."""
    both = (True, False)
    assert both == tuple(not bad([fitness_cluster.check_served(served=x)]) for x in both)
    assert both == tuple(not bad([fitness_cluster.check_node("n", registered=x)]) for x in both)
    assert 1 == len(bad([fitness_cluster.not_asked()]))


def test_rights_that_lack_are_told_by_what_they_cost() -> None:
    """Without some the driver cannot work; without others nobody is told."""
    every = fitness_cluster.rights((1, 36))
    assert [] == bad(fitness_cluster.check_rights_of((r, n, True) for r, n in every))
    found = bad(fitness_cluster.check_rights_of((r, n, False) for r, n in every))
    assert len(every) == len(found)
    assert {Grade.ERROR, Grade.WARNING} == {grade for grade, _ in found}


def test_rights_are_those_on_the_page() -> None:
    """Each row of the page about running it, and no other."""
    page = RUNNING.read_text(encoding="utf-8").partition("**Rights.**")[2]
    table = page.partition("**Slices.**")[0]
    row = r"^\| `(\S+?)`(?:, resource name `\S+`)? \| ([\w:, -]+) \|"
    rows = re.findall(row, table, re.MULTILINE)
    written = {(name.replace(".resource.k8s.io", ""), verb)
               for name, verbs in rows for verb in verbs.split(", ")}  # fmt: skip
    asked = {
        (f"{r.resource}/{r.subresource}".rstrip("/"), r.verb)
        for r, _ in fitness_cluster.rights((1, 36))
    }
    assert written == asked
    assert len(fitness_cluster.rights((1, 34))) == len(asked) - 2


def test_slices_are_compared_by_their_devices() -> None:
    """What is published and not here; what is here and hidden counts only while a daemon runs."""
    check = fitness_cluster.check_slices
    assert [] == bad(check(["a"], ["a"], daemon_runs=True))
    assert [] == bad(check([], ["a"], daemon_runs=False))
    assert ["devices are here that are not published: a"] == texts(
        check([], ["a"], daemon_runs=True)
    )
    assert ["devices are published that are not here: a"] == texts(
        check(["a"], [], daemon_runs=False)
    )


def test_an_inventory_is_counted() -> None:
    """A node with ports is good as far as that."""
    reading = SysfsReading(functions=(a_function(),), hcas=(an_hca(),))
    (first,) = fitness_hardware.check_hcas(reading, Inventory(devices=(a_device(),)))
    assert "1 InfiniBand ports" == first.subject
