"""A kernel's RDMA side in memory, with the real one's manners.

Why: the hard part of this driver is what the kernel does *besides* what it is asked for.
A fake that merely moved a name from one set to another would prove nothing.  This one
tears down and re-creates interfaces at every move, gives minors out anew, lets names
shift, and answers with the kernel's errno.  Each behaviour was measured on stock kernels
(6.1, 6.12, 7.2) with a stub HCA.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Concatenate, ParamSpec, TypeVar

import msgspec

from ibdra_adapters.netlink.fake_devices import (
    RDMA_CM,
    FakeLink,
    FakePort,
    FakeRdma,
    give_minors,
    hardware_address,
    nodes_of,
    refused,
)
from ibdra_domain.hardware import CharDevice, RdmaIsolation
from ibdra_domain.identifiers import FULL_MEMBER, PciAddress, partition_of
from ibdra_domain.link import IPOIB_HEADER
from ibdra_domain.ports.netlink import Link, NetnsId

__all__ = ["FakeKernel", "FakePort", "FakeRdma", "refused"]

NSFS_DEVICE = 4
FIRST_INODE = 4026532200
LOOPBACK_INDEX = 1

ParamsT = ParamSpec("ParamsT")
ResultT = TypeVar("ResultT")


def _alone(
    change: Callable[Concatenate[FakeKernel, ParamsT], ResultT],
) -> Callable[Concatenate[FakeKernel, ParamsT], ResultT]:
    """Let a change of the machine happen at one time, as the kernel's own locks do."""

    @functools.wraps(change)
    def locked(self: FakeKernel, /, *args: ParamsT.args, **kwargs: ParamsT.kwargs) -> ResultT:
        with self.lock:
            return change(self, *args, **kwargs)

    return locked


