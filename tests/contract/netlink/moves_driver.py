"""A driver as small as can be: it carries the domain's plans out on the fake kernel.

Why: the planner's promise is that whoever looks, does what it says, and looks again,
arrives.  So this loop knows nothing of its own; what it asserts of every step is that the
kernel did not refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Protocol

import msgspec

from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.attachment import attach_steps, detach_steps, origin_of, traffic_class_steps
from ibdra_domain.hardware import HcaPort, RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import DeviceName, Guid, PciAddress, device_name
from ibdra_domain.inventory import FunctionType, IbDevice
from ibdra_domain.ports.netlink import Netns, NetnsId
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

MOST_ROUNDS = 8


class Plan(Protocol):
    """One of the domain's planners, with what it needs beside port and view."""

    def __call__(self, port: PreparedPort, *, view: PortView) -> tuple[Step, ...]:
        """Give the steps up to the next look."""


class HcaModel(msgspec.Struct, frozen=True, kw_only=True):
    """An HCA of the model: its ports' interfaces at home, None for a port without one."""

    name: str
    pci: PciAddress
    netdevs: tuple[str | None, ...]
    mtu: int = 4096

    @property
    def devices(self) -> tuple[IbDevice, ...]:
        """Give its ports as the inventory has them."""
        return tuple(
            IbDevice(
                name=device_name(self.pci, number),
                pci=self.pci,
                port=number,
                function_type=FunctionType.PF,
                rdma_device=self.name,
                link=HcaPort(number=number, active_mtu=self.mtu),
                netdev=netdev,
                netdev_guid=guid_of(self.pci, number) if netdev else None,
            )
            for number, netdev in enumerate(self.netdevs, start=1)
        )


HCAS = (
    HcaModel(name="mlx5_0", pci=PciAddress("0000:3b:00.0"), netdevs=("ib0",)),
    HcaModel(name="mlx4_0", pci=PciAddress("0000:5e:00.0"), netdevs=("ib1", "ib2"), mtu=2048),
    HcaModel(name="mlx5_1", pci=PciAddress("0000:86:00.0"), netdevs=("ibp134s0",)),
    HcaModel(name="mlx5_2", pci=PciAddress("0000:d8:00.0"), netdevs=(None,)),
)


STRANGER = HcaModel(name="mthca0", pci=PciAddress("0000:af:00.0"), netdevs=("storage",))
"""An HCA that is nobody's claim; its interface may be found in a pod under any name."""


class Claim(msgspec.Struct, kw_only=True):
    """An HCA in use: what was asked for and what it was like before.

    ``ports`` are those the claim was given, ``companions`` the HCA's others; ``complete``
    tells that the last attach came to its end.
    """

    hca: HcaModel
    ports: tuple[PreparedPort, ...]
    companions: tuple[PreparedPort, ...]
    netns: NetnsId
    origins: dict[DeviceName, PortOrigin]
    complete: bool = False

    @property
    def touched(self) -> tuple[PreparedPort, ...]:
        """Give every port whose interface is torn down with the HCA's."""
        return self.ports + self.companions


