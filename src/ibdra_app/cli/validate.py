"""``ibdra validate``: the webhook's rules on manifests, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ibdra_app.sources import make_selectors
from ibdra_domain.errors import InvalidSelector
from ibdra_domain.manifest_rules import (
    Finding,
    findings_in,
    format_path,
    ib_configs,
    is_ours,
    selections_of,
)
from ibdra_domain.ports.selectors import Selectors


@click.command("validate")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE..."
)
def command(files: tuple[Path, ...]) -> None:
    """Check the IbConfigs and selectors of ResourceClaims, templates and DeviceClasses.

    Prints FILE:LINE: field: problem: remedy for everything that is wrong, and exits 1.
    """
    from ibdra_adapters.manifests.documents import read_manifests

    selectors = make_selectors()
    bad = False
    for file in files:
        manifests, problems = read_manifests(file)
        lines = [f"{p.source}:{p.line}: {p.problem}" for p in problems]
        ours = [m for m in manifests if is_ours(m.body)]
        configs = 0
        for manifest in ours:
            configs += len(list(ib_configs(manifest.body)))
            findings = [*findings_in(manifest.body), *_not_compiling(manifest.body, selectors)]
            lines += [
                f"{manifest.source}:{manifest.line_of(f.path)}: {format_path(f.path)}: "
                f"{f.problem}: {f.remedy}"
                for f in findings
            ]
        for line in lines:
            click.echo(line)
        if not lines:
            click.echo(f"{file}: good ({_counted(len(ours), configs)})")
        bad = bad or bool(lines)
    sys.exit(1 if bad else 0)


def _not_compiling(body: dict[str, object], selectors: Selectors) -> list[Finding]:
    findings = []
    for selection in selections_of(body):
        try:
            selectors.compile(selection.expression)
        except InvalidSelector as error:
            findings.append(
                Finding(path=selection.path, problem=error.problem, remedy=error.remedy)
            )
    return findings


def _counted(objects: int, configs: int) -> str:
    if not objects:
        return "nothing in it concerns this driver"
    return f"{objects} of its objects looked at, {configs} IbConfig{'' if configs == 1 else 's'}"
