"""What a simulated machine must not forget while the driver is down: where everything is.

Why: a real kernel goes on when the driver is killed, and the next driver finds devices in
pods.  The simulated one is part of the driver.  So it writes down after each change where
its devices and interfaces are, below the run folder, which like a kernel's memory does not
outlive a boot.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from ibdra_adapters.atomic import write_file
from ibdra_adapters.netlink.fake_devices import FakeLink, FakeRdma
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_domain.errors import IbdraError
from ibdra_domain.hardware import CharDeviceKind
from ibdra_domain.ports.netlink import Link, Namespaces, NetnsId

_log = logging.getLogger(__name__)


class KeptDevice(msgspec.Struct, frozen=True, kw_only=True):
    """Where an RDMA device is, and what is beside it."""

    netns: NetnsId
    minors: tuple[tuple[CharDeviceKind, int, int], ...]
    traffic_classes: dict[int, int]


class KeptLink(msgspec.Struct, frozen=True, kw_only=True):
    """An interface; ``below`` is its parent's place in the list."""

    link: Link
    netns: NetnsId
    rdma: str
    port: int
    asked_mtu: int | None = None
    joined: bool = False
    addresses: tuple[str, ...] = ()
    below: int | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    devices: dict[str, KeptDevice]
    links: tuple[KeptLink, ...]


def keep(machine: SimulatedMachine, path: Path, *, namespaces: Namespaces) -> None:
    """Have a machine as it was left, and write down from now on what becomes of it.

    It starts anew if the file is not there or cannot be read, or if its devices are others:
    another profile's, or with VFs that ``provision`` made.

    Parameters
    ----------
    namespaces:
        Asked for those that things were in: one that is found has lived on.
    """
    kept = _read(path)
    with machine.kernel.lock:
        if kept is not None and set(kept.devices) == set(machine.kernel.devices):
            _put_back(machine, kept, namespaces)

        def write(_changed: FakeRdma) -> None:
            _write(machine, path)

        machine.kernel.watchers.append(write)
        _write(machine, path)


def _read(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        _log.warning("%s is not read, the simulated machine starts anew: %s", path, error)
        return None


def _put_back(machine: SimulatedMachine, kept: Kept, namespaces: Namespaces) -> None:
    places = {name: device.netns for name, device in kept.devices.items()}
    for netns in {*places.values(), *(link.netns for link in kept.links)}:
        try:
            found = namespaces.find(netns)
        except IbdraError as error:
            _log.warning("namespace %s is taken for dead: %s", netns, error)
            continue
        if found is not None:
            found.close()
    for name, device in kept.devices.items():
        machine.kernel.devices[name].minors = {(k, port): n for k, port, n in device.minors}
        machine.traffic_classes[name] = dict(device.traffic_classes)
    links: list[FakeLink] = []
    for link in kept.links:
        fields = {f: getattr(link, f) for f in KeptLink.__struct_fields__ if f != "below"}
        below = links[link.below] if link.below is not None else None
        links.append(FakeLink(below=below, **fields))
    machine.kernel.put_back(places, links)


def _write(machine: SimulatedMachine, path: Path) -> None:
    links = list(machine.kernel.links.values())
    links.sort(key=lambda link: link.below is not None)  # parents before their children
    kept = Kept(
        devices={
            name: KeptDevice(
                netns=device.netns,
                minors=tuple((kind, port, n) for (kind, port), n in device.minors.items()),
                traffic_classes=machine.traffic_classes.get(name, {}),
            )
            for name, device in machine.kernel.devices.items()
        },
        links=tuple(
            KeptLink(
                link=one.link,
                netns=one.netns,
                rdma=one.rdma,
                port=one.port,
                asked_mtu=one.asked_mtu,
                joined=one.joined,
                addresses=one.addresses,
                below=next((i for i, other in enumerate(links) if other is one.below), None),
            )
            for one in links
        ),
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, msgspec.json.encode(kept), mode=0o600)
    except OSError as error:
        _log.warning("%s is not written, a restart forgets all moves: %s", path, error)
