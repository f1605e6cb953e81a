"""``ibdra webhook``: the validating webhook."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click

from ibdra_adapters.admission.server import Observe, unobserved
from ibdra_app.cli.logs import LogFormat, set_up_logs
from ibdra_app.cli.services import service_options
from ibdra_app.webhook import WebhookSettings, run_webhook

_DEFAULTS = WebhookSettings()
_file = click.Path(path_type=Path, dir_okay=False)


@click.command("webhook")
@click.option(
    "--cert",
    "certificate",
    type=_file,
    default=_DEFAULTS.certificate,
    show_default=True,
    metavar="FILE",
    help="Its certificate and chain, PEM; read anew when it changes.",
)
@click.option(
    "--key",
    type=_file,
    default=_DEFAULTS.key,
    show_default=True,
    metavar="FILE",
    help="The certificate's key, PEM, without a password.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULTS.port,
    show_default=True,
    help="Where it serves reviews, and probes at /healthz and /readyz, over HTTPS.",
)
@click.option("--bind", metavar="ADDRESS", help="One address to serve at; else all there are.")
@click.option(
    "--linger",
    type=click.FloatRange(0, 600),
    default=_DEFAULTS.linger,
    show_default=True,
    metavar="SECONDS",
    help="How long it serves on, not ready, after SIGTERM; a second signal ends that.",
)
@service_options
@click.option("-v", "--verbose", is_flag=True, help="Log what passes too.")
def command(
    *,
    metrics_port: int | None,
    metrics_bind: str | None,
    verbose: bool,
    log_format: str,
    **options: Any,
) -> None:
    """Serve the validating webhook until SIGTERM or SIGINT.

    It refuses IbConfigs that a node would refuse, in ResourceClaims, templates and
    DeviceClasses.  Wants no access to the API server.
    """
    import asyncio

    set_up_logs(LogFormat(log_format), verbose=verbose)
    settings = WebhookSettings(**options)
    asyncio.run(_until_stopped(settings, metrics_port=metrics_port, metrics_bind=metrics_bind))


async def _until_stopped(
    settings: WebhookSettings, *, metrics_port: int | None, metrics_bind: str | None
) -> None:
    import asyncio
    import signal

    stop, at_once = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (at_once if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    async with _metrics(metrics_port, metrics_bind) as observe:
        await run_webhook(settings, stop=stop, at_once=at_once, observe=observe)


@asynccontextmanager
async def _metrics(port: int | None, bind: str | None) -> AsyncIterator[Observe]:
    """Serve metrics if that is wanted, and give what counts."""
    if port is None:
        yield unobserved
        return
    import asyncio
    import logging
    from importlib.metadata import version

    from ibdra_adapters.metrics.prometheus import PrometheusWebhook

    metrics = PrometheusWebhook(version=version("ibdra"))
    at = await asyncio.to_thread(metrics.serve, port, bind)
    logging.getLogger(__name__).info("metrics at port %d", at)
    try:
        yield metrics.review
    finally:
        await asyncio.to_thread(metrics.stop)
