"""Where the facts about a machine come from: this one, a captured tree, or a simulation.

Why: apart from the composition root because dependency-injector costs 100 ms to import.
Commands that only look (`devices`, `slices`, `match`) need one use case over two ports and
get it here; everything that acts is wired in :mod:`ibdra_app.container`, from the same
functions.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from ibdra_app.discovery import Discovery
from ibdra_app.settings import Settings
from ibdra_domain.errors import InvalidGuidFile, InvalidProfile
from ibdra_domain.ports.events import Events
from ibdra_domain.ports.netlink import Links, Namespaces, RdmaDevices
from ibdra_domain.ports.selectors import Selectors
from ibdra_domain.ports.sriov import SriovControl, VfAttributes
from ibdra_domain.ports.stage import Stage
from ibdra_domain.ports.sysfs import Sysfs
from ibdra_domain.ports.verbs import Verbs

if TYPE_CHECKING:
    from ibdra_adapters.simulation.machine import SimulatedMachine
    from ibdra_domain.vf_wishes import WantedVfs

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 -- a fresh folder below it, as below /tmp
_ROOM = 512 << 20


def make_machine(settings: Settings) -> SimulatedMachine:
    """Build the simulated machine.  Raises InvalidProfile if none is asked for."""
    from ibdra_adapters.simulation.machine import SimulatedMachine
    from ibdra_adapters.simulation.profile import load_profile

    if settings.simulate is None or settings.scratch is None:
        raise InvalidProfile("no machine is simulated", remedy="give --simulate PROFILE")
    return SimulatedMachine(load_profile(settings.simulate), settings.scratch)


def make_sysfs(settings: Settings, machine: Callable[[], SimulatedMachine]) -> Sysfs:
    """Choose the sysfs."""
    if settings.simulate is not None:
        return machine().sysfs
    from ibdra_adapters.sysfs.reader import SysfsTree

    return SysfsTree(settings.sysfs_root or Path("/sys"))


def make_verbs(settings: Settings, machine: Callable[[], SimulatedMachine]) -> Verbs:
    """Choose the libibverbs: none at all for a captured tree."""
    if settings.simulate is not None:
        return machine().verbs
    if settings.sysfs_root is not None:
        from ibdra_adapters.verbs.fake import FakeVerbs

        return FakeVerbs()
    from ibdra_adapters.verbs.libibverbs import LibIbverbs

    return LibIbverbs()


class KernelPorts(NamedTuple):
    """The ports that change a machine, and what waits for it."""

    namespaces: Namespaces
    rdma: RdmaDevices
    links: Links
    watch: Callable[[], Events]
    clock: Callable[[], float]


def make_kernel(settings: Settings, machine: Callable[[], SimulatedMachine]) -> KernelPorts:
    """Choose the kernel.  Raises InvalidProfile for a captured tree, which has none."""
    if settings.simulate is not None:
        made = machine()
        namespaces = _real_processes(made, settings) if settings.real_processes else None
        return KernelPorts(
            namespaces or made.namespaces, made.rdma, made.links, made.watch, made.kernel.clock
        )
    if settings.sysfs_root is not None:
        raise InvalidProfile(
            f"{settings.sysfs_root} stands for /sys, and no kernel is behind it",
            remedy="take --sysfs-root away, or give --simulate PROFILE",
        )
    from ibdra_adapters.netlink.events import LinuxEvents
    from ibdra_adapters.netlink.namespaces import LinuxNamespaces
    from ibdra_adapters.netlink.rdma import LinuxRdmaDevices
    from ibdra_adapters.netlink.rtnetlink import LinuxLinks

    namespaces = LinuxNamespaces()
    rdma = LinuxRdmaDevices(namespaces)
    return KernelPorts(namespaces, rdma, LinuxLinks(), LinuxEvents, time.monotonic)


def _real_processes(machine: SimulatedMachine, settings: Settings) -> Namespaces:
    """Let this machine's processes be on a simulated one, which is as it was left.

    Raises InvalidProfile if this machine has RDMA devices of its own.
    """
    from ibdra_adapters.simulation.kept import keep
    from ibdra_adapters.simulation.real_processes import RealProcesses, check_no_hcas

    check_no_hcas()
    namespaces = RealProcesses(machine.kernel)
    keep(machine, settings.simulation_file, namespaces=namespaces)
    return namespaces


class SriovPorts(NamedTuple):
    """The ports that make VFs and tell them who they are."""

    control: SriovControl
    vf_attributes: VfAttributes


def make_sriov(settings: Settings, machine: Callable[[], SimulatedMachine]) -> SriovPorts:
    """Choose where VFs are made."""
    if settings.simulate is not None:
        return SriovPorts(machine().sriov, machine().vf_attributes)
    from ibdra_adapters.netlink.vf_attributes import LinuxVfAttributes
    from ibdra_adapters.sysfs.sriov import SysfsSriov

    return SriovPorts(SysfsSriov(), LinuxVfAttributes())


def make_stage(settings: Settings, machine: Callable[[], SimulatedMachine]) -> Stage:
    """Choose where the demo's pods run."""
    if settings.simulate is not None:
        from ibdra_adapters.simulation.stage import SimulatedStage

        return SimulatedStage(machine())
    from ibdra_adapters.netlink.throwaway import ThrowAwayPods

    return ThrowAwayPods()


