"""What holds of plans for any view of a port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ibdra_domain.attachment import attach_steps, detach_steps
from ibdra_domain.errors import AttachRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.ports.netlink import Link
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.records import PortOrigin
from ibdra_domain.steps import (
    AddPkeyChild,
    ConfigureLink,
    MoveLink,
    MoveRdmaDevice,
    Place,
    PortView,
    RemoveLink,
    RenameLink,
    SetTrafficClass,
    Step,
)
from unit.domain.domain_facts import (
    PORT_GUID,
    STRANGER,
    TENANT_PKEY,
    a_device,
    a_port,
    a_view,
    an_origin,
)

links = st.builds(
    Link,
    index=st.integers(1, 6),
    name=st.sampled_from(["lo", "ib0", "ib1", "ib0.8001", "dev5"]),
    port_guid=st.sampled_from([None, PORT_GUID, STRANGER]),
    mtu=st.sampled_from([2044, 4092]),
    up=st.booleans(),
    pkey=st.sampled_from([None, 0x8001, 0x8002]),
    parent=st.none() | st.integers(1, 6),
)
namespaces = st.lists(
    links, max_size=4, unique_by=(lambda link: link.index, lambda link: link.name)
).map(tuple)
views = st.builds(
    a_view,
    isolation=st.sampled_from(RdmaIsolation),
    rdma_in=st.frozensets(st.sampled_from(Place)),
    host=namespaces,
    container=namespaces,
    traffic_class=st.none() | st.sampled_from([-1, 0, 106]),
)
ports = st.builds(
    lambda config, index, device: a_port(config=config, pkey_index=index, device=device),
    st.builds(
        IbConfig,
        pkey=st.none() | st.just(TENANT_PKEY),
        traffic_class=st.none() | st.just(106),
        mtu=st.none() | st.just(2048),
    ),
    st.none() | st.integers(0, 2),
    st.sampled_from([a_device(), a_device(netdev=None, netdev_guid=None)]),
)
origins = st.builds(
    an_origin,
    netdev=st.sampled_from([None, "ib0", "ib1"]),
    mtu=st.none() | st.just(2044),
    up=st.none() | st.booleans(),
    traffic_class=st.none() | st.just(0),
)
Planner = Callable[[PortView], tuple[Step, ...]]
planners = st.builds(lambda port: partial(attach_steps, port), ports) | st.builds(
    lambda port, origin: partial(detach_steps, port, origin, displaced={STRANGER}), ports, origins
)


def planned(plan: Planner, view: PortView) -> tuple[Step, ...]:
    """Plan the next steps; none where the planner refuses."""
    try:
        return plan(view)
    except AttachRefused:
        return ()


def changed(view: PortView, place: Place, links: tuple[Link, ...]) -> PortView:
    """Put other interfaces into one place of a view."""
    return msgspec.structs.replace(view, **{place.value: links})


def after(view: PortView, step: Step) -> PortView:
    """Say what a step means, for those after which no new look is needed."""
    match step:
        case SetTrafficClass():
            return msgspec.structs.replace(view, traffic_class=step.value)
        case RemoveLink():
            left = tuple(x for x in view.links(step.place) if x.index != step.index)
            return changed(view, step.place, left)
        case ConfigureLink():
            wanted = {"mtu": step.mtu, "up": step.up}
            facts = {k: v for k, v in wanted.items() if v is not None}
            return _with(view, step.place, step.index, facts)
        case RenameLink():
            return _with(view, step.place, step.index, {"name": step.name})
        case _:
            return view


def _with(view: PortView, place: Place, index: int, facts: Mapping[str, object]) -> PortView:
    return changed(
        view,
        place,
        tuple(
            msgspec.structs.replace(x, **facts) if x.index == index else x
            for x in view.links(place)
        ),
    )


@settings(max_examples=400)  # the corners are where several rare facts meet
@given(planners, views)
def test_nothing_is_moved_to_where_it_is(plan: Planner, view: PortView) -> None:
    """The kernel would tear it down all the same; and shared mode moves no RDMA device."""
    for step in planned(plan, view):
        if isinstance(step, MoveRdmaDevice):
            assert step.to not in view.rdma_in
            assert view.isolation is RdmaIsolation.EXCLUSIVE
        if isinstance(step, MoveLink):
            other = Place.HOST if step.to is Place.CONTAINER else Place.CONTAINER
            assert step.index in {x.index for x in view.links(other)}


@settings(max_examples=400)  # the corners are where several rare facts meet
@given(planners, views)
def test_only_what_is_there_is_touched(plan: Planner, view: PortView) -> None:
    """Every step's interface is in its place, and renamed ones get a name that is free then."""
    now = view
    for step in planned(plan, view):
        match step:
            case RenameLink():
                link = next(x for x in now.links(step.place) if x.index == step.index)
                assert not link.up
                assert step.name not in {x.name for x in now.links(step.place)}
            case ConfigureLink() | RemoveLink():
                assert step.index in {x.index for x in now.links(step.place)}
            case AddPkeyChild():
                assert step.parent in {x.index for x in now.links(step.place)}
            case SetTrafficClass():
                assert Place.HOST in now.rdma_in
        now = after(now, step)


@settings(max_examples=400)  # the corners are where several rare facts meet
@given(planners, views)
def test_a_plan_does_all_that_can_be_known(plan: Planner, view: PortView) -> None:
    """Carried out, it leaves nothing to do, unless its last step makes a new look needed."""
    steps = planned(plan, view)
    now = view
    for step in steps:
        now = after(now, step)
    if steps and not isinstance(steps[-1], MoveRdmaDevice | MoveLink | AddPkeyChild):
        assert () == plan(now)


@settings(max_examples=400)  # the corners are where several rare facts meet
@given(planners, views)
def test_a_move_is_the_last_step(plan: Planner, view: PortView) -> None:
    """After it everything may have another index, name or place: one must look again."""
    for step in planned(plan, view)[:-1]:
        assert not isinstance(step, MoveRdmaDevice | MoveLink | AddPkeyChild)


@given(ports, origins)
def test_a_port_at_home_as_it_was_needs_nothing(port: PreparedPort, origin: PortOrigin) -> None:
    """Detaching twice is detaching once."""
    view = a_view(traffic_class=0)
    steps = planned(partial(detach_steps, port, origin), view)
    for step in steps:
        view = after(view, step)
    assert () == planned(partial(detach_steps, port, origin), view)
