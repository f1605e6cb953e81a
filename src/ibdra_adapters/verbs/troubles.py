"""What is said about devices that libibverbs would not show, and about what they tell.

Why: an operator sees these warnings, whichever adapter they come from, so the fake
speaks as the real one does and a demo shows the true text.  Each names the thing, the
cause by its errno, and what can be done.
"""

from __future__ import annotations

import errno as _errno

from ibdra_domain.errors import KernelRefused

_LOG = "look for the device's driver in the kernel log"
_REMEDIES = {
    _errno.EPERM: "nothing to do if a pod holds it, else run the driver privileged on the host",
    _errno.EACCES: "nothing to do if a pod holds it, else run the driver privileged on the host",
    _errno.ENOENT: "mount the host's /dev/infiniband, and load ib_uverbs if it is empty there",
    _errno.ENODEV: "nothing to do if it was just moved or unplugged, else reload its driver",
    _errno.ENXIO: "nothing to do if it was just moved or unplugged, else reload its driver",
    _errno.ENOSYS: "load the kernel's RDMA modules (ib_uverbs)",
    _errno.ELIBACC: "install rdma-core's libibverbs1 where the driver runs",
    _errno.EBADF: "watch the device anew",
    _errno.EMFILE: "raise the driver's limit of open files",
    _errno.ENOMEM: "raise the driver's memory limit",
}


def errno_name(code: int) -> str:
    """``EPERM``; the bare number where it has no name."""
    return _errno.errorcode.get(code, f"errno {code}") if code else "no errno given"


def library_not_loaded(library: str, cause: object) -> str:
    """Say that there is no libibverbs to ask."""
    return (
        f"{library} is not usable, so active MTUs stay unknown ({cause}): "
        "install rdma-core's libibverbs1 where the driver runs"
    )


def devices_not_listed(code: int) -> str:
    """Say that libibverbs would not list its devices."""
    return f"libibverbs cannot list RDMA devices ({errno_name(code)}): {_remedy(code)}"


def device_not_opened(rdma_device: str, code: int) -> str:
    """Say that a device is left out because it could not be opened."""
    return f"{rdma_device} cannot be opened ({errno_name(code)}): {_remedy(code)}"


def device_not_queried(rdma_device: str, code: int) -> str:
    """Say that a device is left out because it did not answer."""
    return f"{rdma_device} cannot be queried ({errno_name(code)}): {_remedy(code)}"


def port_not_queried(rdma_device: str, port: int, code: int) -> str:
    """Say that a port is left out."""
    return f"{rdma_device} port {port} cannot be queried ({errno_name(code)}): {_remedy(code)}"


def gid_not_queried(rdma_device: str, port: int, code: int) -> str:
    """Say that a port is shown without its GID."""
    return (
        f"{rdma_device} port {port}: GID 0 cannot be queried ({errno_name(code)}): {_remedy(code)}"
    )


def not_watched(rdma_device: str, code: int) -> KernelRefused:
    """Say that a device's events cannot be followed."""
    shown = rdma_device if rdma_device.isprintable() else ascii(rdma_device)
    problem = f"the events of {shown} cannot be followed"
    return KernelRefused(problem, remedy=_remedy(code), errno=code or _errno.EIO)


def _remedy(code: int) -> str:
    return _REMEDIES.get(code, _LOG)
