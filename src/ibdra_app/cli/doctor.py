"""``ibdra doctor``: is this node fit."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ibdra_app.cli.options import (
    hardware_options,
    kubeconfig_options,
    node_option,
    place_options,
    places_from,
    vf_options,
)
from ibdra_app.settings import KubeSource, Settings
from ibdra_domain.fitness import Fitness, Grade
from ibdra_domain.hardware import IsolationDemand

SHIPPED_HOOK = Path("/usr/libexec/ibdra/ibdra-hook")


@click.command("doctor")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option(
    "--rdma-isolation",
    "isolation",
    type=click.Choice([demand.value for demand in IsolationDemand]),
    default=IsolationDemand.AUTO.value,
    show_default=True,
    help="The RDMA isolation mode that `ibdra run` is to demand.",
)
@click.option("--umad", is_flag=True, help="Ordinary claims are to get umad nodes.")
@vf_options
@node_option
@kubeconfig_options
@place_options
@click.option(
    "--hook-source",
    type=click.Path(path_type=Path, dir_okay=False),
    default=SHIPPED_HOOK,
    show_default=True,
    metavar="FILE",
    help="The attach hook as it came with this driver.",
)
@hardware_options
def command(*, output: str, hook_source: Path, **options: Any) -> None:
    """Say whether this node is fit for the driver, and what is to be done.

    Give it the options that `ibdra run` gets.  Changes nothing.  Exits 1 if there is an
    error; warnings are allowed.
    """
    from ibdra_app.upkeep_sources import examining

    with examining(_settings(**options), hook_source=hook_source) as examination:
        fitness = examination.run()
    if output == "json":
        _print_json(fitness)
    else:
        _print_table(fitness)
    sys.exit(0 if fitness.fit else 1)


def _settings(*, isolation: str, umad: bool, **rest: Any) -> Settings:
    from ibdra_app.upkeep_sources import has_cluster

    if rest["sysfs_root"] is not None and rest["simulate"] is not None:
        raise click.UsageError("--sysfs-root and --simulate are two machines: give one of them")
    return Settings(
        node=rest["node"],
        sysfs_root=rest["sysfs_root"],
        simulate=rest["simulate"],
        include_ethernet=rest["include_ethernet"],
        kube=KubeSource.CLUSTER if has_cluster(rest["kubeconfig"]) else KubeSource.MEMORY,
        kubeconfig=rest["kubeconfig"],
        kube_context=rest["kube_context"],
        isolation=IsolationDemand(isolation),
        with_umad=umad,
        num_vfs=rest["num_vfs"],
        pf_vfs=rest["pf_vfs"],
        guid_file=rest["guid_file"],
        **places_from(rest),
    )


def _print_json(fitness: Fitness) -> None:
    import msgspec

    body = {"fit": fitness.fit, "findings": msgspec.to_builtins(fitness.findings)}
    click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2))


def _print_table(fitness: Fitness) -> None:
    from ibdra_app.cli.tables import print_table

    rows = [(f.grade.value, f.check, f.subject) for f in fitness.findings]
    print_table(("RESULT", "CHECK", "LOOKED AT"), rows)
    for grade in (Grade.ERROR, Grade.WARNING):
        for finding in fitness.findings:
            if finding.grade is grade:
                click.echo(f"{grade.value}: {finding.problem}: {finding.remedy}")
    errors, warnings = fitness.count(Grade.ERROR), fitness.count(Grade.WARNING)
    verdict = "fit" if fitness.fit else "not fit"
    click.echo(f"{verdict}: {errors} errors, {warnings} warnings")
