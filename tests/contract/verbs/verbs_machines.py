"""Machines for the contract of the verbs ports: the fake, and libibverbs over a stub.

Why: the suite describes HCAs once, in the domain's words.  ``StubMachine`` turns them
into the codes that rdma-core would hand out, so that the real adapter has to turn them
back.  In the virtual node a real kernel is one more machine, which has the HCAs it has and
refuses nothing on request.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from ibdra_adapters.verbs.event_words import AsyncEventType
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.hardware import Hca, HcaPort
from ibdra_domain.identifiers import Gid, Guid, PciAddress, guid_to_int
from ibdra_domain.link import LinkLayer, PortState, Rate
from ibdra_domain.ports.verbs import AsyncEvents, Verbs

SOURCE = Path(__file__).parent / "stub" / "stub_libibverbs.c"

STATES = {
    None: 0,
    PortState.DOWN: 1,
    PortState.INIT: 2,
    PortState.ARMED: 3,
    PortState.ACTIVE: 4,
    PortState.ACTIVE_DEFER: 5,
}
PHYSICAL_STATES = {None: 0, "Polling": 2, "Disabled": 3, "LinkUp": 5}
LINK_LAYERS = {None: 0, LinkLayer.INFINIBAND: 1, LinkLayer.ETHERNET: 2}
MTUS = {None: 0, 256: 1, 512: 2, 1024: 3, 2048: 4, 4096: 5}
WIDTHS = {1: 1, 2: 16, 4: 2, 8: 4, 12: 8}
SPEEDS = {2500: 1, 25000: 32, 50000: 64, 100000: 128, 200000: 256}

HDR_PORT = HcaPort(
    number=1,
    state=PortState.ACTIVE,
    physical_state="LinkUp",
    link_layer=LinkLayer.INFINIBAND,
    rate=Rate(200000, 4),
    lid=0x2F,
    sm_lid=1,
    gid0=Gid("fe80:0000:0000:0000:a088:c203:0012:3456"),
    active_mtu=4096,
)
POLLING_PORT = HcaPort(
    number=2,
    state=PortState.DOWN,
    physical_state="Polling",
    link_layer=LinkLayer.INFINIBAND,
    rate=Rate(2500, 1),
    lid=0,
    sm_lid=0,
    gid0=Gid("fe80:0000:0000:0000:a088:c203:0012:3457"),
    active_mtu=2048,
)
DUAL_PORT = Hca(
    name="mlx5_0",
    node_guid=Guid("a088:c203:0012:3456"),
    firmware="20.43.2026",
    ports=(HDR_PORT, POLLING_PORT),
)
# A VF that nobody gave a GUID, on a 2X link, before the subnet manager has been there.
VIRTUAL_FUNCTION = Hca(
    name="mlx5_2",
    node_guid=Guid("0000:0000:0000:0000"),
    firmware="20.43.2026",
    ports=(
        HcaPort(
            number=1,
            state=PortState.INIT,
            physical_state="LinkUp",
            link_layer=LinkLayer.INFINIBAND,
            rate=Rate(100000, 2),
            lid=0xFFFF,
            sm_lid=0,
            gid0=Gid("fe80:0000:0000:0000:0000:0000:0000:0000"),
            active_mtu=1024,
        ),
    ),
)
ETHERNET = Hca(
    name="rocep23s0",
    node_guid=Guid("506b:4b03:00ab:cdef"),
    ports=(
        HcaPort(
            number=1,
            state=PortState.ACTIVE,
            physical_state="LinkUp",
            link_layer=LinkLayer.ETHERNET,
            rate=Rate(100000, 4),
            lid=0,
            sm_lid=0,
            active_mtu=512,
        ),
    ),
)
HCAS = (DUAL_PORT, VIRTUAL_FUNCTION, ETHERNET)
SOMEWHERE = PciAddress("0000:3b:00.0")


EVENTS = tuple(kind for kind in AsyncEventType if kind is not AsyncEventType.DEVICE_FATAL)


class BothPorts(Verbs, AsyncEvents, Protocol):
    """Both adapters fulfil both ports."""


class Machine(Protocol):
    """What the suite does to any machine, and the ports that look at it."""

    @property
    def verbs(self) -> BothPorts: ...
    @property
    def events(self) -> tuple[AsyncEventType, ...]: ...
    def fill(self) -> tuple[Hca, ...]: ...
    def remove(self, rdma_device: str) -> None: ...
    def tell(self, rdma_device: str, event: int, port: int) -> None: ...
    def leaks(self) -> int: ...


class Scripted(Machine, Protocol):
    """A machine that is empty at first, and fails on request."""

    def add(self, hca: Hca) -> None: ...
    def refuse_list(self, errno: int) -> None: ...
    def refuse_open(self, rdma_device: str, errno: int) -> None: ...
    def refuse_port(self, rdma_device: str, port: int, errno: int) -> None: ...
    def refuse_gid(self, rdma_device: str, port: int, errno: int) -> None: ...
    def silence(self, rdma_device: str, errno: int) -> None: ...


class FakeMachine:
    """The shipped fake under the suite."""

    events = EVENTS

    def __init__(self) -> None:
        self.verbs = FakeVerbs()

    def fill(self) -> tuple[Hca, ...]:
        for hca in HCAS:
            self.add(hca)
        return HCAS

    def add(self, hca: Hca) -> None:
        self.verbs.put(hca)

    def tell(self, rdma_device: str, event: int, port: int) -> None:
        self.verbs.tell(rdma_device, event, port=port)

    def silence(self, rdma_device: str, errno: int) -> None:
        self.verbs.silence(rdma_device, errno=errno)

    def remove(self, rdma_device: str) -> None:
        self.verbs.remove(rdma_device)

    def refuse_list(self, errno: int) -> None:
        self.verbs.refuse_list(errno=errno)

    def refuse_open(self, rdma_device: str, errno: int) -> None:
        self.verbs.refuse_open(rdma_device, errno=errno)

    def refuse_port(self, rdma_device: str, port: int, errno: int) -> None:
        self.verbs.refuse_port(rdma_device, port, errno=errno)

    def refuse_gid(self, rdma_device: str, port: int, errno: int) -> None:
        self.verbs.refuse_gid(rdma_device, port, errno=errno)

    def leaks(self) -> int:
        return 0


class StubMachine:
    """The real adapter over a stub of libibverbs.

    ``c`` is the stub itself: ctypes and cffi share one loaded copy of it.
    """

    events = EVENTS

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.stub_reset()
        self.verbs = LibIbverbs(str(library))
        self.index: dict[str, int] = {}

    def fill(self) -> tuple[Hca, ...]:
        for hca in HCAS:
            self.add(hca)
        return HCAS

    def add(self, hca: Hca) -> None:
        guid = guid_to_int(hca.node_guid) if hca.node_guid else 0
        index = self.c.stub_add_device(
            hca.name.encode(),
            ctypes.c_uint64(guid),
            (hca.firmware or "").encode(),
            len(hca.ports),
        )
        assert index >= 0
        self.index[hca.name] = index
        for port in hca.ports:
            self.set_port(hca.name, port)

    def set_port(self, rdma_device: str, port: HcaPort, *, layer: int | None = None) -> None:
        rate = port.rate or Rate(0, 0)
        gid = bytes.fromhex(port.gid0.replace(":", "")) if port.gid0 else bytes(16)
        self.c.stub_set_port(
            self.index[rdma_device],
            port.number,
            STATES[port.state],
            PHYSICAL_STATES[port.physical_state],
            LINK_LAYERS[LinkLayer(port.link_layer) if port.link_layer else None]
            if layer is None
            else layer,
            MTUS[port.active_mtu],
            port.lid or 0,
            port.sm_lid or 0,
            SPEEDS[rate.mbps // rate.width] if rate.width else 0,
            WIDTHS[rate.width] if rate.width else 0,
            ctypes.c_uint64(rate.mbps // 100),
            gid,
        )

    def remove(self, rdma_device: str) -> None:
        self.tell(rdma_device, AsyncEventType.DEVICE_FATAL, 0)
        self.c.stub_remove_device(self.index[rdma_device])

    def tell(self, rdma_device: str, event: int, port: int) -> None:
        self.c.stub_tell(self.index[rdma_device], event, port)

    def silence(self, rdma_device: str, errno: int) -> None:
        self.c.stub_silence(self.index[rdma_device], errno)

    def refuse_list(self, errno: int) -> None:
        self.c.stub_refuse_list(errno)

    def refuse_open(self, rdma_device: str, errno: int) -> None:
        self.c.stub_refuse_open(self.index[rdma_device], errno)

    def refuse_device(self, rdma_device: str, errno: int) -> None:
        self.c.stub_refuse_device(self.index[rdma_device], errno)

    def refuse_port(self, rdma_device: str, port: int, errno: int) -> None:
        self.c.stub_refuse_port(self.index[rdma_device], port, errno)

    def refuse_gid(self, rdma_device: str, port: int, errno: int) -> None:
        self.c.stub_refuse_gid(self.index[rdma_device], port, errno)

    def refuse_speed(self, rdma_device: str, port: int, errno: int) -> None:
        self.c.stub_refuse_speed(self.index[rdma_device], port, errno)

    def leaks(self) -> int:
        """Count the lists and contexts that are out, either of which may only be positive."""
        lists, contexts = self.c.stub_lists(), self.c.stub_contexts()
        assert min(lists, contexts) >= 0, "given back more than was handed out"
        return int(lists + contexts)


def build_stub(directory: Path, *, release: int) -> Path | None:
    """Compile the stub as rdma-core ``release``; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    # No soname: a later dlopen("libibverbs.so.1") must not find this one.
    target = directory / f"libibverbs-stub-{release}.so"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-pthread"]
    command = [compiler, *flags, f"-DRDMA_CORE={release}", "-o", str(target), str(SOURCE)]
    subprocess.run(command, check=True)
    return target
