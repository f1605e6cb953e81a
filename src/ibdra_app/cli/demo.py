"""``ibdra demo``: the driver's whole job on a simulated machine, or on this one, shown."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click
import msgspec

from ibdra_app.container import wired
from ibdra_app.settings import Settings
from ibdra_app.sources import node_name

if TYPE_CHECKING:
    from ibdra_app.demo_report import ContainerSeen, DemoReport, ExampleSeen

DEFAULT_PROFILE = "dgx-h100"


@click.command("demo")
@click.option(
    "--simulate",
    metavar="PROFILE",
    help="The machine: a shipped profile's name, or the path of a .toml file.  [default: "
    f"{DEFAULT_PROFILE}]",
)
@click.option(
    "--real",
    is_flag=True,
    help="This machine, its HCAs and its kernel, with throw-away namespaces as pods.  Wants "
    "root, and HCAs that nobody uses: they are moved.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Where ib-test1.yaml to ib-test5.yaml are.  [default: the shipped ones]",
)
def command(simulate: str | None, real: bool, as_json: bool, examples: Path | None) -> None:  # noqa: FBT001 -- click's way
    """Show discovery, slices, allocation, prepare, attach and clean-up, without hardware.

    Needs no root, no cluster and no network, unless it is --real.  Exits 1 if anything is
    not as it should be.
    """
    if real and simulate is not None:
        raise click.UsageError("--real and --simulate are two machines: give one of them")
    import asyncio

    from ibdra_app.demo import Demo
    from ibdra_app.examples import examples_folder

    with TemporaryDirectory(prefix="ibdra-demo-") as folder:
        base = Path(folder)
        settings = Settings(
            node="demo-node" if not real else node_name(),
            simulate=None if real else simulate or DEFAULT_PROFILE,
            kubelet_folder=base / "kubelet",
            cdi_folder=base / "cdi",
            state_folder=base / "state",
            run_folder=base / "run",
        )
        with wired(settings) as container:
            demo = Demo(container, examples=examples or examples_folder())
            report = asyncio.run(demo.run())
    if as_json:
        body = msgspec.to_builtins(report) | {"passed": report.passed}
        click.echo(msgspec.json.format(msgspec.json.encode(body), indent=2))
    else:
        _print(report)
    sys.exit(0 if report.passed else 1)


def _print(report: DemoReport) -> None:
    click.secho(f"{report.profile}: {report.description}", bold=True)
    click.echo(
        f"{report.platform}; RDMA isolation: {report.isolation}; {report.devices} devices "
        f"published in {report.slices} ResourceSlice{'' if report.slices == 1 else 's'}; "
        "registered with the kubelet"
    )
    for example in report.examples:
        click.echo()
        _print_example(example)
    click.echo()
    if report.left_over:
        click.secho("LEFT OVER:", fg="red")
        for line in report.left_over:
            click.echo(f"  {line}")
    else:
        click.secho(
            "Nothing is left: no CDI file, no record, no socket, no claim; every device is home "
            "with its name, MTU and state.",
            fg="green",
        )


def _print_example(example: ExampleSeen) -> None:
    click.secho(f"{example.name}: {example.outcome}", bold=True)
    if example.reason:
        click.echo(f"  why: {example.reason}")
    for allocated in example.allocated:
        click.echo(f"  allocated: {allocated}")
    for container in example.containers:
        _print_container(container)
    for wrong in example.wrong:
        click.secho(f"  WRONG: {wrong}", fg="red")


def _print_container(container: ContainerSeen) -> None:
    click.echo(f"  container {container.name} in {container.namespace}")
    seen = container.rdma_devices
    shown = f"{', '.join(seen[:4])} and {len(seen) - 4} more" if len(seen) > 4 else ", ".join(seen)
    click.echo(f"    RDMA devices it sees: {shown or 'none'}")
    for node in container.device_nodes:
        access = container.node_access[node.split(" ", 1)[0]]
        click.echo(f"    {node}: container {access['container']}, host {access['host']}")
    for interface in container.interfaces:
        pkey = f", pkey {interface.pkey}" if interface.pkey else ""
        state = "up" if interface.up else "down"
        click.echo(f"    interface {interface.name}: {state}, MTU {interface.mtu}{pkey}")
    for key, value in sorted(container.env.items()):
        click.echo(f"    {key}={value}")
