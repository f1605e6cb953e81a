"""The calls into libibverbs, with Python's manners and nothing else.

Why: cffi's objects have no types, memory that somebody must give back, and two habits of
reporting errors.  All of that stays in this module: out come integers, bytes and opaque
handles, every failure is an :class:`OSError` that carries libibverbs' errno and the name
of the call, and what was opened is closed when its ``with`` ends, however it ends.

cffi releases the GIL during each call and keeps ``errno`` per thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NewType

from ibdra_adapters.verbs._libibverbs_cdef import ffi

Device = NewType("Device", object)
"""A ``struct ibv_device *``, valid while the list it came from is."""

Context = NewType("Context", object)
"""A ``struct ibv_context *`` of an opened device."""

_REQUIRED = (
    "ibv_get_device_list",
    "ibv_free_device_list",
    "ibv_get_device_name",
    "ibv_get_device_guid",
    "ibv_open_device",
    "ibv_close_device",
    "ibv_query_device",
    "ibv_query_port",
    "ibv_query_gid",
    "ibv_get_async_event",
    "ibv_ack_async_event",
)


class DeviceAttr(NamedTuple):
    """What we use of ``struct ibv_device_attr``."""

    firmware: str
    ports: int


class PortAttr(NamedTuple):
    """What we use of ``struct ibv_port_attr``: codes, as libibverbs gives them."""

    state: int
    active_mtu: int
    lid: int
    sm_lid: int
    active_width: int
    active_speed: int
    physical_state: int
    link_layer: int


class AsyncEvent(NamedTuple):
    """``struct ibv_async_event``; ``port`` is 0 where the event is not a port's."""

    code: int
    port: int


class Library:
    """One loaded libibverbs.  Raises OSError if it cannot be loaded or is something else.

    Nothing here changes after construction, so threads may share it.
    """

    def __init__(self, name: str) -> None:
        # Any: cffi makes the functions up at run time.
        self._lib: Any = ffi.dlopen(name)
        missing = [symbol for symbol in _REQUIRED if self._symbol(symbol) is None]
        if missing:
            raise OSError(f"cannot use library {name!r}: it lacks {missing[0]}")
        self._query_port_speed = self._symbol("ibv_query_port_speed")

    def _symbol(self, name: str) -> Any:
        """Look a function up without its version; None where this release lacks it."""
        try:
            return getattr(self._lib, name)
        except ffi.error:
            return None

    @contextmanager
    def devices(self) -> Iterator[tuple[Device, ...]]:
        """List the devices in our network namespace."""
        count = ffi.new("int *")
        ffi.errno = 0
        handle = self._lib.ibv_get_device_list(count)
        if not handle:
            raise OSError(ffi.errno, "ibv_get_device_list")
        try:
            yield tuple(Device(handle[i]) for i in range(count[0]))
        finally:
            self._lib.ibv_free_device_list(handle)

    def name(self, device: Device) -> str:
        """Give the kernel's name, ``mlx5_0``."""
        return _text(self._lib.ibv_get_device_name(device))

    def guid(self, device: Device) -> int:
        """Give the node GUID, most significant byte first; 0 also where it is unreadable."""
        # The function returns a __be64: its bytes in memory are in network order.
        memory = ffi.new("uint64_t *", self._lib.ibv_get_device_guid(device))
        return int.from_bytes(ffi.buffer(memory)[:], "big")

    def open(self, device: Device) -> Context:
        """Open the device's uverbs node, for as long as its context is not closed."""
        ffi.errno = 0
        context = self._lib.ibv_open_device(device)
        if not context:
            raise OSError(ffi.errno, "ibv_open_device")
        return Context(context)

    def close(self, context: Context) -> None:
        """Close an open device.  The call's result is of no use: it is gone either way."""
        self._lib.ibv_close_device(context)

    @contextmanager
    def opened(self, device: Device) -> Iterator[Context]:
        """Open the device's uverbs node for a moment."""
        context = self.open(device)
        try:
            yield context
        finally:
            self.close(context)

    def query_device(self, context: Context) -> DeviceAttr:
        """Ask for the device's limits."""
        attr: Any = ffi.new("struct ibv_device_attr *")
        ffi.errno = 0
        _check("ibv_query_device", self._lib.ibv_query_device(context, attr))
        return DeviceAttr(firmware=_text(attr.fw_ver), ports=attr.phys_port_cnt)

    def query_port(self, context: Context, port: int) -> PortAttr:
        """Ask for the port's attributes; ``port`` fits eight bits."""
        attr: Any = ffi.new("struct ibv_port_attr *")
        ffi.errno = 0
        _check("ibv_query_port", self._lib.ibv_query_port(context, port, attr))
        return PortAttr(
            state=attr.state,
            active_mtu=attr.active_mtu,
            lid=attr.lid,
            sm_lid=attr.sm_lid,
            active_width=attr.active_width,
            active_speed=attr.active_speed,
            physical_state=attr.phys_state,
            link_layer=attr.link_layer,
        )

    def query_gid(self, context: Context, port: int, index: int) -> bytes:
        """Read an entry of the port's GID table, 16 bytes in network order."""
        gid = ffi.new("uint8_t [16]")
        ffi.errno = 0
        _check("ibv_query_gid", self._lib.ibv_query_gid(context, port, index, gid))
        return bytes(ffi.buffer(gid)[:])

    def async_fd(self, context: Any) -> int:
        """Give the descriptor that asynchronous events come from; it is the context's."""
        return int(context.async_fd)

    def next_event(self, context: Context) -> AsyncEvent:
        """Take and acknowledge an event.  Raises OSError (EAGAIN) if there is none now."""
        event: Any = ffi.new("struct ibv_async_event *")
        ffi.errno = 0
        _check("ibv_get_async_event", self._lib.ibv_get_async_event(context, event))
        taken = AsyncEvent(event.event_type, event.element.port_num)
        self._lib.ibv_ack_async_event(event)
        return taken

    def query_port_speed(self, context: Context, port: int) -> int | None:
        """Ask for the port's bandwidth in units of 100 Mb/s (ibv_query_port_speed(3)).

        None before rdma-core 62, which brought the call, and on a kernel that does not
        know the question (EPROTONOSUPPORT): neither is worth a warning.
        """
        if self._query_port_speed is None:
            return None
        speed: Any = ffi.new("uint64_t *")
        if self._query_port_speed(context, port, speed) != 0:
            return None
        return int(speed[0])


def _check(call: str, result: int) -> None:
    """Raise what a call reports: most return the errno, some return -1 and set it."""
    if result != 0:
        raise OSError(result if result > 0 else ffi.errno, call)


def _text(string: Any) -> str:
    raw = ffi.string(string)
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
