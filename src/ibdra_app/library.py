"""What another DRA driver may import: the parts of ibdra that know no InfiniBand.

Why: a driver for any other device needs the same kubelet plugin, slices, CDI files, records
and demo.  Names that are here are kept from one minor version to the next; everything else
in the three packages may change at any time.  ``docs/dev/library.md`` says how to write a
driver with them, ``examples/custom_driver`` is one.

Values, ports and errors cost nothing.  Whatever brings gRPC, the Kubernetes client or the
CEL evaluator is imported when its name is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ibdra_domain.cdi import CdiDevice, CdiSpec, ContainerEdits, DeviceNode, Hook, Mount
from ibdra_domain.claim_results import DriverConfig, DriverResult, DriverResults, read_results
from ibdra_domain.errors import (
    CdiFailed,
    ClaimRefused,
    ConfigRefused,
    DeviceRefused,
    IbdraError,
    InvalidConfig,
    InvalidIdentifier,
    InvalidInput,
    InvalidManifest,
    InvalidSelector,
    KubeConflict,
    KubeFailed,
    KubeInvalid,
    KubeletFailed,
    KubeNotFound,
    KubeUnavailable,
    PortFailed,
    Refusal,
    StateFailed,
)
from ibdra_domain.kube_objects import (
    AllocatedDeviceStatus,
    Condition,
    ConsumerReference,
    Counter,
    CounterSet,
    Device,
    DeviceAttribute,
    DeviceCapacity,
    DeviceCounterConsumption,
    DeviceTaint,
    NetworkDeviceData,
    ResourceClaim,
    ResourceSlice,
)
from ibdra_domain.pool import PoolChanges
from ibdra_domain.ports.cdi import CdiSpecs
from ibdra_domain.ports.driver import (
    ClaimRef,
    DeviceHealth,
    DeviceHealthSource,
    DraDriver,
    HealthStatus,
    PreparedDevice,
)
from ibdra_domain.ports.instances import NodeTurn, Succession
from ibdra_domain.ports.kube import (
    Claims,
    ClaimStatus,
    Nodes,
    PodEvents,
    SliceChange,
    SliceEvent,
    Slices,
    SliceWatch,
)
from ibdra_domain.ports.selectors import Selectors
from ibdra_domain.ports.state import Loaded, StateStore

if TYPE_CHECKING:
    from ibdra_adapters.cdi.fake import FakeCdiSpecs
    from ibdra_adapters.cdi.files import CdiFolder
    from ibdra_adapters.cel.evaluator import CelSelectors
    from ibdra_adapters.kube.fake_api import FakeKubeApi
    from ibdra_adapters.kubelet.client import FakeKubelet
    from ibdra_adapters.kubelet.plugin import KubeletPlugin
    from ibdra_adapters.kubelet.probes import HealthServer
    from ibdra_adapters.simulation.runtime import SimulatedRuntime, StartedContainer
    from ibdra_adapters.simulation.scheduler import SimulatedScheduler
    from ibdra_adapters.state.boot import read_boot_id
    from ibdra_adapters.state.fake import FakeStateStore
    from ibdra_adapters.state.fake_instances import FakeSuccession, FakeTurn
    from ibdra_adapters.state.files import StateFolder
    from ibdra_adapters.state.instances import FileSuccession, FileTurn
    from ibdra_app.embedded_node import EmbeddedNode
    from ibdra_app.embedded_pods import BoundPod, RunningPod
    from ibdra_app.kube_ports import KubePorts, connect, in_memory
    from ibdra_app.node_lock import NodeLock
    from ibdra_app.one_by_one import ClaimDriver, OneByOne
    from ibdra_app.serving import serve
    from ibdra_app.slice_publisher import SlicePublisher
    from ibdra_app.slice_watching import SliceWatching

__all__ = [
    "AllocatedDeviceStatus",
    "BoundPod",
    "CdiDevice",
    "CdiFailed",
    "CdiFolder",
    "CdiSpec",
    "CdiSpecs",
    "CelSelectors",
    "ClaimDriver",
    "ClaimRef",
    "ClaimRefused",
    "ClaimStatus",
    "Claims",
    "Condition",
    "ConfigRefused",
    "ConsumerReference",
    "ContainerEdits",
    "Counter",
    "CounterSet",
    "Device",
    "DeviceAttribute",
    "DeviceCapacity",
    "DeviceCounterConsumption",
    "DeviceHealth",
    "DeviceHealthSource",
    "DeviceNode",
    "DeviceRefused",
    "DeviceTaint",
    "DraDriver",
    "DriverConfig",
    "DriverResult",
    "DriverResults",
    "EmbeddedNode",
    "FakeCdiSpecs",
    "FakeKubeApi",
    "FakeKubelet",
    "FakeStateStore",
    "FakeSuccession",
    "FakeTurn",
    "FileSuccession",
    "FileTurn",
    "HealthServer",
    "HealthStatus",
    "Hook",
    "IbdraError",
    "InvalidConfig",
    "InvalidIdentifier",
    "InvalidInput",
    "InvalidManifest",
    "InvalidSelector",
    "KubeConflict",
    "KubeFailed",
    "KubeInvalid",
    "KubeNotFound",
    "KubePorts",
    "KubeUnavailable",
    "KubeletFailed",
    "KubeletPlugin",
    "Loaded",
    "Mount",
    "NetworkDeviceData",
    "NodeLock",
    "NodeTurn",
    "Nodes",
    "OneByOne",
    "PodEvents",
    "PoolChanges",
    "PortFailed",
    "PreparedDevice",
    "Refusal",
    "ResourceClaim",
    "ResourceSlice",
    "RunningPod",
    "Selectors",
    "SimulatedRuntime",
    "SimulatedScheduler",
    "SliceChange",
    "SliceEvent",
    "SlicePublisher",
    "SliceWatch",
    "SliceWatching",
    "Slices",
    "StartedContainer",
    "StateFailed",
    "StateFolder",
    "StateStore",
    "Succession",
    "connect",
    "in_memory",
    "read_boot_id",
    "read_results",
    "serve",
]

_HOMES = {
    "ibdra_adapters.cdi.fake": ("FakeCdiSpecs",),
    "ibdra_adapters.cdi.files": ("CdiFolder",),
    "ibdra_adapters.cel.evaluator": ("CelSelectors",),
    "ibdra_adapters.kube.fake_api": ("FakeKubeApi",),
    "ibdra_adapters.kubelet.client": ("FakeKubelet",),
    "ibdra_adapters.kubelet.plugin": ("KubeletPlugin",),
    "ibdra_adapters.kubelet.probes": ("HealthServer",),
    "ibdra_adapters.simulation.runtime": ("SimulatedRuntime", "StartedContainer"),
    "ibdra_adapters.simulation.scheduler": ("SimulatedScheduler",),
    "ibdra_adapters.state.boot": ("read_boot_id",),
    "ibdra_adapters.state.fake": ("FakeStateStore",),
    "ibdra_adapters.state.fake_instances": ("FakeSuccession", "FakeTurn"),
    "ibdra_adapters.state.files": ("StateFolder",),
    "ibdra_adapters.state.instances": ("FileSuccession", "FileTurn"),
    "ibdra_app.embedded_node": ("EmbeddedNode",),
    "ibdra_app.embedded_pods": ("BoundPod", "RunningPod"),
    "ibdra_app.kube_ports": ("KubePorts", "connect", "in_memory"),
    "ibdra_app.node_lock": ("NodeLock",),
    "ibdra_app.one_by_one": ("ClaimDriver", "OneByOne"),
    "ibdra_app.serving": ("serve",),
    "ibdra_app.slice_publisher": ("SlicePublisher",),
    "ibdra_app.slice_watching": ("SliceWatching",),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name's module when it is first asked for (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the names that are not imported yet, too."""
    return sorted({*globals(), *__all__})
