"""``ibdra install-hook``: the program that container runtimes run, onto the host."""

from __future__ import annotations

from pathlib import Path

import click

from ibdra_adapters.hook.install import DEFAULT_SOURCE, install_hook
from ibdra_domain.container_edits import HookSettings


@click.command("install-hook")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    default=DEFAULT_SOURCE,
    show_default=True,
    metavar="FILE",
    help="The program, as `make -C deploy/hook` builds it.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path(HookSettings().path).parent,
    show_default=True,
    metavar="DIR",
    help="Where it goes: the host's folder, as this process sees it.",
)
def command(source: Path, folder: Path) -> None:
    """Put the attach hook on the host, or another version in its place.

    Running programs keep theirs.  The version before stays as well, older ones go.
    """
    installed = install_hook(source, folder=folder)
    done = "now" if installed.changed else "already"
    click.echo(f"{installed.link} is {done} {installed.version.name}")
    for path in installed.removed:
        click.echo(f"{path} removed")
