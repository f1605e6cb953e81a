"""Options that several commands share: where facts come from, which VFs are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from ibdra_app.settings import Settings
from ibdra_domain.provisioning import PfOverride

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def hardware_options(command: CommandT) -> CommandT:
    """Add ``--sysfs-root``, ``--simulate`` and ``--include-ethernet``."""
    for option in (
        click.option(
            "--include-ethernet", is_flag=True, help="Show Ethernet (RoCE) ports of HCAs too."
        ),
        click.option(
            "--simulate",
            metavar="PROFILE",
            help="A simulated machine: a shipped profile's name, or the path of a .toml file.",
        ),
        click.option(
            "--sysfs-root",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="A directory that stands for /sys; libibverbs is not asked then.",
        ),
    ):
        command = option(command)
    return command


def settings_from(
    *,
    sysfs_root: Path | None,
    simulate: str | None,
    include_ethernet: bool,
    node: str = "localhost",
) -> Settings:
    """Fill the settings; refuses two sources at once."""
    if sysfs_root is not None and simulate is not None:
        raise click.UsageError("--sysfs-root and --simulate are two machines: give one of them")
    return Settings(
        node=node, sysfs_root=sysfs_root, simulate=simulate, include_ethernet=include_ethernet
    )


_OVERRIDE = re.compile(r"(?P<pattern>.+)=(?P<count>\d{1,5})\Z", re.ASCII)


def _overrides(
    _context: click.Context, _parameter: click.Parameter, values: Iterable[str]
) -> tuple[PfOverride, ...]:
    found = []
    for value in values:
        match = _OVERRIDE.match(value)
        if match is None or int(match["count"]) > 0xFFFF:
            raise click.BadParameter(f"{value!r} is not PATTERN=N, such as mlx5_0=8")
        found.append(PfOverride(match["pattern"], int(match["count"])))
    return tuple(found)


def vf_options(command: CommandT) -> CommandT:
    """Add ``--num-vfs``, ``--pf`` and ``--guids``."""
    for option in (
        click.option(
            "--guids",
            "guid_file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="GUIDs for VFs (TOML); those it does not have are derived from their PF's.",
        ),
        click.option(
            "--pf",
            "pf_vfs",
            multiple=True,
            callback=_overrides,
            metavar="PATTERN=N",
            help="Another number for PFs whose PCI address or RDMA name fits; the most specific "
            "counts.",
        ),
        click.option(
            "--num-vfs",
            type=click.IntRange(0, 0xFFFF),
            default=0,
            show_default=True,
            metavar="N",
            help="VFs for each InfiniBand PF; 0 touches none.",
        ),
    ):
        command = option(command)
    return command
