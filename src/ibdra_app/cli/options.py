"""Options that several commands share: where the machine's facts come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ibdra_app.settings import Settings

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
