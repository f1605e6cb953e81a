"""A node for the model of the moves: the use cases over a fake kernel, nothing on disk.

Why: what must hold after any history of attaches, detaches, deaths and crashes is said
once, here; the state machine only makes histories.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ibdra_adapters.cdi.fake import FakeCdiSpecs
from ibdra_adapters.hook.fake import FakeMarks
from ibdra_adapters.kube.fake import FakeClaims
from ibdra_adapters.kube.fake_api import FakeKubeApi
from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.netlink.fake_events import FakeEvents
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_adapters.state.fake import FakeStateStore
from ibdra_adapters.sysfs.fake import FakeSysfs
from ibdra_app.attaching import Attaching
from ibdra_app.counts import Counts
from ibdra_app.detaching import Detaching
from ibdra_app.ledger import Ledger
from ibdra_app.moving import Mover
from ibdra_app.recovery import Recovery
from ibdra_app.spec_upkeep import SpecUpkeep
from ibdra_domain.container_edits import HookSettings, child_name, to_cdi_spec
from ibdra_domain.errors import AttachRefused
from ibdra_domain.hardware import CharDevice, HcaPort, RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import Guid, PciAddress, Pkey, device_name
from ibdra_domain.inventory import FunctionType, IbDevice
from ibdra_domain.ports.driver import ClaimRef
from ibdra_domain.ports.netlink import Link, Links, Netns, NetnsId, RdmaDevices
from ibdra_domain.ports.runtime import ContainerStart
from ibdra_domain.preparation import PreparedClaim, PreparedPort, choose_char_devices
from ibdra_domain.records import ClaimRecord, Phase

IB_MTU = 4096
TRAFFIC_CLASS = 42
HCAS = {"mlx5_0": 1, "mlx5_1": 1, "mlx4_0": 2}
"""RDMA devices and how many ports each has."""
GROUP_MTUS = {"mlx5_1": 2048}
"""IB MTUs of the broadcast groups that are smaller than the ports'."""
PODS_OWN = "mine"
"""How the names of interfaces begin that pods make themselves."""
CONFIGS = (
    IbConfig(),
    IbConfig(pkey=0x8001),
    IbConfig(pkey=0x0002, mtu=2048),
    IbConfig(mtu=2048, traffic_class=128),
    IbConfig(pkey=0x8001, mtu=4096, traffic_class=7),
)


class Kind(NamedTuple):
    """What kind of kernel a node has."""

    isolation: RdmaIsolation
    ipoib_follows_device: bool


KINDS = (
    Kind(RdmaIsolation.EXCLUSIVE, ipoib_follows_device=False),
    Kind(RdmaIsolation.EXCLUSIVE, ipoib_follows_device=True),
    Kind(RdmaIsolation.SHARED, ipoib_follows_device=False),
)


class Crash(BaseException):
    """The driver dies: nothing may catch this."""


