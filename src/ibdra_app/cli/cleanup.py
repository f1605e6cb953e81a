"""``ibdra cleanup``: the driver's end on a node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ibdra_app.cli.options import kubeconfig_options, node_option, place_options, places_from
from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.cleanup import CleanupPlan, CleanupReport


@click.command("cleanup")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--force",
    is_flag=True,
    help="Take devices from pods that live, too, and drop records that cannot be read.",
)
@click.option(
    "--slices/--no-slices",
    default=None,
    help="Delete this node's ResourceSlices.  [default: if there is a kubeconfig]",
)
@node_option
@kubeconfig_options
@place_options
@click.option(
    "--simulate",
    metavar="PROFILE",
    help="The simulated machine that `ibdra run --simulate` was started with.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
def command(*, dry_run: bool, force: bool, output: str, **options: Any) -> None:
    """Bring every device home and remove all that the driver left on this node.

    Wants the folders that `ibdra run` was given, and a node without a running daemon.
    Does nothing if a pod still has a device, but with --force.  VFs stay.  Started again
    after it was killed, it goes on.  Exits 1 if something is left.
    """
    from ibdra_app.container import wired

    with wired(_settings(**options)) as container:
        cleaning = container.cleaning()
        if dry_run:
            plan = cleaning.plan()
            in_the_way = plan.in_the_way(force=force)
            _print_plan(plan, in_the_way, output=output)
            sys.exit(1 if in_the_way else 0)
        report = cleaning.clean(force=force)
    _print_report(report, output=output)
    sys.exit(0 if report.complete else 1)


def _settings(
    *, slices: bool | None, kubeconfig: Path | None, simulate: str | None, **rest: Any
) -> Settings:
    wanted = kubeconfig is not None if slices is None else slices
    return Settings(
        node=rest["node"],
        kube=KubeSource.CLUSTER if wanted else KubeSource.MEMORY,
        kubeconfig=kubeconfig,
        kube_context=rest["kube_context"],
        simulate=simulate,
        real_processes=simulate is not None,
        **places_from(rest),
    )


def _print_plan(plan: CleanupPlan, in_the_way: tuple[str, ...], *, output: str) -> None:
    if output == "json":
        _print_json({"steps": plan.steps(), "in_the_way": in_the_way})
        return
    for line in in_the_way:
        click.echo(f"in the way: {line}")
    for step in plan.steps():
        click.echo(f"would {step}")
    click.echo(
        "and remove the folders that are empty then; VFs stay as they are"
        if plan.steps()
        else "nothing of the driver is here; VFs stay as they are"
    )


def _print_report(report: CleanupReport, *, output: str) -> None:
    if output == "json":
        _print_json({"done": report.done, "left": report.left})
        return
    for line in report.done:
        click.echo(line)
    for left in report.left:
        click.echo(f"left: {left.what}: {left.why}")
    if report.complete:
        click.echo("nothing of the driver is left; VFs stay as they are")


def _print_json(body: object) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2))
