"""Names of interfaces and RDMA devices, which are bytes to the kernel.

Why: the kernel takes almost any byte in a name, and some that it takes mean something else
to it than was meant: ``%d`` is a pattern, an empty name is no rename, and neither is refused.
"""

from __future__ import annotations

import errno

from ibdra_domain.errors import KernelRefused

_NEVER = frozenset("/: %")


def name_of(raw: str | bytes) -> str:
    r"""Read a name; bytes that are no text are written as escapes, ``ib\xff``."""
    return raw if isinstance(raw, str) else raw.decode("utf-8", "backslashreplace")


def shown(name: str) -> str:
    """Give a name as it can stand in a message."""
    return name if name.isprintable() else ascii(name)


def checked(name: str) -> str:
    """Give the name back if the kernel would take it for what it is.

    Raises KernelRefused (EINVAL), as the kernel does for the names that it refuses itself.
    """
    if name in ("", ".", "..") or not name.isprintable() or set(name) & _NEVER:
        raise KernelRefused(
            f"{shown(name)!r} is no name for an interface",
            remedy="give it 1 to 15 printable characters, no blank, %, / or colon",
            errno=errno.EINVAL,
        )
    return name
