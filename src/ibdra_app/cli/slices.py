"""``ibdra slices``: the ResourceSlices this node would publish."""

from __future__ import annotations

from typing import Any

import click
from msgspec.structs import replace

from ibdra_app.cli.options import hardware_options, settings_from
from ibdra_app.sources import discovering, node_name
from ibdra_domain.exclusion import Exclusion, counters_of
from ibdra_domain.health import TaintEffect, taints_of, verdict_of
from ibdra_domain.kube_objects import MAX_COUNTED_DEVICES_PER_SLICE
from ibdra_domain.publication import DRIVER_NAME, counted, to_dra_device
from ibdra_domain.slices import to_slices


@click.command("slices")
@click.option("--node", default=node_name, metavar="NAME", help="The node's name in Kubernetes.")
@click.option(
    "--counters/--no-counters",
    default=True,
    show_default=True,
    help="With counters that keep a PF and its VFs apart.",
)
@click.option(
    "--unhealthy-taint",
    type=click.Choice([effect.value for effect in TaintEffect]),
    default=TaintEffect.NO_SCHEDULE.value,
    show_default=True,
    help="What the taint of an unhealthy device does; None: there is none.",
)
@hardware_options
def command(*, node: str, counters: bool, unhealthy_taint: str, **source: Any) -> None:
    """Print the ResourceSlices this node would publish, as YAML that kubectl accepts."""
    from ibdra_adapters.manifests.documents import to_yaml

    with discovering(settings_from(node=node, **source)) as discovery:
        inventory = discovery.take()
    exclusion = counters_of(inventory.devices) if counters else Exclusion()
    effect = TaintEffect(unhealthy_taint)
    judged = [
        replace(to_dra_device(d), taints=taints_of(verdict_of(d), effect))
        for d in inventory.devices
        if effect is not TaintEffect.NONE or not d.lacks_guid
    ]
    devices = counted(judged, exclusion)
    small = MAX_COUNTED_DEVICES_PER_SLICE if effect is not TaintEffect.NONE else None
    slices = to_slices(
        devices, node=node, driver=DRIVER_NAME, counter_sets=exclusion.sets, per_slice=small
    )
    click.echo(to_yaml(s.to_builtins() for s in slices), nl=False)
    for warning in inventory.warnings:
        click.echo(f"warning: {warning}", err=True)
