"""RDMA devices and the machine's isolation mode, through RDMA netlink.

Why: iproute2's ``rdma`` knows namespaces by name only; netlink takes any descriptor.  Each
call makes its socket in the namespace it is about, because a device can be seen only from
the one it is in.  To move it, the *thread* that asks must be there as well: the kernel
looks for the device in the caller's namespace, whatever the socket's.

Source: ``drivers/infiniband/core/nldev.c``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from ibdra_adapters.netlink.names import name_of, shown
from ibdra_adapters.netlink.namespaces import LinuxNamespaces, done_in, fd_of, socket_in
from ibdra_adapters.netlink.rdma_messages import (
    DUMP,
    GET,
    NETLINK_RDMA,
    REQUEST,
    SET,
    SYS_GET,
    SYS_SET,
    NldevSocket,
    message_type,
    nldevmsg,
)
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.ports.netlink import Netns

_MODES = {0: RdmaIsolation.EXCLUSIVE, 1: RdmaIsolation.SHARED}
_REMEDIES = {
    errno.EBUSY: "the mode changes only while there is no other network namespace: set it at "
    "boot with `options ib_core netns_mode=0`",
    errno.EOPNOTSUPP: "the machine is in shared RDMA mode, or the device's driver cannot move",
    errno.EPROTONOSUPPORT: "load the kernel module ib_core",
    errno.EPERM: "run the driver with CAP_NET_ADMIN",
    errno.EEXIST: "another RDMA device has its name there: give that one another, "
    "`rdma dev set NAME name OTHER`",
    errno.ENODEV: "the device has gone, or is in another namespace",
}


class LinuxRdmaDevices:
    """Fulfils the RdmaDevices port."""

    def __init__(self, namespaces: LinuxNamespaces) -> None:
        self._namespaces = namespaces

    def isolation(self) -> RdmaIsolation:
        """Fulfil the port."""
        host = self._namespaces.host()
        try:
            answers = _ask(host, "read the RDMA mode", SYS_GET, REQUEST)
        finally:
            host.close()
        mode = _MODES.get(_attribute(answers[0], "NETNS_MODE")) if answers else None
        if mode is None:
            raise _refused("the kernel does not tell its RDMA mode", errno.ENODATA)
        return mode

    def set_isolation(self, mode: RdmaIsolation) -> None:
        """Fulfil the port."""
        code = next(number for number, known in _MODES.items() if known is mode)
        host = self._namespaces.host()
        try:
            wanted = [("RDMA_NLDEV_SYS_ATTR_NETNS_MODE", code)]
            _ask(host, f"set the RDMA mode to {mode.value}", SYS_SET, REQUEST, wanted)
        finally:
            host.close()

    def names(self, netns: Netns) -> tuple[str, ...]:
        """Fulfil the port."""
        return tuple(_indexes(netns))

    def move(self, name: str, *, source: Netns, target: Netns) -> None:
        """Fulfil the port."""
        index = _indexes(source).get(name)
        if index is None:
            raise _refused(f"there is no RDMA device {shown(name)} in {source.id}", errno.ENODEV)
        what = f"move RDMA device {name} to {target.id}"
        wanted = [("RDMA_NLDEV_ATTR_DEV_INDEX", index), ("RDMA_NLDEV_NET_NS_FD", fd_of(target))]
        # Whose device it is, the kernel asks of the thread that sends, not of its socket
        # (ib_device_set_netns_put): ENODEV from anywhere but the device's own namespace.
        done_in(source, lambda: _ask(source, what, SET, REQUEST, wanted))


def _indexes(netns: Netns) -> dict[str, int]:
    answers = _ask(netns, "list RDMA devices", GET, DUMP)
    return dict(device for answer in answers if (device := device_in(answer)) is not None)


def device_in(answer: Any) -> tuple[str, int] | None:
    """Read a device's name and index; None if the answer is not one about a device."""
    name, index = _attribute(answer, "DEV_NAME"), _attribute(answer, "DEV_INDEX")
    if not isinstance(name, str | bytes) or not isinstance(index, int):
        return None
    return name_of(name), index


def _ask(
    netns: Netns,
    what: str,
    operation: int,
    flags: int,
    attributes: Sequence[tuple[str, int]] = (),
) -> list[Any]:
    """Send one request and collect the answers; the kernel's refusals become ours."""
    message = nldevmsg()
    message["attrs"] = list(attributes)
    with _socket(netns, what) as nldev:
        return list(nldev.nlm_request(message, msg_type=message_type(operation), msg_flags=flags))


@contextmanager
def _socket(netns: Netns, what: str) -> Iterator[Any]:
    raw = socket_in(netns, NETLINK_RDMA)
    try:
        with NldevSocket(raw) as nldev:
            yield nldev
    except NetlinkError as error:
        raise _refused(f"the kernel did not {what} in {netns.id}", error.code) from error
    except OSError as error:
        problem = f"RDMA netlink failed to {what} in {netns.id}"
        raise _refused(problem, error.errno or errno.EIO) from error
    finally:
        raw.close()


def _attribute(message: Any, name: str) -> Any:
    for prefix in ("RDMA_NLDEV_ATTR_", "RDMA_NLDEV_SYS_ATTR_"):
        value = message.get_attr(prefix + name)
        if value is not None:
            return value
    return None


def _refused(problem: str, code: int) -> KernelRefused:
    remedy = _REMEDIES.get(code, "look in the kernel's log")
    return KernelRefused(problem, remedy=remedy, errno=code)