class Driver:
    """Attaches and detaches HCAs; one at a time, as the real one does."""

    def __init__(self, *, isolation: RdmaIsolation, interface_follows: bool) -> None:
        self.kernel = FakeKernel(isolation=isolation, ipoib_follows_device=interface_follows)
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma = FakeRdmaDevices(self.kernel)
        self.links = FakeLinks(self.kernel)
        self.claims: dict[str, Claim] = {}
        self.traffic_classes: dict[tuple[str, int], int] = {}
        for hca in (*HCAS, STRANGER):
            ports = tuple(
                FakePort(number=i, guid=guid_of(hca.pci, i), netdev=netdev, mtu=hca.mtu)
                for i, netdev in enumerate(hca.netdevs, start=1)
            )
            self.kernel.add_device(hca.name, pci=hca.pci, ports=ports)
            self.traffic_classes |= {(hca.name, port.number): -1 for port in ports}

    def attach(
        self, hca: HcaModel, netns: NetnsId, *, config: IbConfig, pkey_index: int, alone: bool
    ) -> Claim:
        """Note what an HCA is like, as for a claim of it; ``alone`` leaves other ports out."""
        prepared = tuple(
            PreparedPort(
                request="hca",
                device=device,
                config=config,
                pkey_index=pkey_index if config.pkey is not None else None,
            )
            for device in hca.devices
        )
        cut = 1 if alone else len(prepared)
        bare = tuple(PreparedPort(request="", device=p.device) for p in prepared[cut:])
        with self._spaces(netns) as spaces:
            origins = {
                port.device.name: origin_of(port.device, self.view(port, spaces))
                for port in prepared
            }
        claim = Claim(hca=hca, ports=prepared[:cut], companions=bare, netns=netns, origins=origins)
        self.claims[hca.name] = claim
        return claim

    def complete(self, claim: Claim, *, most_steps: int | None = None) -> None:
        """Bring a claim's ports into its namespace; stop after some steps as a crash does."""
        left = most_steps
        plan = partial(attach_steps, displaced=self._displaced(*self.claims.values()))
        with self._spaces(claim.netns) as spaces:
            for stage in (traffic_class_steps, plan):
                for port in claim.ports:
                    left = self._settle(port, spaces, stage, left)
                    if left == 0:
                        return
        claim.complete = True

    def detach(self, claim: Claim, *, most_steps: int | None = None) -> None:
        """Bring a claim's ports home; stop after some steps as a crash does."""
        claim.complete = False
        left = most_steps
        displaced = self._displaced(*self.claims.values())
        with self._spaces(claim.netns) as spaces:
            for port in claim.touched:
                plan = partial(
                    detach_steps, origin=claim.origins[port.device.name], displaced=displaced
                )
                left = self._settle(port, spaces, plan, left)
                if left == 0:
                    return
        del self.claims[claim.hca.name]

    def bring_stranger(self, netns: NetnsId, name: str) -> None:
        """Move the stranger's interface, whatever it is called and wherever it is."""
        own = next(x for x in self.kernel.links.values() if x.rdma == STRANGER.name)
        with self._opened(own.netns) as source, self._opened(netns) as target:
            self.links.configure(own.link.index, netns=source, up=False)
            self.links.rename(own.link.index, "passing-by", netns=source)
            self.links.move(own.link.index, source=source, target=target)
            self.links.rename(own.link.index, name, netns=target)

    def view(self, port: PreparedPort, spaces: dict[Place, Netns]) -> PortView:
        """Look where a port is."""
        name = port.device.rdma_device
        rdma_in = frozenset(p for p, netns in spaces.items() if name in self.rdma.names(netns))
        visible = Place.HOST in rdma_in
        return PortView(
            isolation=self.rdma.isolation(),
            rdma_device=name,
            rdma_in=rdma_in,
            host=self.links.list(spaces[Place.HOST]),
            container=self.links.list(spaces[Place.CONTAINER]) if Place.CONTAINER in spaces else (),
            traffic_class=self.traffic_classes[name, port.device.port] if visible else None,
        )

    def _settle(
        self, port: PreparedPort, spaces: dict[Place, Netns], plan: Plan, left: int | None
    ) -> int | None:
        for _ in range(MOST_ROUNDS):
            steps = plan(port, view=self.view(port, spaces))
            if not steps:
                return left
            for step in steps:
                self._do(step, spaces)
                if left is not None:
                    left -= 1
                    if left == 0:
                        return 0
        raise AssertionError(f"{port.device.name} has not settled: {steps}")

    def _do(self, step: Step, at: dict[Place, Netns]) -> None:
        match step:
            case MoveRdmaDevice(name=name, to=to):
                self.rdma.move(name, source=at[_other(to)], target=at[to])
            case MoveLink(index=index, to=to):
                self.links.move(index, source=at[_other(to)], target=at[to])
            case RenameLink(index=index, name=name, place=place):
                self.links.rename(index, name, netns=at[place])
            case ConfigureLink(index=index, place=place, mtu=mtu, up=up):
                self.links.configure(index, netns=at[place], mtu=mtu, up=up)
            case AddPkeyChild(parent=parent, name=name, pkey=pkey, place=place):
                self.links.add_pkey_child(parent, name=name, pkey=pkey, netns=at[place])
            case RemoveLink(index=index, place=place):
                self.links.remove(index, netns=at[place])
            case SetTrafficClass(name=name, port=number, value=value):
                assert name in self.rdma.names(at[Place.HOST]), "sysfs does not show it"
                self.traffic_classes[name, number] = value

    @contextmanager
    def _opened(self, wanted: NetnsId) -> Iterator[Netns]:
        found = self.namespaces.find(wanted)
        assert found is not None, f"{wanted} has died"
        with closing(found):
            yield found

    @contextmanager
    def _spaces(self, wanted: NetnsId) -> Iterator[dict[Place, Netns]]:
        with closing(self.namespaces.host()) as host:
            found = self.namespaces.find(wanted)
            if found is None:
                yield {Place.HOST: host}
                return
            with closing(found) as container:
                yield {Place.HOST: host, Place.CONTAINER: container}

    def _displaced(self, *claims: Claim) -> frozenset[Guid]:
        return frozenset(
            port.device.netdev_guid
            for claim in claims
            for port in claim.touched
            if port.device.netdev_guid is not None
        )


def guid_of(pci: PciAddress, port: int) -> Guid:
    """Give a port's GUID."""
    return Guid(f"a088:c203:00{pci[5:7]}:000{port}")


def _other(place: Place) -> Place:
    return Place.CONTAINER if place is Place.HOST else Place.HOST
