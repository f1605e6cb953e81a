"""The library's names are a promise, and its imports are another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ibdra_app import library

PAGE = Path(__file__).parents[3] / "docs/dev/library.md"
NAMES = re.findall(
    r"\w+",
    """
    AllocatedDeviceStatus BoundPod CdiDevice CdiFailed CdiFolder CdiSpec CdiSpecs CelSelectors
    ClaimDriver ClaimRef ClaimRefused ClaimStatus Claims Condition ConfigRefused
    ConsumerReference ContainerEdits Counter CounterSet Device DeviceAttribute DeviceCapacity
    DeviceCounterConsumption DeviceHealth DeviceHealthSource DeviceNode DeviceRefused DeviceTaint
    DraDriver DriverConfig DriverResult DriverResults EmbeddedNode FakeCdiSpecs FakeKubeApi
    FakeKubelet FakeStateStore FakeSuccession FakeTurn FileSuccession FileTurn HealthServer
    HealthStatus Hook IbdraError InvalidConfig InvalidIdentifier InvalidInput InvalidManifest
    InvalidSelector KubeConflict KubeFailed KubeInvalid KubeNotFound KubePorts KubeUnavailable
    KubeletFailed KubeletPlugin Loaded Mount NetworkDeviceData NodeLock NodeTurn Nodes OneByOne
    PodEvents PoolChanges PortFailed PreparedDevice Refusal ResourceClaim ResourceSlice RunningPod
    Selectors SimulatedRuntime SimulatedScheduler SliceChange SliceEvent SlicePublisher
    SliceWatch SliceWatching Slices StartedContainer StateFailed StateFolder StateStore
    Succession connect in_memory read_boot_id read_results serve
""",
)
# What no other driver should have to carry, whole packages and single modules.
OURS = re.compile(
    r"(ibdra_adapters\.(verbs|netlink|sysfs|hook|admission|metrics)|ibdra_domain\.(allocation|"
    r"attachment|container_edits|exclusion|hardware|health|ib_config|identifiers|inventory|link|"
    r"manifest_rules|preparation|provisioning|publication|records|steps|vf_guids)|"
    r"ibdra_app\.(container|settings|sources|ledger|cli)|dependency_injector|pyroute2|cffi)\b"
)
HEAVY = {"grpc", "google", "kubernetes", "urllib3", "cel_expr_python", "yaml", "asyncio", "click"}


def modules_after(code: str) -> list[str]:
    """Run code in a new interpreter; give the modules it has then."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.split()


def test_the_names_are_those_that_were_promised() -> None:
    """No name comes or goes by accident."""
    assert sorted(NAMES) == sorted(library.__all__), (
        "the library's names have changed: list them here and in docs/dev/library.md, and say so "
        "in CHANGELOG.md (a name that is gone or works otherwise: with a new minor version)"
    )


def test_every_name_is_there() -> None:
    """Each is found where the library says, and listed for completion."""
    assert {name for name in NAMES if not hasattr(library, name)} == set()
    assert set(NAMES) <= set(dir(library))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typo is reported as for any other module."""
    with pytest.raises(AttributeError, match="no attribute 'KubletPlugin'"):
        getattr(library, "KubletPlugin")  # noqa: B009 - mypy knows it is not there


def test_importing_it_is_cheap() -> None:
    """Values and ports only: nothing that talks to the kubelet, a cluster or a user."""
    found = modules_after("import ibdra_app.library")
    assert set() == HEAVY & {name.split(".")[0] for name in found}
    assert [] == [name for name in found if name.startswith("ibdra_adapters")]


def test_no_name_brings_infiniband() -> None:
    """Also with all names used, and a cluster's ports made, none of our own driver is there."""
    code = (
        "from ibdra_app.library import *\nimport ibdra_adapters.kube.client\n"
        "import ibdra_adapters.kube.server_reports\n"
        "assert KubeletPlugin and connect"
    )
    found = modules_after(code)
    assert "ibdra_adapters.kubelet.plugin" in found
    assert [] == [name for name in found if OURS.match(name)]


def test_the_page_has_a_line_for_every_name() -> None:
    """The tables of docs/dev/library.md and the names are the same."""
    rows = re.findall(r"^\| `(\w+)` \| \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(NAMES) == sorted(rows)


@pytest.mark.parametrize("package", ["ibdra_domain", "ibdra_adapters", "ibdra_app"])
def test_types_are_shipped(package: str) -> None:
    """A type checker takes our annotations."""
    where = Path(library.__file__).parents[1] / package / "py.typed"
    assert where.exists()
