"""Options that several commands share: where facts come from, which VFs are wanted, places."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ibdra_app.settings import Settings
from ibdra_app.sources import node_name
from ibdra_domain.container_edits import HookSettings
from ibdra_domain.vf_wishes import PfOverride

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


_DEFAULTS = Settings()
_folder = click.Path(path_type=Path, file_okay=False)


def node_option(command: CommandT) -> CommandT:
    """Add ``--node``."""
    return click.option(
        "--node", default=node_name, envvar="NODE_NAME", metavar="NAME", help="The node's name."
    )(command)


def kubeconfig_options(command: CommandT) -> CommandT:
    """Add ``--kubeconfig`` and ``--context``."""
    for option in (
        click.option(
            "--context",
            "kube_context",
            metavar="NAME",
            help="Which of the kubeconfig's contexts.  [default: its current one]",
        ),
        click.option(
            "--kubeconfig",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            envvar="KUBECONFIG",
            metavar="FILE",
            help="How to reach the cluster; without it, by the pod's service account.",
        ),
    ):
        command = option(command)
    return command


def place_options(command: CommandT) -> CommandT:
    """Add ``--kubelet-dir``, ``--cdi-dir``, ``--state-dir``, ``--run-dir`` and ``--hook``."""
    for option in (
        click.option(
            "--hook",
            "hook_path",
            default=_DEFAULTS.hook.path,
            show_default=True,
            metavar="FILE",
            help="The attach hook, as the host sees it (`ibdra install-hook` puts it there).",
        ),
        click.option(
            "--run-dir",
            type=_folder,
            default=_DEFAULTS.run_folder,
            show_default=True,
            metavar="DIR",
            help="Where the hook's socket and marks are; the same path here and on the host.",
        ),
        click.option(
            "--state-dir",
            type=_folder,
            default=_DEFAULTS.state_folder,
            show_default=True,
            metavar="DIR",
            help="Where records go; on a disk of the host.",
        ),
        click.option(
            "--cdi-dir",
            type=_folder,
            default=_DEFAULTS.cdi_folder,
            show_default=True,
            metavar="DIR",
            help="Where CDI specs go; the container runtime must read it.",
        ),
        click.option(
            "--kubelet-dir",
            type=_folder,
            default=_DEFAULTS.kubelet_folder,
            show_default=True,
            metavar="DIR",
            help="The kubelet's folder.",
        ),
    ):
        command = option(command)
    return command


def places_from(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of the places; the hook is told what it does not take for granted."""
    told = Settings(run_folder=options["run_dir"].absolute())
    hook: tuple[str, ...] = ()
    if told.run_folder != _DEFAULTS.run_folder:
        hook = ("--socket", str(told.hook_socket), "--marks", str(told.marks_folder))
    return {
        "kubelet_folder": options["kubelet_dir"],
        "cdi_folder": options["cdi_dir"],
        "state_folder": options["state_dir"],
        "run_folder": told.run_folder,
        "hook": HookSettings(path=options["hook_path"], options=hook),
    }


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
