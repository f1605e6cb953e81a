"""Fixtures: the runtime, the program, and claims whose specs go when the test ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from msgspec.structs import replace

from contract.hook.hook_runs import NEEDS_CC, Helper, build
from contract.runtime.podman import CDI_FOLDER, NEEDS_RUNTIME, Podman, is_here
from ibdra_adapters.cdi.files import CdiFolder
from ibdra_domain.cdi import CdiSpec
from ibdra_domain.container_edits import HookSettings, to_cdi_spec
from ibdra_domain.preparation import PreparedClaim
from ibdra_domain.publication import DRIVER_NAME
from unit.domain.domain_facts import a_char_device, a_claim_ref, a_port, a_prepared_claim, rdma_cm

# There is no HCA: what is always there stands for its nodes.
NULL, ZERO, FULL = (1, 3), (1, 5), (1, 7)


@pytest.fixture(scope="session")
def runtime() -> Iterator[Podman]:
    """Give the runtime, or skip the test."""
    if not is_here():
        pytest.skip(NEEDS_RUNTIME)
    # Podman takes 50 letters at most, and its monitors may still write when it has ended.
    with TemporaryDirectory(prefix="ibdra-", ignore_cleanup_errors=True) as folder:
        podman = Podman(Path(folder))
        plain = podman.run("true")
        if plain.code != 0:
            pytest.skip(f"needs a machine that lets podman start a container: {plain.err.strip()}")
        yield podman
        podman.clean()


@pytest.fixture
def podman(runtime: Podman) -> Iterator[Podman]:
    """Give the runtime without containers."""
    yield runtime
    runtime.clean()


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program, or skip the test."""
    path = build(tmp_path_factory.mktemp("hook"))
    if path is None:
        pytest.skip(NEEDS_CC)
    return path


@pytest.fixture
def helper(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Helper:
    """Give the program with a socket and marks of its own, neither there yet."""
    folder = tmp_path_factory.mktemp("h")
    folder.chmod(0o700)
    return Helper(program=program, socket=folder / "hook.sock", marks=folder / "attached")


def nodes_of(claim: PreparedClaim) -> str:
    """Write the device numbers that the claim's ports give to a container."""
    numbers = [f"{n.major}:{n.minor}" for port in claim.ports for n in port.char_devices]
    return ",".join(numbers) or "-"


def with_hook(spec: CdiSpec, command: list[str]) -> CdiSpec:
    """Let a spec's hook have this command line."""
    (hook,) = spec.container_edits.hooks
    hook = replace(hook, path=command[0], args=("ibdra-hook", *command[1:]))
    return replace(spec, container_edits=replace(spec.container_edits, hooks=(hook,)))


class Prepared:
    """A claim on disk, as the runtime finds it."""

    def __init__(self, claim: PreparedClaim, *, helper: Helper, deadline: int) -> None:
        self.uid = claim.claim.uid
        self.nodes = nodes_of(claim)
        cm = replace(rdma_cm(), major=FULL[0], minor=FULL[1])
        spec = to_cdi_spec(claim, char_devices=[cm], hook=HookSettings())
        command = helper.command(claim=self.uid, nodes=self.nodes, deadline=deadline)
        self.spec = with_hook(spec, command)
        self.devices = tuple(self.spec.qualified(device.name) for device in spec.devices)


@pytest.fixture
def prepare(helper: Helper) -> Iterator[Callable[..., Prepared]]:
    """Prepare claims as often as asked; their files are removed at the end."""
    folder = CdiFolder(CDI_FOLDER, driver=DRIVER_NAME)
    written = []

    def prepared(number: tuple[int, int] = NULL, *, index: int = 0, deadline: int = 20) -> Prepared:
        uid = str(uuid4())
        major, minor = number
        node = a_char_device(name=f"uverbs{index}", major=major, minor=minor)
        port = a_port(char_devices=(node,))
        claim = a_prepared_claim(port, claim=a_claim_ref(uid=uid))
        found = Prepared(claim, helper=helper, deadline=deadline)
        folder.write(uid, found.spec)
        written.append(uid)
        return found

    yield prepared
    for uid in written:
        folder.remove(uid)
