"""SR-IOV switches and driver binding through sysfs.

Why: every one of these writes is destructive if the value is wrong, and a shell shows
"I/O error" for all of them.  Here each is one ``write(2)`` whose errno is told with what
it means.

Source: ``Documentation/ABI/testing/sysfs-bus-pci``.
"""

from __future__ import annotations

import errno as errnos
import os
from pathlib import Path

from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import PciAddress

_MEANINGS = {
    errnos.EBUSY: "there are VFs already, or the function has a driver",
    errnos.ERANGE: "ask for at most sriov_totalvfs, which the card's firmware settings limit",
    errnos.ENOENT: "the function is not there, or has no SR-IOV",
    errnos.ENODEV: "the function or its driver is not there, they do not fit, or the PF's "
    "sriov_drivers_autoprobe is 0",
    errnos.EROFS: "mount /sys writable into the driver's container",
    errnos.EACCES: "run the driver as root",
    errnos.EINVAL: "the kernel does not understand the value",
}


class SysfsSriov:
    """Fulfils the SriovControl port below a directory that stands for ``/sys``."""

    def __init__(self, root: str | Path = "/sys") -> None:
        self._devices = Path(root, "bus/pci/devices")
        self._drivers = Path(root, "bus/pci/drivers")

    def set_num_vfs(self, pf: PciAddress, count: int) -> None:
        """Fulfil the port."""
        _write(self._devices / pf / "sriov_numvfs", str(count), f"set {count} VFs on {pf}")

    def set_autoprobe(self, pf: PciAddress, *, enabled: bool) -> None:
        """Fulfil the port."""
        path = self._devices / pf / "sriov_drivers_autoprobe"
        _write(path, "1" if enabled else "0", f"switch the autoprobe of VFs on {pf}")

    def bind(self, function: PciAddress, driver: str) -> None:
        """Fulfil the port."""
        path = self._drivers / driver / "bind"
        if not path.exists():
            raise _refused(f"bind {function} to {driver}", errnos.ENODEV)
        _write(path, function, f"bind {function} to {driver}")

    def unbind(self, function: PciAddress) -> None:
        """Fulfil the port."""
        device = self._devices / function
        if not device.exists():
            raise _refused(f"unbind {function}", errnos.ENODEV)
        if (device / "driver").exists():
            _write(device / "driver/unbind", function, f"unbind {function}")


def _write(path: Path, value: str, what: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(handle, value.encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise _refused(what, error.errno or errnos.EIO) from error


def _refused(what: str, code: int) -> KernelRefused:
    remedy = _MEANINGS.get(code, "look in the kernel's log")
    return KernelRefused(f"the kernel did not {what}", remedy=remedy, errno=code)
