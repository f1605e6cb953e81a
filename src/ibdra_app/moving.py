"""Plans carried out: look, do the next steps, look again, until there are none.

Why: deciding and doing are different things.  The domain decides; here each step becomes
one call of a port, and nothing else happens.  Where the kernel has yet to do something by
itself, it is waited for.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Collection
from typing import Protocol

from ibdra_app.waiting import Waiter
from ibdra_domain.errors import AttachRefused, KernelRefused, NotSettled
from ibdra_domain.hardware import CharDeviceKind, RdmaIsolation
from ibdra_domain.identifiers import PciAddress
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.netlink import Links, Netns, NetnsId, RdmaDevices
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.shortfalls import lowered_mtus, wanted_mtus
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

_log = logging.getLogger(__name__)

MOST_ROUNDS = 8
"""A device with interface, name, MTU and child needs five; more means it does not settle."""


class Plan(Protocol):
    """A domain function that plans a port's next steps."""

    def __call__(self, port: PreparedPort, *, view: PortView) -> tuple[Step, ...]:
        """Give the steps up to the next look."""


class Spaces:
    """The two namespaces of a plan, open; ``container`` is None if it has died."""

    def __init__(self, *, host: Netns, container: Netns | None) -> None:
        self._host = host
        self._container = container

    def at(self, place: Place) -> Netns:
        """Give a place's namespace.  Raises AttachRefused if it has died."""
        netns = self._host if place is Place.HOST else self._container
        if netns is None:
            raise AttachRefused(
                "the container's network namespace has died",
                remedy="nothing to do: the kernel brings its devices home",
            )
        return netns

    @property
    def places(self) -> tuple[Place, ...]:
        """List the places that are there."""
        return (Place.HOST,) if self._container is None else (Place.HOST, Place.CONTAINER)

    @property
    def container_id(self) -> NetnsId:
        """Identify the container's namespace."""
        return self.at(Place.CONTAINER).id


