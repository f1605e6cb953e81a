"""The one exception tree.

Why: an operator reads these messages at three in the morning, and another driver's
author catches them.  So every error names the thing, says the cause and tells what to
do, and no error of a third-party library ever leaves an adapter: it is chained below
one of these.

::

    IbdraError
    ├── InvalidInput                what somebody wrote is malformed; nothing was changed
    │   ├── InvalidIdentifier       a GUID, GID, pkey, PCI address or device name
    │   ├── InvalidJson             a text that is not JSON
    │   ├── InvalidConfig           an IbConfig
    │   ├── InvalidManifest         a Kubernetes manifest
    │   ├── InvalidSelector         a CEL expression
    │   ├── InvalidProfile          a description of a simulated machine
    │   └── InvalidGuidFile         an operator's file of VF GUIDs
    ├── Refusal                     well-formed, but must not be done; nothing was changed
    │   ├── ClaimRefused            the claim is gone, not allocated, or not the one meant
    │   ├── DeviceRefused           the device is not here, held by another, or not fit
    │   ├── ConfigRefused           the port cannot do what the IbConfig asks for
    │   ├── AttachRefused           the container cannot get the device in this state
    │   │   └── NotSettled          the device is on its way: look again when something changed
    │   ├── IsolationRefused        the machine's RDMA mode is not the one demanded
    │   ├── ProvisioningRefused     VFs cannot be created as asked without harm
    │   └── CleanupRefused          the driver is still at work here
    └── PortFailed                  something outside this process failed
        ├── HardwareUnreadable      sysfs or libibverbs cannot be read at all
        ├── ProvisioningFailed      virtual functions did not become what was asked for
        ├── KernelRefused           a system call or netlink request; carries ``errno``
        ├── KubeFailed              the API server
        │   ├── KubeNotFound        404
        │   ├── KubeConflict        409: somebody else wrote first
        │   ├── KubeInvalid         422: not valid to this server
        │   └── KubeUnavailable     no answer, 429 or 5xx: worth another try
        ├── CdiFailed               CDI spec files
        ├── StateFailed             the driver's own records
        ├── KubeletFailed           sockets shared with the kubelet
        ├── HookFailed              the attach hook: its socket, its program, what it asks
        ├── WebhookFailed           the webhook: its port, its certificate, what it is asked
        └── MetricsFailed           the port that metrics are served at
            └── PortTaken           another process has it
"""

from __future__ import annotations

import errno as _errno


class IbdraError(Exception):
    """Base of everything this project raises on purpose.

    Parameters
    ----------
    problem:
        The thing and the cause, one clause, no full stop.
    remedy:
        What the reader can do about it, one clause, no full stop.
    """

    def __init__(self, problem: str, *, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem
        self.remedy = remedy


class InvalidInput(IbdraError):
    """Somebody wrote something malformed."""


class InvalidIdentifier(InvalidInput):
    """A GUID, GID, pkey, PCI address or device name that is not one."""


class InvalidJson(InvalidInput):
    """A text that is not JSON."""


class InvalidConfig(InvalidInput):
    """An IbConfig that does not decode or breaks a rule.

    ``field`` is the path below the parameters ("mtu"), empty for the whole document.
    """

    def __init__(self, problem: str, *, remedy: str, field: str = "") -> None:
        super().__init__(problem, remedy=remedy)
        self.field = field


class InvalidManifest(InvalidInput):
    """A Kubernetes manifest that cannot be read as what it says it is."""


class InvalidSelector(InvalidInput):
    """A CEL expression that does not compile."""


class InvalidProfile(InvalidInput):
    """A description of a simulated machine that does not make sense."""


class InvalidGuidFile(InvalidInput):
    """An operator's file of VF GUIDs that cannot be relied on."""


class Refusal(IbdraError):
    """A well-formed request that must not be fulfilled."""


class ClaimRefused(Refusal):
    """The claim is gone, not allocated, for another node, or another one by the same name."""


class DeviceRefused(Refusal):
    """The device is not on this node, is held by another claim, or is not fit for use."""


class ConfigRefused(Refusal):
    """The port cannot do what the IbConfig asks for."""


class AttachRefused(Refusal):
    """The container cannot be given its device in the present state."""


class NotSettled(AttachRefused):
    """The kernel has not brought the device or its interface yet; it may do so any moment."""


class IsolationRefused(Refusal):
    """The machine's RDMA isolation mode is not the one demanded, and cannot be switched."""


class ProvisioningRefused(Refusal):
    """Virtual functions cannot be created as asked without harm."""


class CleanupRefused(Refusal):
    """The driver cannot be removed from a node where it is still at work."""


class PortFailed(IbdraError):
    """Something outside this process failed."""


class HardwareUnreadable(PortFailed):
    """Sysfs or libibverbs cannot be read at all (single bad files are warnings)."""


class ProvisioningFailed(PortFailed):
    """The kernel took every step, and the virtual functions are not what was asked for."""


class KernelRefused(PortFailed):
    """The kernel refused a system call or netlink request.

    ``errno`` is positive, as in :mod:`errno`.
    """

    def __init__(self, problem: str, *, remedy: str, errno: int) -> None:
        name = _errno.errorcode.get(errno, f"errno {errno}")
        super().__init__(f"{problem} ({name})", remedy=remedy)
        self.errno = errno


class KubeFailed(PortFailed):
    """The API server did not do what was asked."""


class KubeNotFound(KubeFailed):
    """404: the object is gone."""


class KubeConflict(KubeFailed):
    """409: somebody else wrote first."""


class KubeInvalid(KubeFailed):
    """422: it was understood, and is not valid to this server; others may take it."""


class KubeUnavailable(KubeFailed):
    """No answer, 429 or 5xx: worth another try."""


class CdiFailed(PortFailed):
    """A CDI spec file could not be written, read or removed."""


class StateFailed(PortFailed):
    """The driver's own records could not be written, read or removed."""


class KubeletFailed(PortFailed):
    """The sockets shared with the kubelet could not be set up."""


class HookFailed(PortFailed):
    """The attach hook's socket or program could not be set up, or it asked nonsense."""


class WebhookFailed(PortFailed):
    """The webhook cannot be served, has no certificate to show, or was asked nonsense."""


class MetricsFailed(PortFailed):
    """Metrics cannot be served."""


class PortTaken(MetricsFailed):
    """Another process has the port, in a rolling update the instance that goes."""