def wanted_vfs(settings: Settings) -> WantedVfs:
    """Put together what is wanted of PFs.  Raises InvalidGuidFile."""
    from ibdra_domain.vf_guids import GuidFile, parse_guid_file
    from ibdra_domain.vf_wishes import WantedVfs

    guids = GuidFile()
    if settings.guid_file is not None:
        try:
            text = settings.guid_file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidGuidFile(
                f"{settings.guid_file} cannot be read ({error})",
                remedy="give the path of a file with GUIDs for VFs",
            ) from error
        guids = parse_guid_file(text, name=str(settings.guid_file))
    return WantedVfs(count=settings.num_vfs, overrides=settings.pf_vfs, guids=guids)


def make_selectors() -> Selectors:
    """Choose the evaluator of CEL selectors."""
    from ibdra_adapters.cel.evaluator import CelSelectors

    return CelSelectors()


@contextmanager
def scratched(settings: Settings) -> Iterator[Settings]:
    """Give a simulated machine a folder for its tree, and remove it at the end."""
    if settings.simulate is None:
        yield settings
        return
    if settings.real_processes:  # a driver that is killed leaves it where the next one looks
        # Each of the two in a rolling update has its own.
        own = sha256((settings.instance or "").encode()).hexdigest()[:12]
        folder = settings.run_folder / "simulation" / own
        rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        yield replace(settings, scratch=folder)
        rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # the other one's is there
            folder.parent.rmdir()
        return
    with TemporaryDirectory(prefix="ibdra-", dir=_memory()) as temporary:
        yield replace(settings, scratch=Path(temporary))


def _memory() -> str | None:
    """Name a file system in memory with room to spare: trees have thousands of tiny files."""
    with suppress(OSError):
        state = os.statvfs(_SHARED_MEMORY)
        if state.f_bavail * state.f_frsize >= _ROOM and os.access(_SHARED_MEMORY, os.W_OK):
            return _SHARED_MEMORY
    return None


@contextmanager
def discovering(settings: Settings) -> Iterator[Discovery]:
    """Give what a command that only looks needs."""
    with scratched(settings) as complete:
        made = make_machine(complete) if complete.simulate is not None else None

        def machine() -> SimulatedMachine:
            return made or make_machine(complete)

        yield Discovery(
            sysfs=make_sysfs(complete, machine),
            verbs=make_verbs(complete, machine),
            include_ethernet=complete.include_ethernet,
        )


def node_name() -> str:
    """Give this machine's name as Kubernetes would by default: in lower case."""
    return socket.gethostname().lower()
