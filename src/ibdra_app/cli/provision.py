"""``ibdra provision``: VFs where there are none, and GUIDs where they lack."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from ibdra_app.cli.options import vf_options
from ibdra_app.container import wired
from ibdra_app.provisioning import PfOutcome, ProvisioningReport
from ibdra_app.settings import Settings
from ibdra_app.sources import wanted_vfs
from ibdra_domain.provisioning import Verdict
from ibdra_domain.vf_wishes import PfOverride


@click.command("provision")
@vf_options
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@click.option(
    "--simulate",
    metavar="PROFILE",
    help="A simulated machine: a shipped profile's name, or the path of a .toml file.",
)
def command(
    *,
    num_vfs: int,
    pf_vfs: tuple[PfOverride, ...],
    guid_file: Path | None,
    dry_run: bool,
    output: str,
    simulate: str | None,
) -> None:
    """Make VFs on PFs that have none, and give GUIDs to VFs that lack them.

    Never removes or changes a VF that can be in use; a PF with another number of VFs is
    reported and left.  Exits 1 if something that was asked for is not, or would not be, done.
    """
    settings = Settings(num_vfs=num_vfs, pf_vfs=pf_vfs, guid_file=guid_file, simulate=simulate)
    wanted = wanted_vfs(settings)
    with wired(settings) as container:
        provisioning = container.provisioning()
        if dry_run:
            plan = provisioning.plan(wanted)
            report = ProvisioningReport(
                pfs=tuple(PfOutcome(plan=pf) for pf in plan.pfs), unmatched=plan.unmatched
            )
        else:
            report = provisioning.provision(wanted)
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=2))
    else:
        _print(report, dry_run=dry_run)
    sys.exit(0 if report.complete else 1)


def _print(report: ProvisioningReport, *, dry_run: bool) -> None:
    from ibdra_app.cli.tables import print_table

    rows = [
        (
            pf.plan.address,
            pf.plan.rdma_device or "-",
            "?" if pf.plan.present is None else str(pf.plan.present),
            str(pf.plan.possible),
            str(pf.plan.wanted),
            pf.plan.chosen_by,
            _result(pf, dry_run=dry_run),
        )
        for pf in report.pfs
    ]
    headings = ("PF", "RDMA", "VFS", "POSSIBLE", "WANTED", "BY", "RESULT")
    print_table(headings, rows)
    for pf in report.pfs:
        for line in _details(pf, dry_run=dry_run):
            click.echo(f"{pf.plan.name}: {line}")
    for option in report.unmatched:
        click.echo(f"{option}: fits no PF with SR-IOV of this node")
    if not report.pfs:
        click.echo("no PF with SR-IOV on this node")


def _result(pf: PfOutcome, *, dry_run: bool) -> str:
    if pf.error is not None:
        return "failed"
    if pf.plan.verdict is Verdict.CHANGE:
        return f"{len(pf.plan.steps)} steps" if dry_run else "done"
    return pf.plan.verdict.value


def _details(pf: PfOutcome, *, dry_run: bool) -> Iterable[str]:
    if pf.error is not None:
        yield pf.error
    elif pf.plan.reason is not None and pf.plan.verdict is not Verdict.READY:
        yield pf.plan.reason
    yield from pf.plan.notes
    if dry_run:
        yield from map(str, pf.plan.steps)
