"""CDI specs as values: for any driver, nothing InfiniBand in them.

Why: a runtime refuses a whole spec for one unknown field, and an older runtime for a
version it does not know.  So the fields are those of the specification and nothing else,
and the version written is the lowest that carries what is used.

Source: Container Device Interface specification, ``SPEC.md`` (versions 0.3.0 to 1.1.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ibdra_domain.errors import InvalidIdentifier


class _Cdi(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Frozen, camelCase, empty fields left out."""


class DeviceNode(_Cdi, frozen=True, kw_only=True, omit_defaults=False):
    """A device node in the container; its numbers are given, so the host's are not looked up."""

    path: str
    type: str = "c"
    major: int
    minor: int
    permissions: str = "rw"
    host_path: str | msgspec.UnsetType = msgspec.UNSET


class Hook(_Cdi, frozen=True, kw_only=True):
    """A program on the host that the runtime runs; ``timeout`` in seconds."""

    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Mount(_Cdi, frozen=True, kw_only=True):
    """A mount into the container."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()


class ContainerEdits(_Cdi, frozen=True, kw_only=True):
    """What is changed in a container's OCI configuration."""

    env: tuple[str, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    hooks: tuple[Hook, ...] = ()
    mounts: tuple[Mount, ...] = ()


class CdiDevice(_Cdi, frozen=True, kw_only=True):
    """One device that a container can ask for as ``kind=name``."""

    name: str
    container_edits: ContainerEdits


class CdiSpec(_Cdi, frozen=True, kw_only=True):
    """One spec file; ``container_edits`` come with every device of it."""

    kind: str
    devices: tuple[CdiDevice, ...]
    container_edits: ContainerEdits = ContainerEdits()

    def qualified(self, name: str) -> str:
        """Give the name by which a container asks for a device."""
        return f"{self.kind}={name}"

    def encode(self) -> bytes:
        """Give the file's content: indented JSON, the version first, a final newline."""
        body: dict[str, object] = msgspec.to_builtins(self)
        text = msgspec.json.encode({"cdiVersion": lowest_version(self), **body})
        return msgspec.json.format(text, indent=2) + b"\n"


_SPECS = msgspec.json.Decoder(CdiSpec)


def decode_spec(raw: bytes) -> CdiSpec:
    """Read a spec back.  Raises msgspec.DecodeError if it is not one."""
    try:
        return _SPECS.decode(raw)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these two through
        raise msgspec.DecodeError(str(error)) from error


_LETTER = re.compile(r"[A-Za-z]")


def lowest_version(spec: CdiSpec) -> str:
    """Tell the lowest specification version that carries what the spec uses."""
    if "." in spec.kind.partition("/")[2]:
        return "0.6.0"
    if any(node.host_path for node in _nodes(spec)) or any(
        device.name and not _LETTER.match(device.name) for device in spec.devices
    ):
        return "0.5.0"
    return "0.3.0"


_VENDOR = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?\Z")


def check_spec(spec: CdiSpec) -> None:
    """Refuse names a runtime would refuse.  Raises InvalidIdentifier."""
    vendor, slash, klass = spec.kind.partition("/")
    if not (slash and _VENDOR.match(vendor) and _VENDOR.match(klass)):
        raise InvalidIdentifier(
            f"{spec.kind!r} is not a CDI kind",
            remedy="write vendor/class, both starting with a letter",
        )
    names = [device.name for device in spec.devices]
    for name in names:
        if not _NAME.match(name) or names.count(name) > 1:
            raise InvalidIdentifier(
                f"{name!r} is not a CDI device name, or is given twice in {spec.kind}",
                remedy="use letters, digits and _ . : - with a letter or digit at both ends",
            )


def _nodes(spec: CdiSpec) -> Iterable[DeviceNode]:
    yield from spec.container_edits.device_nodes
    for device in spec.devices:
        yield from device.container_edits.device_nodes