class FakeKernel:
    """Namespaces, RDMA devices, interfaces and character devices of one machine.

    Parameters
    ----------
    ipoib_follows_device:
        Newer kernels re-create an interface in its device's namespace, those before
        about 6.17 in the initial one.  To kernels that new a move to where a device is
        already is nothing, and (from 6.2) they rename an interface that is up.
    return_delay:
        Seconds until what was in a dead namespace is at home; real kernels take 0.1.
    join_delay:
        Seconds until an interface that came up has joined its broadcast group.

    ``lock`` is for whoever reads, or does several things at once, beside other threads: the
    ports and the events take it.  What happens to the machine itself happens under it.
    """

    def __init__(
        self,
        *,
        isolation: RdmaIsolation = RdmaIsolation.EXCLUSIVE,
        ipoib_follows_device: bool = False,
        return_delay: float = 0.0,
        join_delay: float = 0.0,
    ) -> None:
        self.lock = threading.RLock()
        self.isolation = isolation
        self.ipoib_follows_device = ipoib_follows_device
        self.renames_while_up = ipoib_follows_device
        self.init_netns = NetnsId(NSFS_DEVICE, 4026531840, 1)
        self.devices: dict[str, FakeRdma] = {}
        self.links: dict[int, FakeLink] = {}  # by a number that no other ever gets
        self.processes: dict[int, NetnsId] = {}
        self.births: dict[int, int] = {}  # by pid: which of all starts that was
        self.handles: dict[NetnsId, int] = {}
        self.watchers: list[Callable[[FakeRdma], None]] = []
        self.return_delay = return_delay
        self.join_delay = join_delay
        self._now = 0.0
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._next_link = 0
        self._last_index: dict[NetnsId, int] = {}
        self._next_cookie = 4096
        self._next_pid = 4200
        self._starts = 0

    # -- the machine -----------------------------------------------------------------

    @_alone
    def add_device(
        self, name: str, *, pci: PciAddress, ports: tuple[FakePort, ...], up: bool = True
    ) -> None:
        """Plug an RDMA device in; its interfaces come up as on a configured host."""
        device = FakeRdma(name=name, pci=pci, ports=ports, netns=self.init_netns)
        self.devices[name] = device
        give_minors(device, self.devices.values())
        for port in ports:
            if port.netdev is not None:
                self._new_link(device, port, self.init_netns, name=port.netdev, up=up)
        self._tell(device)

    @_alone
    def remove_device(self, name: str) -> None:
        """Take an RDMA device away, as unbinding its driver does; the PCI function stays."""
        device = self.devices.pop(name)
        for index in [i for i, x in self.links.items() if x.rdma == name]:
            del self.links[index]
        device.minors = {}
        self._tell(device)

    @_alone
    def start_process(self, netns: NetnsId | None = None, *, pid: int | None = None) -> int:
        """Start a process, in a new namespace of its own or in one there is; give its pid.

        ``pid`` is one that is free again: the kernel gives numbers anew.
        """
        if netns is None:
            netns = self._new_netns()
        if pid is None:
            self._next_pid += 1
            pid = self._next_pid
        self._starts += 1
        self.births[pid] = self._starts
        self.processes[pid] = netns
        return pid

    @_alone
    def end_process(self, pid: int) -> None:
        """End a process; its namespace dies with the last one that holds it."""
        netns = self.processes.pop(pid, None)
        self.births.pop(pid, None)
        if netns is not None:
            self._reap(netns)

    def hold(self, netns: NetnsId) -> None:
        """Open a namespace."""
        self.handles[netns] = self.handles.get(netns, 0) + 1

    def release(self, netns: NetnsId) -> None:
        """Close it again."""
        self.handles[netns] -= 1
        if not self.handles[netns]:
            del self.handles[netns]
            self._reap(netns)

    def alive(self, netns: NetnsId) -> bool:
        """Tell whether anything keeps a namespace alive."""
        return netns == self.init_netns or netns in self.handles or netns in self.processes.values()

    def set_isolation(self, mode: RdmaIsolation) -> None:
        """Switch the machine's mode; EBUSY while there is a second namespace."""
        if mode is self.isolation:
            return
        if any(n != self.init_netns for n in (*self.handles, *self.processes.values())):
            raise refused(f"the RDMA mode cannot become {mode}", errno.EBUSY)
        self.isolation = mode

    def put_back(self, places: Mapping[str, NetnsId], links: Iterable[FakeLink]) -> None:
        """Have devices and interfaces where they were; what is dead of that is home at once.

        ``places`` are those of all devices, ``links`` all interfaces there are.
        """
        # Numbers below zero: those above are for the interfaces to come.
        self.links = dict(zip(count(-1, -1), links, strict=False))
        for name, netns in places.items():
            self.devices[name].netns = netns
        for netns in {*places.values(), *(link.netns for link in self.links.values())}:
            if not self.alive(netns):
                self._bring_home(netns)
        for device in self.devices.values():
            self._tell(device)

    def open_node(self, path: str, *, netns: NetnsId) -> None:
        """Open a character device as a process of a namespace would; EPERM from a wrong one."""
        for node in self.char_devices():
            if node.path == path:
                device = self.devices.get(node.rdma_device or "")
                exclusive = self.isolation is RdmaIsolation.EXCLUSIVE
                if device is not None and exclusive and device.netns != netns:
                    raise refused(f"{path} cannot be opened from {netns}", errno.EPERM)
                return
        raise refused(f"{path} is not there", errno.ENOENT)

    def char_devices(self) -> tuple[CharDevice, ...]:
        """List all nodes, whatever namespace their device is in."""
        nodes = [node for device in self.devices.values() for node in nodes_of(device)]
        nodes.sort(key=lambda n: n.minor)
        return (*nodes, RDMA_CM)

    def nodes_of(self, device: FakeRdma) -> list[CharDevice]:
        """List one device's nodes."""
        return nodes_of(device)

    def clock(self) -> float:
        """Tell the simulated time, in seconds: it passes only while somebody waits."""
        return self._now

    @_alone
    def let_time_pass(self, seconds: float) -> None:
        """Go on to the next thing that happens by itself, or by that many seconds."""
        until = self._now + max(seconds, 0.0)
        self._now = min([until, *(max(when, self._now) for when, _ in self._due)])
        ready = [happen for when, happen in self._due if when <= self._now]
        self._due = [(when, happen) for when, happen in self._due if when > self._now]
        for happen in ready:
            happen()

    # -- what netlink asks for -------------------------------------------------------

    def visible(self, netns: NetnsId) -> tuple[str, ...]:
        """List the RDMA devices usable in a namespace."""
        shared = self.isolation is RdmaIsolation.SHARED
        return tuple(d.name for d in self.devices.values() if shared or d.netns == netns)

    def move_device(self, name: str, *, source: NetnsId, target: NetnsId) -> None:
        """Move a device; older kernels also to where it is, with all that this destroys."""
        if self.isolation is RdmaIsolation.SHARED:
            raise refused(f"{name} cannot be moved in shared mode", errno.EOPNOTSUPP)
        device = self.devices.get(name)
        if device is None or device.netns != source:
            raise refused(f"there is no RDMA device {name} in {source}", errno.ENODEV)
        if source != target or not self.ipoib_follows_device:
            self._re_create(device, target)

    def links_of(self, netns: NetnsId) -> Iterator[FakeLink]:
        """Give a namespace's interfaces."""
        return (x for x in self.links.values() if x.netns == netns)

    def link_in(self, netns: NetnsId, index: int) -> FakeLink:
        """Find an interface; ENODEV if it is not (or no longer) there."""
        found = next((x for x in self.links_of(netns) if x.link.index == index), None)
        if found is None:
            raise refused(f"there is no interface {index} in {netns}", errno.ENODEV)
        return found

    def move_link(self, index: int, *, source: NetnsId, target: NetnsId) -> None:
        """Move an interface: down afterwards, children stay behind; to where it is, nothing."""
        found = self.link_in(source, index)
        if source == target:
            return
        self.check_name(found.link.name, target)
        self._arrive(found, target, name=found.link.name)

    def change(self, found: FakeLink, **fields: object) -> None:
        """Change what rtnetlink shows of an interface; going down takes its children along."""
        was_up = found.link.up
        found.link = msgspec.structs.replace(found.link, **fields)
        if was_up and not found.link.up:
            for child in self._children_of(found):
                child.link = msgspec.structs.replace(child.link, up=False)
        if found.link.up and not was_up:
            self._later(self.join_delay, functools.partial(self._join, found))
        self._tell(self.devices[found.rdma])

    def set_mtu(self, found: FakeLink, mtu: int) -> None:
        """Set an MTU: the broadcast group's if that is smaller, and nobody is told of it."""
        found.asked_mtu = mtu
        self._set_mtu(found, mtu)

    def _set_mtu(self, found: FakeLink, mtu: int) -> None:
        group = self._port_of(found).broadcast_mtu
        if found.joined and group is not None:
            mtu = min(mtu, group - IPOIB_HEADER)
        self.change(found, mtu=mtu)

    def largest_mtu(self, found: FakeLink) -> int:
        """Tell the largest MTU an interface takes: its port's, less IPoIB's header."""
        return self._port_of(found).mtu - IPOIB_HEADER

    def check_name(self, name: str, netns: NetnsId) -> None:
        """Refuse a taken name (EEXIST), a long one (ERANGE) and an impossible one (EINVAL)."""
        if len(name) > 15:
            raise refused(f"{name!r} is longer than 15 characters", errno.ERANGE)
        if name in ("", ".", "..") or any(c in "/:" or c.isspace() for c in name):
            raise refused(f"{name!r} is no interface name", errno.EINVAL)
        if any(x.link.name == name for x in self.links_of(netns)):
            raise refused(f"there is an interface {name} in {netns}", errno.EEXIST)

    def add_child(self, parent: int, *, name: str, pkey: int, netns: NetnsId) -> None:
        """Make an IPoIB child; a pkey that is in no table is accepted, as by the kernel."""
        below = self.link_in(netns, parent)
        if partition_of(pkey) == 0 or below.link.parent is not None:
            raise refused(f"{below.link.name} cannot have a child {pkey:#06x}", errno.EINVAL)
        self.check_name(name, netns)
        device = self.devices[below.rdma]
        port = next(p for p in device.ports if p.number == below.port)
        self._new_link(device, port, netns, name=name, pkey=pkey | FULL_MEMBER, below=below)
        self._tell(device)

    def remove_link(self, index: int, *, netns: NetnsId) -> None:
        """Remove a child; a parent stays, and the kernel says nothing."""
        found = self.link_in(netns, index)
        if found.below is not None:
            self.links = {i: x for i, x in self.links.items() if x is not found}
            self._tell(self.devices[found.rdma])

    # -- what the kernel does by itself ----------------------------------------------

    def _re_create(self, device: FakeRdma, target: NetnsId) -> None:
        mine = [i for i, x in self.links.items() if x.rdma == device.name]
        for index in mine:
            del self.links[index]
        device.netns = target
        give_minors(device, self.devices.values())
        place = target if self.ipoib_follows_device else self.init_netns
        for port in device.ports:
            if port.netdev is not None:
                self._new_link(device, port, place, name=self._free_name(place))
        self._tell(device)

    def _reap(self, netns: NetnsId) -> None:
        """Let a namespace die if nothing holds it: what is in it comes home, if not at once."""
        if self.alive(netns):
            return
        self._later(self.return_delay, functools.partial(self._bring_home, netns))

    def _later(self, delay: float, happen: Callable[[], None]) -> None:
        """Let something happen by itself after a while; without one, at once."""
        if delay:
            self._due.append((self._now + delay, happen))
        else:
            happen()

    def _join(self, found: FakeLink) -> None:
        """Join an interface's broadcast group, if it is there and up yet: its MTU follows."""
        if found.link.up and any(x is found for x in self.links.values()):
            found.joined = True
            if self._port_of(found).broadcast_mtu is not None:
                self._set_mtu(found, found.asked_mtu or found.link.mtu)

    def _bring_home(self, netns: NetnsId) -> None:
        for device in self.devices.values():
            if device.netns == netns:
                self._re_create(device, self.init_netns)
        for found in list(self.links_of(netns)):
            names = {x.link.name for x in self.links_of(self.init_netns)}
            name = found.link.name  # the index in a new name is the one it had inside
            self._arrive(
                found,
                self.init_netns,
                name=f"dev{found.link.index}" if name in names else name,
            )
        self._last_index.pop(netns, None)

    def _arrive(self, found: FakeLink, netns: NetnsId, *, name: str) -> None:
        """Put an interface into a namespace, down; it keeps its index if that is free there."""
        taken = any(x.link.index == found.link.index for x in self.links_of(netns))
        index = self._free_index(netns) if taken else found.link.index
        found.netns = netns
        for child in self._children_of(found):
            child.link = msgspec.structs.replace(child.link, parent=index)
        self.change(found, up=False, name=name, index=index)

    def _new_netns(self) -> NetnsId:
        """Make a namespace: its inode is the lowest free one, maybe a dead namespace's."""
        taken = {n.inode for n in (*self.handles, *self.processes.values())}
        inode = next(i for i in count(FIRST_INODE) if i not in taken)
        self._next_cookie += 1
        return NetnsId(NSFS_DEVICE, inode, self._next_cookie)

    def _children_of(self, parent: FakeLink) -> list[FakeLink]:
        """Give its children, wherever they are."""
        return [x for x in self.links.values() if x.below is parent]

    def _free_index(self, netns: NetnsId) -> int:
        """Count on in a namespace: an index is not soon given again, but others have it too."""
        taken = {x.link.index for x in self.links_of(netns)}
        last = self._last_index.get(netns, LOOPBACK_INDEX)
        self._last_index[netns] = next(i for i in count(last + 1) if i not in taken)
        return self._last_index[netns]

    def _free_name(self, netns: NetnsId) -> str:
        names = {x.link.name for x in self.links_of(netns)}
        return next(f"ib{i}" for i in range(len(names) + 1) if f"ib{i}" not in names)

    def _new_link(
        self,
        device: FakeRdma,
        port: FakePort,
        netns: NetnsId,
        *,
        name: str,
        up: bool = False,
        pkey: int | None = None,
        below: FakeLink | None = None,
    ) -> None:
        link = Link(
            index=self._free_index(netns),
            name=name,
            port_guid=port.guid,
            mtu=port.mtu - IPOIB_HEADER,
            up=up,
            pkey=pkey,
            parent=below.link.index if below is not None else None,
            address=hardware_address(port.guid, queue_pair=self._next_link + 1),
        )
        self._next_link += 1
        made = FakeLink(link=link, netns=netns, rdma=device.name, port=port.number, below=below)
        self.links[self._next_link] = made
        self._join(made)  # one that is up from the start did so long ago

    def _port_of(self, found: FakeLink) -> FakePort:
        return next(p for p in self.devices[found.rdma].ports if p.number == found.port)

    def give_address(self, netns: NetnsId, index: int, address: str) -> None:
        """Let an interface have an IP address, as ``10.0.0.1/24``."""
        found = self.link_in(netns, index)
        found.addresses = (*found.addresses, address)

    def _tell(self, device: FakeRdma) -> None:
        for watcher in self.watchers:
            watcher(device)