class Fuse:
    """Lets calls through to the kernel, and blows at one of them if it is set."""

    def __init__(self) -> None:
        self.left: int | None = None

    def burn(self) -> None:
        """Count a call that is about to change something."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Crash


class FusedRdmaDevices(FakeRdmaDevices):
    """The port, with a fuse before each move."""

    def __init__(self, kernel: FakeKernel, fuse: Fuse) -> None:
        super().__init__(kernel)
        self._fuse = fuse

    def move(self, name: str, *, source: Netns, target: Netns) -> None:
        """Move a device unless the driver dies."""
        self._fuse.burn()
        super().move(name, source=source, target=target)


class FusedLinks(FakeLinks):
    """The port, with a fuse before each change."""

    def __init__(self, kernel: FakeKernel, fuse: Fuse) -> None:
        super().__init__(kernel)
        self._fuse = fuse

    def move(self, index: int, *, source: Netns, target: Netns) -> None:
        """Move an interface unless the driver dies."""
        self._fuse.burn()
        super().move(index, source=source, target=target)

    def rename(self, index: int, name: str, *, netns: Netns) -> None:
        """Rename an interface unless the driver dies."""
        self._fuse.burn()
        super().rename(index, name, netns=netns)

    def configure(
        self, index: int, *, netns: Netns, mtu: int | None = None, up: bool | None = None
    ) -> None:
        """Configure an interface unless the driver dies."""
        self._fuse.burn()
        super().configure(index, netns=netns, mtu=mtu, up=up)

    def add_pkey_child(self, parent: int, *, name: str, pkey: int, netns: Netns) -> None:
        """Add a child unless the driver dies."""
        self._fuse.burn()
        super().add_pkey_child(parent, name=name, pkey=pkey, netns=netns)


class KernelSysfs(FakeSysfs):
    """Sysfs as the host sees it: nodes stay, a device that is away has no other files."""

    def __init__(self, kernel: FakeKernel) -> None:
        super().__init__(traffic_classes=dict.fromkeys(all_ports(), TRAFFIC_CLASS))
        self._kernel = kernel

    def char_devices(self, below: PciAddress | None = None) -> tuple[CharDevice, ...]:
        """Fulfil the port."""
        nodes = self._kernel.char_devices()
        return tuple(node for node in nodes if below is None or node.pci == below)

    def rdma_devices(self, pci: PciAddress) -> tuple[str, ...]:
        """Fulfil the port."""
        at_home = self._kernel.visible(self._kernel.init_netns)
        found = (x.name for x in self._kernel.devices.values() if x.pci == pci)
        return tuple(name for name in found if name in at_home)

    def traffic_class(self, rdma_device: str, port: int) -> int | None:
        """Fulfil the port."""
        at_home = rdma_device in self._kernel.visible(self._kernel.init_netns)
        return super().traffic_class(rdma_device, port) if at_home else None

    def set_traffic_class(self, rdma_device: str, port: int, value: int) -> None:
        """Fulfil the port."""
        assert rdma_device in self._kernel.visible(self._kernel.init_netns)
        super().set_traffic_class(rdma_device, port, value)


def all_ports() -> list[tuple[str, int]]:
    """List every port of the node."""
    return [(name, n) for name, count in HCAS.items() for n in range(1, count + 1)]


class ModelNode:
    """The machine, the driver on it, and what must hold."""

    def __init__(self, kind: Kind, netdevs: Iterable[str]) -> None:
        self.kernel = FakeKernel(
            isolation=kind.isolation, ipoib_follows_device=kind.ipoib_follows_device
        )
        self.exclusive = kind.isolation is RdmaIsolation.EXCLUSIVE
        self.netdevs = dict(zip(all_ports(), netdevs, strict=False))
        self.guids = {key: Guid(f"a088:c203:0012:{n:04x}") for n, key in enumerate(all_ports(), 1)}
        self.pci = {name: PciAddress(f"0000:{n:02x}:00.0") for n, name in enumerate(HCAS, 16)}
        for name in HCAS:
            ports = tuple(
                FakePort(
                    number=n,
                    guid=self.guids[d, n],
                    netdev=self.netdevs[d, n],
                    mtu=IB_MTU,
                    broadcast_mtu=GROUP_MTUS.get(d),
                )
                for d, n in all_ports()
                if d == name
            )
            self.kernel.add_device(name, pci=self.pci[name], ports=ports)
        self.fuse = Fuse()
        self.sysfs = KernelSysfs(self.kernel)
        self.cdi = FakeCdiSpecs()
        self.store = FakeStateStore(ClaimRecord)
        self.marks = FakeMarks()
        self.namespaces = FakeNamespaces(self.kernel)
        self.rdma: RdmaDevices = FusedRdmaDevices(self.kernel, self.fuse)
        self.links: Links = FusedLinks(self.kernel, self.fuse)
        self.claims = 0
        self.made = 0
        self.start_driver()

    def start_driver(self) -> tuple[str, ...]:
        """Start the driver, for the first time or after a crash; gives recovery's notes."""
        self.ledger = Ledger(self.store, boot_id="this-boot")
        counts = Counts()
        mover = Mover(
            rdma=self.rdma,
            links=self.links,
            sysfs=self.sysfs,
            watch=lambda: FakeEvents(self.kernel),
            clock=self.kernel.clock,
            leaving=lambda _name: None,
        )
        self.detaching = Detaching(
            ledger=self.ledger,
            mover=mover,
            namespaces=self.namespaces,
            marks=self.marks,
            counts=counts,
        )
        specs = SpecUpkeep(ledger=self.ledger, cdi=self.cdi, sysfs=self.sysfs, hook=HookSettings())
        self.attaching = Attaching(
            ledger=self.ledger,
            mover=mover,
            detaching=self.detaching,
            namespaces=self.namespaces,
            sysfs=self.sysfs,
            specs=specs,
            marks=self.marks,
            counts=counts,
        )
        recovery = Recovery(
            ledger=self.ledger,
            attaching=self.attaching,
            detaching=self.detaching,
            claims=FakeClaims(FakeKubeApi()),
            cdi=self.cdi,
            marks=self.marks,
            specs=specs,
        )
        return recovery.run()

    def prepare(self, wanted: Iterable[tuple[tuple[str, int], IbConfig]]) -> str | None:
        """Prepare a claim of ports nobody holds; None if all of them are held."""
        held = {p.device.pci for c in self.ledger.held() for p in c.ports}
        free = {port: c for port, c in wanted if self.pci[port[0]] not in held}
        if not free:
            return None
        self.claims += 1
        uid = f"uid-{self.claims}"
        moving = {name for name, _ in free}
        prepared = PreparedClaim(
            claim=ClaimRef(namespace="jobs", name=f"claim-{self.claims}", uid=uid),
            pool="node",
            ports=tuple(self._port(f"hca-{i}", *key) for i, key in enumerate(free.items())),
            companions=tuple(
                self._device(key) for key in all_ports() if key[0] in moving and key not in free
            ),
        )
        self.ledger.put(
            ClaimRecord(boot_id=self.ledger.boot_id, phase=Phase.DONE, prepared=prepared)
        )
        spec = to_cdi_spec(prepared, char_devices=self.sysfs.char_devices(), hook=HookSettings())
        self.cdi.write(uid, spec)
        return uid

    def attach(self, uid: str, pid: int) -> None:
        """Attach as a runtime does: once more if the nodes changed, and that must be enough."""
        try:
            self.attaching.attach(self._start(uid, pid))
        except AttachRefused as refused:
            if "device nodes" not in str(refused):
                raise
            self.attaching.attach(self._start(uid, pid))
        assert self.namespaces_match(uid, pid)

    def unprepare(self, uid: str) -> None:
        """Bring a claim's devices home and forget it."""
        self.detaching.detach(uid)
        self.ledger.remove(uid)
        self.cdi.remove(uid)

    def make_child(self, uid: str) -> None:
        """Let a claim's pod make a partition's interface on each port that it has."""
        netns, record = self.place_of(uid), self.ledger.get(uid)
        if netns is None or record is None or not self.kernel.alive(netns):
            return
        guids = {p.device.netdev_guid for p in record.prepared.moving}
        for link in [x.link for x in self.kernel.links_of(netns)]:
            if link.port_guid in guids and link.parent is None:
                self.made += 1
                name = f"{PODS_OWN}{self.made}"
                self.kernel.add_child(link.index, name=name, pkey=0x8003, netns=netns)

    def namespaces_match(self, uid: str, pid: int) -> bool:
        """Tell whether the helper could let a container restart without the driver."""
        netns, nodes = self.marks.marks[uid]
        return (netns, nodes) == (self.kernel.processes[pid], self._nodes(uid))

    def place_of(self, uid: str) -> NetnsId | None:
        """Tell which namespace a claim is attached to, dead or alive; None if to none."""
        record = self.ledger.get(uid)
        attachment = record.attachment if record is not None else None
        return attachment.netns if attachment is not None else None

    def check(self) -> None:
        """See that everything is where it has to be, as it has to be."""
        assert {} == self.kernel.handles
        assert set(self.marks.marks) <= {u for u in self.ledger.all() if self.place_of(u)}
        at_home = set(all_ports())
        allowed: set[int] = set()
        for uid, record in self.ledger.all().items():
            netns = self.place_of(uid)
            if netns is None:
                continue
            ports = {(p.device.rdma_device, p.device.port): p for p in record.prepared.moving}
            at_home -= set(ports) | {(d.rdma_device, d.port) for d in record.prepared.companions}
            if self.kernel.alive(netns):
                for port in ports.values():
                    allowed |= self._check_attached(port, netns)
            else:  # what came home with a dead namespace stays as it came until it is detached
                guids = {p.device.netdev_guid for p in ports.values()}
                allowed |= {x.index for x in self._children(guids)}
        for key in at_home:
            self._check_at_home(key)
        assert allowed == {x.index for x in self._children(set(self.guids.values()))}

    def _start(self, uid: str, pid: int) -> ContainerStart:
        """Say what the runtime says: it read the spec just before."""
        return ContainerStart(claim=uid, pid=pid, nodes=self._nodes(uid))

    def _nodes(self, uid: str) -> str:
        spec = self.cdi.read(uid)
        assert spec is not None
        return spec.container_edits.hooks[0].args[-1]

    def _check_at_home(self, key: tuple[str, int]) -> None:
        link, netns = self._parent(key)
        home = self.kernel.init_netns
        mtu = GROUP_MTUS.get(key[0], IB_MTU) - 4
        assert (self.netdevs[key], mtu, True) == (link.name, link.mtu, link.up)
        assert home == netns
        assert home == self.kernel.devices[key[0]].netns
        assert TRAFFIC_CLASS == self.sysfs.traffic_classes[key]

    def _check_attached(self, port: PreparedPort, pod: NetnsId) -> set[int]:
        key = (port.device.rdma_device, port.device.port)
        netdev = self.netdevs[key]
        link, netns = self._parent(key)
        mtu = min(port.config.mtu or IB_MTU, GROUP_MTUS.get(key[0], IB_MTU)) - 4
        assert (pod, netdev, mtu, True) == (netns, link.name, link.mtu, link.up)
        assert (pod if self.exclusive else self.kernel.init_netns) == self.kernel.devices[
            key[0]
        ].netns
        if port.config.traffic_class is not None:
            assert port.config.traffic_class == self.sysfs.traffic_classes[key]
        every = self._children({self.guids[key]})
        children = [x for x in every if not x.name.startswith(PODS_OWN)]
        own = {x.index for x in every if x not in children}
        if port.child_pkey is None:
            assert [] == children
            return own
        (child,) = children
        name, pkey = child_name(netdev, port.child_pkey), port.child_pkey | 0x8000
        assert (name, pkey, mtu, True) == (child.name, child.pkey, child.mtu, child.up)
        assert link.index == child.parent
        assert child in [x.link for x in self.kernel.links_of(pod)]
        return own | {child.index}

    def _parent(self, key: tuple[str, int]) -> tuple[Link, NetnsId]:
        """Give a port's own interface: there is one, in one place."""
        ((link, netns),) = [
            (x.link, x.netns)
            for x in self.kernel.links.values()
            if x.link.port_guid == self.guids[key] and x.link.parent is None
        ]
        return link, netns

    def _children(self, guids: Iterable[Guid | None]) -> list[Link]:
        wanted = set(guids)
        return [
            x.link
            for x in self.kernel.links.values()
            if x.link.port_guid in wanted and x.link.parent is not None
        ]

    def _port(self, request: str, key: tuple[str, int], config: IbConfig) -> PreparedPort:
        device = self._device(key)
        if config.pkey is not None:
            self.sysfs.pkeys[key] = (Pkey(0xFFFF), Pkey(config.pkey))
        return PreparedPort(
            request=request,
            device=device,
            config=config,
            pkey_index=1 if config.pkey is not None else None,
            char_devices=choose_char_devices(device, self.sysfs.char_devices(), admin=False),
        )

    def _device(self, key: tuple[str, int]) -> IbDevice:
        name, number = key
        return IbDevice(
            name=device_name(self.pci[name], number),
            pci=self.pci[name],
            port=number,
            function_type=FunctionType.PF,
            rdma_device=name,
            link=HcaPort(number=number, active_mtu=IB_MTU),
            netdev=self.netdevs[key],
            netdev_guid=self.guids[key],
        )
