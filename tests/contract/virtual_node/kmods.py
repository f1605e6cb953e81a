"""In which order kernel modules must be loaded.

Unpacked packages have no modules.dep (depmod writes it when a kernel is installed), so the
order comes from what each module says of itself.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable
from pathlib import Path

_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def content(module: Path) -> bytes:
    """Give a module's bytes, uncompressed."""
    data = module.read_bytes()
    return lzma.decompress(data) if module.suffix == ".xz" else data


def load_order(names: Iterable[str], *, below: Path) -> list[Path]:
    """Give the files to load for these modules, dependencies first; built-in ones are left out."""
    files = {_name(path): path for path in below.rglob("*.ko*")}
    order: dict[str, Path] = {}
    for name in names:
        _add(_canonical(name), files=files, order=order)
    return list(order.values())


def _add(name: str, *, files: dict[str, Path], order: dict[str, Path]) -> None:
    if name in order or name not in files:
        return
    match = _DEPENDS.search(content(files[name]))
    for needed in match.group(1).decode().split(",") if match else ():
        _add(_canonical(needed), files=files, order=order)
    order[name] = files[name]


def _name(path: Path) -> str:
    return _canonical(path.name.partition(".")[0])


def _canonical(name: str) -> str:
    return name.replace("-", "_")
