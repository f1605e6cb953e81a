"""The parts of Kubernetes objects that a DRA driver reads and writes.

Why: typed client models cost 27 times the time of these Structs, drop fields newer than
the client, and drag the client into the domain (D12).  Unknown fields are tolerated on
the way in; nothing read here is ever written back whole.

Source: ``k8s.io/api/resource/v1`` (``types.go``), Kubernetes 1.34 and newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec

RESOURCE_API_VERSION = "resource.k8s.io/v1"

# Limits of resource/v1 that a driver must keep, or the API server refuses the slice.
MAX_DEVICES_PER_SLICE = 128
MAX_COUNTED_DEVICES_PER_SLICE = 64  # where any of them consumes counters or is tainted
MAX_COUNTER_SETS_PER_SLICE = 8
MAX_COUNTERS_PER_SET = 32
MAX_CONDITION_MESSAGE = 32 * 1024
MAX_INTERFACE_NAME = 256
MAX_HARDWARE_ADDRESS = 128
MAX_IPS_PER_DEVICE = 16
MAX_ATTRIBUTES_PER_DEVICE = 32
MAX_ATTRIBUTE_VALUE = 64
MAX_OBJECT_NAME = 253
MAX_OPAQUE_PARAMETERS = 10 * 1024


class _Object(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Frozen, camelCase, empty fields left out."""


class DeviceTaint(_Object, frozen=True, kw_only=True):
    """Why a device should not be used: ``effect`` is None, NoSchedule or NoExecute.

    ``time_added`` (RFC 3339) is the server's to set, and ours to keep.
    """

    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class DeviceToleration(_Object, frozen=True, kw_only=True):
    """Which taints a request puts up with; no key means any, no effect every one."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: DeviceTaint) -> bool:
        """Tell whether a device with this taint may be taken."""
        return (
            self.key in ("", taint.key)
            and self.effect in ("", taint.effect)
            and (self.operator == "Exists" or self.value == taint.value)
        )


class DeviceAttribute(_Object, frozen=True, kw_only=True):
    """One of its fields is set."""

    string: str | None = None
    int_: int | None = msgspec.field(default=None, name="int")
    bool_: bool | None = msgspec.field(default=None, name="bool")
    version: str | None = None

    @classmethod
    def of(cls, value: str | int | bool) -> Self:  # noqa: FBT001 -- a value, not a switch
        """Make one of a plain value."""
        if isinstance(value, bool):
            return cls(bool_=value)
        return cls(int_=value) if isinstance(value, int) else cls(string=value)

    @property
    def value(self) -> str | int | bool | None:
        """The value, whichever of the fields holds it."""
        for candidate in (self.string, self.int_, self.bool_):
            if candidate is not None:
                return candidate
        return self.version


class Counter(_Object, frozen=True, kw_only=True):
    """A quantity, as Kubernetes writes them: ``"8"``."""

    value: str


class CounterSet(_Object, frozen=True, kw_only=True):
    """Counters by name that devices of the same pool share."""

    name: str
    counters: Mapping[str, Counter] = {}


class DeviceCounterConsumption(_Object, frozen=True, kw_only=True):
    """What a device takes of a counter set when it is allocated."""

    counter_set: str
    counters: Mapping[str, Counter] = {}


class DeviceCapacity(_Object, frozen=True, kw_only=True):
    """How much a device has of something, as a quantity: ``"80Gi"``."""

    value: str


class Device(_Object, frozen=True, kw_only=True):
    """A device in a slice; attribute names without a domain belong to the driver's."""

    name: str
    attributes: Mapping[str, DeviceAttribute] = {}
    capacity: Mapping[str, DeviceCapacity] = {}
    consumes_counters: tuple[DeviceCounterConsumption, ...] = ()
    taints: tuple[DeviceTaint, ...] = ()


class OwnerReference(_Object, frozen=True, kw_only=True):
    """Whose end is this object's end too."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False


class ObjectMeta(_Object, frozen=True, kw_only=True):
    """What we use of an object's metadata."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    owner_references: tuple[OwnerReference, ...] = ()


class ResourcePool(_Object, frozen=True, kw_only=True):
    """Which pool a slice belongs to; all its slices carry one generation and count."""

    name: str
    generation: int
    resource_slice_count: int


class ResourceSliceSpec(_Object, frozen=True, kw_only=True):
    """Devices of one driver on one node, or counters that they share: never both."""

    driver: str
    pool: ResourcePool
    node_name: str = ""
    devices: tuple[Device, ...] = ()
    shared_counters: tuple[CounterSet, ...] = ()


class ResourceSlice(_Object, frozen=True, kw_only=True):
    """``resource.k8s.io/v1`` ResourceSlice."""

    metadata: ObjectMeta
    spec: ResourceSliceSpec
    api_version: str = msgspec.field(default=RESOURCE_API_VERSION)
    kind: str = "ResourceSlice"

    def to_builtins(self) -> dict[str, object]:
        """Plain JSON values, with the type fields that ``omit_defaults`` would leave out."""
        # By way of JSON: to_builtins() would keep tuples, which are no JSON values.
        body: dict[str, object] = msgspec.json.decode(msgspec.json.encode(self))
        return {"apiVersion": self.api_version, "kind": self.kind} | body


