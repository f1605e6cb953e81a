"""The doctor's rounds on the host: kernel, rights, runtime, and the folders that are shared.

Why: apart from the hardware and the cluster, which can be looked at for another machine;
this is about the one that the process is on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ibdra_app.settings import Settings
from ibdra_domain import fitness_places
from ibdra_domain.fitness import (
    RUNTIMES,
    Finding,
    check_kernel,
    check_memory_limits,
    check_rights,
    kernel_parts,
)
from ibdra_domain.ports.host import HostFiles, HostProcesses, PathFacts, PathKind
from ibdra_domain.ports.state import Loaded
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord

_SPEC_SUFFIXES = (".json", ".yaml", ".yml")


class Host(NamedTuple):
    """The machine this process is on, where it is the one that is meant."""

    files: HostFiles
    processes: HostProcesses
    records: Callable[[], Loaded[ClaimRecord]]
    sockets: Callable[[], tuple[Path, Path]]


class HostRounds:
    """Looks at one side of the host after another.

    Parameters
    ----------
    cdi_folders:
        All folders the runtime reads specs from.
    hook_source:
        The attach hook as it came with this driver.
    """

    def __init__(
        self, settings: Settings, host: Host, *, cdi_folders: Iterable[Path], hook_source: Path
    ) -> None:
        self._settings = settings
        self._host = host
        self._files = host.files
        self._cdi_folders = tuple(dict.fromkeys((*cdi_folders, settings.cdi_folder)))
        self._hook_source = hook_source

    def runtime(self) -> Iterable[Finding]:
        """Look at the container runtime's limits."""
        return check_memory_limits(self._host.processes.memory_limits(RUNTIMES))

    def kernel(self) -> Iterable[Finding]:
        """Look for the kernel's parts."""
        parts = kernel_parts(with_umad=self._settings.with_umad)

        def there(path: str) -> bool:
            return self._files.look(f"/sys/{path}").kind is not PathKind.MISSING

        return check_kernel((part, any(map(there, part.shown_by))) for part in parts)

    def rights(self) -> Iterable[Finding]:
        """Look at what this process may do."""
        return check_rights(self._host.processes.rights(), sys=self._files.look("/sys"))

    def kubelet(self) -> Iterator[Finding]:
        """Look at what is shared with the kubelet."""
        root = self._settings.kubelet_folder
        why = "the kubelet does not find the driver"
        yield fitness_places.check_folder(
            "kubelet", self._files.look(str(root)), self._files.look(str(root)),
            purpose=why, made=False, written=False,
        )  # fmt: skip
        registration, plugin = self._host.sockets()
        for folder in (registration.parent, plugin.parent):
            yield _folder(self._files, "kubelet", folder, purpose=why)
        registry = str(registration.parent)
        others = {
            f"{registry}/{name}"
            for name in self._files.names(registry)
            if name.startswith(DRIVER_NAME)
        }
        for path in sorted({str(registration), str(plugin), *others}):
            yield fitness_places.check_socket(
                "kubelet", self._files.look(path), answers=self._files.answers(path),
                whose="the kubelet",
            )  # fmt: skip

    def cdi(self) -> Iterator[Finding]:
        """Look at what the runtime reads."""
        folder = self._settings.cdi_folder
        yield _folder(self._files, "cdi", folder, purpose="no claim can be prepared")
        specs, ours = {}, set()
        own = self._files.resolve(str(folder))
        # /var/run is a link to /run: a folder that is there twice has each spec once.
        for place in dict.fromkeys(self._files.resolve(str(each)) for each in self._cdi_folders):
            for name in self._files.names(place):
                if name.endswith(_SPEC_SUFFIXES):
                    path = f"{place}/{name}"
                    specs[path] = self._files.read(path)
                    if place == own and name.startswith(f"{DRIVER_NAME}_"):
                        ours.add(path)
        yield from fitness_places.check_cdi_conflicts(specs, ours=ours)

    def hook(self) -> Iterator[Finding]:
        """Look at the program that the runtime runs."""
        path, source = self._settings.hook.path, str(self._hook_source)
        yield fitness_places.check_hook(
            self._files.look(path), self._files.read(path), self._files.read(source), source=source
        )

    def state(self, records: Loaded[ClaimRecord]) -> Iterator[Finding]:
        """Look at the records, as they were read."""
        folder = self._settings.state_folder
        yield _folder(self._files, "state", folder, purpose="no claim can be prepared")
        seen = fitness_places.RecordsSeen(
            good=len(records.records),
            bad=records.warnings,
            set_aside=tuple(sorted(records.set_aside)),
        )
        yield from fitness_places.check_records(str(folder), seen)

    def run_folder(self, *, answers: bool) -> Iterator[Finding]:
        """Look at the hook's socket and its folder."""
        folder, socket = self._settings.run_folder, str(self._settings.hook_socket)
        yield _folder(self._files, "run folder", folder, purpose="the hook cannot be answered")
        yield fitness_places.check_run_folder(self._files.look(str(folder)))
        yield fitness_places.check_socket(
            "run folder", self._files.look(socket), answers=answers, whose="the hook"
        )
        yield fitness_places.check_daemon(answers=answers, socket=socket)


def _folder(files: HostFiles, check: str, folder: Path, *, purpose: str) -> Finding:
    facts = files.look(str(folder))
    return fitness_places.check_folder(check, facts, _nearest(files, facts), purpose=purpose)


def _nearest(files: HostFiles, facts: PathFacts) -> PathFacts:
    """Give the first folder above a path that is there, or what is there itself."""
    for parent in PurePosixPath(facts.path).parents:
        if facts.kind is not PathKind.MISSING:
            break
        facts = files.look(str(parent))
    return facts
