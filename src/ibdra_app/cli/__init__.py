"""The command ``ibdra``: one module a command, imported when it is run.

Why: ``ibdra devices`` should answer at once on a node in trouble; it must not import what
only the daemon needs.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ibdra_domain.errors import IbdraError

_COMMANDS = {
    "cleanup": "remove the driver from this node: devices home, no trace left",
    "demo": "the driver's whole job on a simulated machine",
    "devices": "the InfiniBand devices of this node",
    "doctor": "is this node fit, and what is to be done",
    "install-hook": "put the program that container runtimes run on this host",
    "match": "which devices a claim's CEL selectors accept, and why not the others",
    "provision": "make VFs on this node's PFs, with GUIDs",
    "run": "the node agent: the driver of a node, until it is stopped",
    "slices": "the ResourceSlices this node would publish",
    "validate": "check the IbConfigs and selectors of manifests, offline",
    "webhook": "the validating webhook, until it is stopped",
}


def _module_of(command: str) -> str:
    return f"ibdra_app.cli.{command.replace('-', '_')}"


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """List the commands without importing them."""
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- as above
        """Import the one that is run."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(_module_of(cmd_name)).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- as above
        """Print the list from the table above."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ibdra", prog_name="ibdra")
def cli() -> None:
    """InfiniBand for Kubernetes: a driver for Dynamic Resource Allocation."""


def main() -> None:
    """Run the command line; exit 1 for "no", 2 for "could not even try"."""
    try:
        cli.main(prog_name="ibdra", standalone_mode=True)
    except IbdraError as error:
        click.echo(f"ibdra: {error}", err=True)
        sys.exit(2)