class OpaqueConfig(_Object, frozen=True, kw_only=True):
    """Parameters for one driver, kept as the bytes they came in."""

    driver: str
    parameters: msgspec.Raw = msgspec.Raw(b"null")


class CelSelector(_Object, frozen=True, kw_only=True):
    """A CEL expression."""

    expression: str


class DeviceSelector(_Object, frozen=True, kw_only=True):
    """Only CEL exists today."""

    cel: CelSelector | None = None


class DeviceClaimConfig(_Object, frozen=True, kw_only=True):
    """Configuration in a claim: for the named requests, or for all."""

    requests: tuple[str, ...] = ()
    opaque: OpaqueConfig | None = None


class ExactRequest(_Object, frozen=True, kw_only=True):
    """What a request, or one of its alternatives (then with a ``name``), asks for."""

    name: str = ""
    device_class_name: str = ""
    selectors: tuple[DeviceSelector, ...] = ()
    allocation_mode: str = "ExactCount"
    count: int = 1
    admin_access: bool = False
    tolerations: tuple[DeviceToleration, ...] = ()


class DeviceRequest(_Object, frozen=True, kw_only=True):
    """Either ``exactly`` one thing or the ``first_available`` of several."""

    name: str
    exactly: ExactRequest | None = None
    first_available: tuple[ExactRequest, ...] = ()


class DeviceConstraint(_Object, frozen=True, kw_only=True):
    """All devices of the requests agree in one attribute."""

    requests: tuple[str, ...] = ()
    match_attribute: str | None = None


class DeviceClaim(_Object, frozen=True, kw_only=True):
    """What a claim asks for."""

    requests: tuple[DeviceRequest, ...] = ()
    constraints: tuple[DeviceConstraint, ...] = ()
    config: tuple[DeviceClaimConfig, ...] = ()


class ResourceClaimSpec(_Object, frozen=True, kw_only=True):
    """A claim's wish."""

    devices: DeviceClaim = DeviceClaim()


class AllocationResult(_Object, frozen=True, kw_only=True):
    """One device for one request (``parent/sub`` where an alternative was taken)."""

    request: str
    driver: str
    pool: str
    device: str
    admin_access: bool = False
    share_id: str | None = msgspec.field(default=None, name="shareID")


class AllocationConfig(_Object, frozen=True, kw_only=True):
    """Configuration that came with the allocation, from the class or the claim."""

    source: str
    requests: tuple[str, ...] = ()
    opaque: OpaqueConfig | None = None


class AllocatedDevices(_Object, frozen=True, kw_only=True):
    """All devices of a claim, every driver's."""

    results: tuple[AllocationResult, ...] = ()
    config: tuple[AllocationConfig, ...] = ()


class AllocationStatus(_Object, frozen=True, kw_only=True):
    """What the scheduler decided."""

    devices: AllocatedDevices = AllocatedDevices()


class ConsumerReference(_Object, frozen=True, kw_only=True):
    """Who may use the claim; in practice a pod."""

    resource: str = ""
    name: str = ""
    uid: str = ""


class Condition(_Object, frozen=True, kw_only=True):
    """``status`` is "True", "False" or "Unknown"; the time (RFC 3339) is that of its last turn."""

    type: str
    status: str
    reason: str
    message: str = ""
    last_transition_time: str = ""


class NetworkDeviceData(_Object, frozen=True, kw_only=True):
    """The interface a device has in its pod; ``ips`` are in CIDR notation."""

    interface_name: str = ""
    ips: tuple[str, ...] = ()
    hardware_address: str = ""


class AllocatedDeviceStatus(_Object, frozen=True, kw_only=True):
    """How an allocated device does."""

    driver: str
    pool: str
    device: str
    share_id: str | None = msgspec.field(default=None, name="shareID")
    conditions: tuple[Condition, ...] | None = None  # null is what the server writes for none
    network_data: NetworkDeviceData | None = None


class ResourceClaimStatus(_Object, frozen=True, kw_only=True):
    """A claim's state."""

    allocation: AllocationStatus | None = None
    reserved_for: tuple[ConsumerReference, ...] = ()
    devices: tuple[AllocatedDeviceStatus, ...] = ()


class ResourceClaim(_Object, frozen=True, kw_only=True):
    """``resource.k8s.io/v1`` ResourceClaim."""

    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class DeviceClassConfig(_Object, frozen=True, kw_only=True):
    """Configuration that every claim of the class gets."""

    opaque: OpaqueConfig | None = None


class DeviceClassSpec(_Object, frozen=True, kw_only=True):
    """What belongs to a class and how it is configured."""

    selectors: tuple[DeviceSelector, ...] = ()
    config: tuple[DeviceClassConfig, ...] = ()


class DeviceClass(_Object, frozen=True, kw_only=True):
    """``resource.k8s.io/v1`` DeviceClass."""

    metadata: ObjectMeta = ObjectMeta()
    spec: DeviceClassSpec = DeviceClassSpec()
