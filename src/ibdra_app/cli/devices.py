"""``ibdra devices``: what this node has."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ibdra_app.cli.options import hardware_options, settings_from
from ibdra_app.sources import discovering
from ibdra_domain.inventory import Inventory
from ibdra_domain.publication import attributes_of


@click.command("devices")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="How to print them.",
)
@hardware_options
def command(output: str, **source: Any) -> None:
    """List the InfiniBand ports of this node, each as the DRA device it would be."""
    with discovering(settings_from(**source)) as discovery:
        inventory = discovery.take()
    if output == "table":
        _print_table(inventory)
    else:
        listing = [{"name": d.name, "attributes": attributes_of(d)} for d in inventory.devices]
        _print_data(listing, output)
    for warning in inventory.warnings:
        click.echo(f"warning: {warning}", err=True)


def _print_data(listing: list[dict[str, Any]], output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(listing), indent=2))
        return
    from ibdra_adapters.manifests.documents import to_yaml

    click.echo(to_yaml([listing]), nl=False)


def _print_table(inventory: Inventory) -> None:
    from ibdra_app.cli.tables import print_table

    rows = [
        (
            device.name,
            device.function_type.value,
            device.link.state.value if device.link.state else "?",
            device.link.rate.text if device.link.rate else "?",
            str(device.numa_node) if device.numa_node >= 0 else "?",
            f"{device.rdma_device}:{device.port}",
            device.netdev or "-",
            device.parent_rdma_device or "-",
        )
        for device in inventory.devices
    ]
    headings = ("DEVICE", "TYPE", "STATE", "SPEED", "NUMA", "RDMA", "NETDEV", "PARENT")
    print_table(headings, rows)
    isolation = inventory.isolation.value if inventory.isolation else "unknown"
    click.echo(
        f"{len(inventory.devices)} InfiniBand devices; {inventory.platform.value}; "
        f"RDMA isolation: {isolation}"
    )
