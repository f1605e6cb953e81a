"""``ibdra run``: the node agent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ibdra_app.cli.logs import LogFormat, set_up_logs
from ibdra_app.cli.options import (
    kubeconfig_options,
    node_option,
    place_options,
    places_from,
    vf_options,
)
from ibdra_app.cli.services import service_options
from ibdra_app.container import wired
from ibdra_app.settings import KubeSource, Settings
from ibdra_app.sources import wanted_vfs
from ibdra_domain.hardware import IsolationDemand
from ibdra_domain.health import TaintEffect

_DEFAULTS = Settings()
_folder = click.Path(path_type=Path, file_okay=False)


@click.command("run")
@node_option
@click.option(
    "--kube",
    type=click.Choice([source.value for source in KubeSource]),
    default=KubeSource.CLUSTER.value,
    show_default=True,
    help="Where claims come from and slices go.  memory: from --claims, and nowhere.",
)
@kubeconfig_options
@click.option(
    "--claims",
    "claims_folder",
    type=_folder,
    metavar="DIR",
    help="With --kube=memory: ResourceClaims, one file each, DIR/NAMESPACE/NAME.json.",
)
@click.option(
    "--rdma-isolation",
    "isolation",
    type=click.Choice([demand.value for demand in IsolationDemand]),
    default=_DEFAULTS.isolation.value,
    show_default=True,
    help="The RDMA isolation mode to demand; auto takes the one there is.",
)
@vf_options
@click.option(
    "--counters/--no-counters",
    default=True,
    show_default=True,
    help="Publish counters that keep a PF and its VFs apart.  Off where monitoring claims with "
    "admin access must be placed beside them: today's scheduler counts those too.",
)
@click.option(
    "--unhealthy-taint",
    type=click.Choice([effect.value for effect in TaintEffect]),
    default=_DEFAULTS.unhealthy_taint.value,
    show_default=True,
    help="What the taint of an unhealthy device does; NoExecute ends pods, None sets no taint.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 0xFFFF),
    default=_DEFAULTS.health_port,
    show_default=True,
    metavar="PORT",
    help="Answer gRPC health checks (liveness, readiness) there; 0: nowhere.",
)
@click.option(
    "--health-address",
    default=_DEFAULTS.health_address,
    show_default=True,
    metavar="ADDRESS",
    help="The address for that; the kubelet's probes come to the pod's, or the node's.",
)
@service_options
@click.option("--umad", is_flag=True, help="Give ordinary claims their port's umad node too.")
@place_options
@click.option(
    "--instance",
    envvar="POD_UID",
    metavar="TEXT",
    help="What tells two instances apart in a rolling update, best the pod's UID.",
)
@click.option(
    "--simulate", metavar="PROFILE", help="A simulated machine in place of this one, to try it."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every step.")
def command(*, verbose: bool, log_format: str, **options: Any) -> None:
    """Run the driver on this node until SIGTERM or SIGINT.

    Wants root in the host's network and process namespaces.  Devices in use stay where
    they are when it ends, and are known again when it starts.
    """
    import asyncio

    set_up_logs(LogFormat(log_format), verbose=verbose)
    settings = _settings(**options)
    wanted_vfs(settings)  # a GUID file that is wrong is told before anything is touched
    with wired(settings) as container:
        asyncio.run(_until_stopped(container))


def _settings(*, isolation: str, umad: bool, kube: str, **rest: Any) -> Settings:
    """Fill the settings."""
    if KubeSource(kube) is KubeSource.CLUSTER and rest["claims_folder"] is not None:
        raise click.UsageError("--claims stands for an API server: give --kube=memory with it")
    return Settings(
        node=rest["node"],
        simulate=rest["simulate"],
        real_processes=rest["simulate"] is not None,
        kube=KubeSource(kube),
        kubeconfig=rest["kubeconfig"],
        kube_context=rest["kube_context"],
        claims_folder=rest["claims_folder"],
        instance=rest["instance"],
        **places_from(rest),
        isolation=IsolationDemand(isolation),
        with_umad=umad,
        counters=rest["counters"],
        unhealthy_taint=TaintEffect(rest["unhealthy_taint"]),
        health_address=rest["health_address"],
        health_port=rest["health_port"],
        metrics_port=rest["metrics_port"],
        metrics_bind=rest["metrics_bind"],
        num_vfs=rest["num_vfs"],
        pf_vfs=rest["pf_vfs"],
        guid_file=rest["guid_file"],
    )


async def _until_stopped(container: Any) -> None:
    import asyncio
    import contextlib
    import functools
    import logging
    import signal

    from ibdra_app.measuring import metrics_served

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings, metrics = container.settings(), container.metrics()
    log = logging.getLogger(__name__)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lambda: log.info("done since the start: %s", container.counts()))
        if settings.metrics_port is not None:
            serve = functools.partial(metrics.serve, settings.metrics_port, settings.metrics_bind)
            await stack.enter_async_context(metrics_served(serve, stop=metrics.stop))
        await container.daemon().run(stop)
