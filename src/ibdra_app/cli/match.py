"""``ibdra match``: which devices a claim's selectors accept, and why not the others."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ibdra_app.cli.options import hardware_options, settings_from
from ibdra_app.sources import discovering, make_selectors
from ibdra_domain.errors import InvalidManifest, InvalidSelector
from ibdra_domain.kube_objects import Device
from ibdra_domain.manifest_rules import RequestedDevices, Selection, requests_of, selections_of
from ibdra_domain.ports.selectors import Selectors
from ibdra_domain.publication import DRIVER_NAME, to_dra_device
from ibdra_domain.selectors import Judgement, advice_on, judge


@click.command("match")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--classes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The DeviceClasses, where FILE does not have them.  [default: the driver's own three]",
)
@hardware_options
def command(file: Path, classes: Path | None, **source: Any) -> None:
    """Put this node's devices to the CEL selectors of FILE's claims and templates.

    Exits 1 if a request finds fewer devices than it asks for, or an expression fails.
    """
    from ibdra_adapters.manifests.documents import read_manifests
    from ibdra_app.examples import examples_folder

    manifests, problems = read_manifests(file)
    class_file = classes or examples_folder() / "device-classes.yaml"
    class_manifests, class_problems = read_manifests(class_file)
    for first in (*problems, *class_problems):
        raise InvalidManifest(
            f"{first.source}:{first.line}: {first.problem}", remedy="correct the file"
        )
    known = {
        _name_of(manifest.body): tuple(selections_of(manifest.body))
        for manifest in (*class_manifests, *manifests)
        if manifest.body.get("kind") == "DeviceClass"
    }
    with discovering(settings_from(**source)) as discovery:
        devices = [to_dra_device(d) for d in discovery.take().devices]
    claims = [
        (manifest.body, requests)
        for manifest in manifests
        if (requests := tuple(requests_of(manifest.body)))
    ]
    if not claims:
        raise InvalidManifest(
            f"{file} holds no ResourceClaim or ResourceClaimTemplate with requests",
            remedy="give a file that does",
        )
    selectors = make_selectors()
    met = True
    for body, requests in claims:
        if len(claims) > 1:
            click.echo(f"{body['kind']} {_name_of(body)}:")
        found: dict[str, bool] = {}
        for request in requests:  # of a request's alternatives one is enough
            whole = request.name.split("/", 1)[0]
            found[whole] = _show(request, known, devices, selectors) or found.get(whole, False)
        met = met and all(found.values())
    sys.exit(0 if met else 1)


def _name_of(body: dict[str, Any]) -> str:
    metadata = body.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def _show(
    request: RequestedDevices,
    classes: dict[str, tuple[Selection, ...]],
    devices: list[Device],
    selectors: Selectors,
) -> bool:
    """Print one request's result; tells whether it can be fulfilled."""
    from ibdra_app.cli.tables import print_table

    click.echo(f"request {request.name} (class {request.device_class}):")
    if request.device_class not in classes:
        click.echo(f"the DeviceClass {request.device_class} is not known: give it with --classes")
        return False
    expressions = [s.expression for s in (*classes[request.device_class], *request.selections)]
    try:
        compiled = [(e, selectors.compile(e)) for e in expressions]
    except InvalidSelector as error:
        click.echo(str(error))
        return False
    judgements = judge(devices, compiled, driver=DRIVER_NAME)
    print_table(("DEVICE", "ACCEPTED", "WHY NOT"), [_row(j) for j in judgements])
    failed = [j for j in judgements if j.error]
    for advice in dict.fromkeys(a for e in expressions for a in advice_on(e, driver=DRIVER_NAME)):
        click.echo(f"advice: {advice}")
    if failed:
        click.echo(
            f"on {failed[0].device} the evaluation fails, and Kubernetes then fails the whole "
            "claim on this node"
            + (
                ": guard optional attributes with has() or orValue()"
                if "not found" in (failed[0].error or "")
                else ""
            )
        )
    accepted = [j for j in judgements if j.accepted]
    wanted = max(1, request.count)
    how_many = "all" if request.all_devices else str(wanted)
    click.echo(f"{_counted(accepted)} accepted, {how_many} asked for")
    return not failed and len(accepted) >= (1 if request.all_devices else wanted)


def _row(judgement: Judgement) -> tuple[str, str, str]:
    if judgement.accepted:
        return judgement.device, "yes", ""
    why = " ".join((judgement.failed or "").split())
    return judgement.device, "no", f"{why} -> {judgement.error or 'false'}"


def _counted(accepted: Iterable[Judgement]) -> str:
    count = len(list(accepted))
    return f"{count} device{'' if count == 1 else 's'}"