class Mover:
    """Carries plans out on the kernel's ports.

    ``watch`` opens the machine's events, ``clock`` gives monotonic seconds; ``leaving`` is
    told of each RDMA device before it leaves the host, as whoever has it open must let go.
    """

    def __init__(
        self,
        *,
        rdma: RdmaDevices,
        links: Links,
        sysfs: Sysfs,
        watch: Callable[[], Events],
        clock: Callable[[], float],
        leaving: Callable[[str], object],
    ) -> None:
        self._rdma = rdma
        self._links = links
        self._sysfs = sysfs
        self._watch = watch
        self._clock = clock
        self._leaving = leaving

    def view(
        self,
        port: PreparedPort,
        spaces: Spaces,
        *,
        mtu_asked: Collection[tuple[Place, int]] | None = None,
    ) -> PortView:
        """Look where a port and its interfaces are.

        ``mtu_asked`` are the interfaces whose MTU has been asked for.  Without it, as for
        who only compares, all count as such: what an attach did is not told by the kernel.
        """
        device = port.device
        now = self._name_now(device.pci)
        name = now or device.rdma_device
        links = {place: self._links.list(spaces.at(place)) for place in spaces.places}
        isolation = self._rdma.isolation()
        # By its function, where that can be: another device may have its name elsewhere.
        rdma_in = {Place.HOST} if name in self._sysfs.rdma_devices(device.pci) else set()
        if isolation is RdmaIsolation.SHARED or not rdma_in:
            away = set(spaces.places) - {Place.HOST}
            rdma_in |= {place for place in away if name in self._rdma.names(spaces.at(place))}
        if mtu_asked is None:
            mtu_asked = [(place, link.index) for place, there in links.items() for link in there]
        return PortView(
            isolation=isolation,
            rdma_device=name,
            rdma_in=frozenset(rdma_in),
            exists=now is not None,
            host=links[Place.HOST],
            container=links.get(Place.CONTAINER, ()),
            traffic_class=(
                self._sysfs.traffic_class(name, device.port) if Place.HOST in rdma_in else None
            ),
            mtu_asked=frozenset(mtu_asked),
        )

    def settle(self, port: PreparedPort, spaces: Spaces, plan: Plan, *, patience: float) -> None:
        """Do a plan's steps until none is left.

        Waits at most ``patience`` seconds for what the kernel has yet to do by itself.
        An MTU that the kernel makes lower than it was asked is told, and no failure.
        Raises NotSettled if it has not done so by then, KernelRefused if a step fails,
        and AttachRefused if the device does not come to rest.
        """
        left = MOST_ROUNDS
        asked: dict[tuple[Place, int], int] = {}
        with Waiter(watch=self._watch, clock=self._clock, patience=patience) as waiter:
            while True:
                try:
                    view = self.view(port, spaces, mtu_asked=asked)
                    steps = plan(port, view=view)
                    if not steps:
                        break
                    if not left:
                        raise _unsettled(port, steps)
                    left -= 1
                    for step in steps:
                        _log.debug("%s: %s", port.device.name, step)
                        self._do(step, spaces)
                        asked |= _mtu_asked(step)
                except NotSettled:
                    if not waiter.wait():
                        raise
                except KernelRefused as error:
                    # What was to be moved has moved by itself since it was looked at.
                    if error.errno != errno.ENODEV or not left or not waiter.wait():
                        raise
                    left -= 1
        for line in lowered_mtus(view, asked):
            _log.warning("%s: %s", port.device.name, line)

    def tell_of_mtus(self, port: PreparedPort, spaces: Spaces) -> None:
        """Tell of MTUs in the container that the kernel has lowered since they were asked for."""
        view = self.view(port, spaces)
        for line in lowered_mtus(view, wanted_mtus(port, view)):
            _log.warning("%s: %s", port.device.name, line)

    def _do(self, step: Step, spaces: Spaces) -> None:
        match step:
            case MoveRdmaDevice(name=name, to=to):
                if to is Place.CONTAINER:
                    self._leaving(name)
                self._rdma.move(name, source=spaces.at(_other(to)), target=spaces.at(to))
            case MoveLink(index=index, to=to):
                self._links.move(index, source=spaces.at(_other(to)), target=spaces.at(to))
            case RenameLink(index=index, name=name, place=place):
                self._links.rename(index, name, netns=spaces.at(place))
            case ConfigureLink(index=index, place=place, mtu=mtu, up=up):
                self._links.configure(index, netns=spaces.at(place), mtu=mtu, up=up)
            case AddPkeyChild(parent=parent, name=name, pkey=pkey, place=place):
                self._links.add_pkey_child(parent, name=name, pkey=pkey, netns=spaces.at(place))
            case RemoveLink(index=index, place=place):
                self._links.remove(index, netns=spaces.at(place))
            case SetTrafficClass(name=name, port=number, value=value):
                self._sysfs.set_traffic_class(name, number, value)

    def _name_now(self, pci: PciAddress) -> str | None:
        """Tell the RDMA device's present name: the kernel may have renamed it on its way home."""
        return next(
            (
                node.rdma_device
                for node in self._sysfs.char_devices(pci)
                if node.kind is CharDeviceKind.UVERBS
            ),
            None,
        )


def _mtu_asked(step: Step) -> dict[tuple[Place, int], int]:
    """Give the MTU that a step asks for, by the interface's place and index."""
    if isinstance(step, ConfigureLink) and step.mtu is not None:
        return {(step.place, step.index): step.mtu}
    return {}


def _unsettled(port: PreparedPort, steps: tuple[Step, ...]) -> AttachRefused:
    return AttachRefused(
        f"device {port.device.name} did not settle: after {MOST_ROUNDS} rounds there is still "
        f"{steps}",
        remedy="look for another program that configures it (NetworkManager, udev rules)",
    )


def _other(place: Place) -> Place:
    return Place.CONTAINER if place is Place.HOST else Place.HOST
